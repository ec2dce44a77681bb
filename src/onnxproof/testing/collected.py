"""Job files as nodes of a run of pytest, and the checks of their verdicts as tests.

What is collected follows from the job file alone, so that each worker of pytest-xdist collects the same. The
export runs when the first test of a job does.
"""

import contextlib
import re
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from onnxproof.errors import JobError
from onnxproof.job import Job
from onnxproof.job.matrix import Told, read_jobs
from onnxproof.system.scratch import scratch_folder
from onnxproof.testing.outcome import Outcome, Runs
from onnxproof.testing.told import failed, lines_of
from onnxproof.validate.checks import LINKS
from onnxproof.validate.explained import EXPLAINED
from onnxproof.validate.hazards import FROZEN_AXES
from onnxproof.validate.verdict import Check, Verdict

EXPORT = "export"
"""The test that the job was exported."""

OTHERS = "others"
"""The test that holds the checks without a test of their own."""

NOT_OF_EXPORTS = frozenset(("checksum", "manifest", FROZEN_AXES.name))
SELDOM = frozenset(("kernels", "digits", "max_error", "compared", "held_back", "rows", "order"))
"""Checks that few files need, or only those in doubt."""

JOB = re.compile(r"""^\s*(\[\s*model\s*[\].]|model\s*[.=]|extends\s*=\s*["'])""", re.MULTILINE)
"""What tells a job file from other TOML files in a folder."""

RUNS = pytest.StashKey[Runs]()
SHARED = "onnxproof_folder"
"""The key under which the workers of pytest-xdist are told of the folder that they share."""


def join(config: pytest.Config) -> None:
    """Make this module a plugin of the run."""
    given = getattr(config, "workerinput", {}).get(SHARED)
    if given is None:
        held = contextlib.ExitStack()
        folder = held.enter_context(scratch_folder())
        config.add_cleanup(held.close)
    else:
        folder = Path(given)
    out, baselines = (config.getoption(f"onnxproof_{name}") for name in ("out", "baseline"))
    here = config.invocation_params.dir
    config.stash[RUNS] = Runs(
        folder,
        None if out is None else here / out,
        tuple(config.getoption("onnxproof_overrides")),
        None if baselines is None else here / baselines,
    )
    config.pluginmanager.register(_Hooks(), "onnxproof-jobs")


class _Hooks:
    """The hooks that only a run with ``--onnxproof`` has."""

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker of pytest-xdist which folder the run shares."""
        node.workerinput[SHARED] = str(node.config.stash[RUNS].folder)

    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> "JobNode | None":
        """A job that was named, or that lies in a folder that was."""
        if file_path.suffix != ".toml" or not (parent.session.isinitpath(file_path) or _is_job(file_path)):
            return None
        node: JobNode = JobNode.from_parent(parent, path=file_path)
        return node

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Report each line of a failed check as a failure of its own."""
        report = yield
        if call.excinfo is not None and isinstance(call.excinfo.value, ChecksFailedError):
            *others, last = call.excinfo.value.lines
            for line in others:
                extra = pytest.TestReport.from_item_and_call(item, call)
                extra.longrepr, extra.sections = _shown(call.excinfo, line), []
                item.ihook.pytest_runtest_logreport(report=extra)
            report.longrepr = _shown(call.excinfo, last)
        return report


def _is_job(file: Path) -> bool:
    try:
        return JOB.search(file.read_text(encoding="utf-8")) is not None
    except (OSError, UnicodeDecodeError):
        return False


class ChecksFailedError(AssertionError):
    """Checks failed, or there is no verdict. ``lines`` are what to show, one for each failure."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = tuple(lines)
        super().__init__("\n".join(self.lines))


def _shown(failure: pytest.ExceptionInfo[BaseException], text: str) -> Any:
    """A failure as pytest shows it: the text alone, without a traceback of this code."""
    shown = failure.getrepr(style="value")
    if shown.reprcrash is not None:
        shown.reprcrash.message = text.partition("\n")[0]
    for entry in shown.reprtraceback.reprentries:
        entry.lines = [f"E   {line}" for line in text.splitlines()]
    return shown


class _OfJob(pytest.Collector):
    """What tests of one job are collected in. Its outcome is made when the first of them runs."""

    _outcome: Outcome | None = None
    job_name: str | None = None
    """The job's name, in a file that makes several."""

    def tests_of(self, told: Told) -> Iterable["CheckItem"]:
        """A test for the export, and one for each check that the job's verdict will have."""
        if self.config.pluginmanager.has_plugin("xdist"):
            self.add_marker(pytest.mark.xdist_group(f"onnxproof {self.path} {self.job_name or ''}".strip()))
        yield CheckItem.from_parent(self, name=EXPORT)
        if told.job is None:
            self._outcome = Outcome(None, f"{type(told.error).__name__}: {told.error}")
            return
        names = planned(told.job)
        for name in names:
            yield CheckItem.from_parent(self, name=f"{EXPLAINED[name].link}[{name}]", only=(name,))
        yield CheckItem.from_parent(self, name=OTHERS, besides=names)

    def outcome(self) -> Outcome:
        """What came of the job, from this process or another of the run."""
        if self._outcome is None:
            self._outcome = self.config.stash[RUNS].of(self.path, self.job_name)
        return self._outcome


class JobNode(_OfJob, pytest.File):
    """A job file: the tests of its job, or a node for each of its jobs."""

    def collect(self) -> Iterable["CheckItem | CellNode"]:
        """The tests of the job, or the nodes of the matrix."""
        try:
            jobs = read_jobs(self.path, self.config.stash[RUNS].overrides)
        except JobError as error:
            yield from self.tests_of(Told(None, (), None, error))
            return
        if len(jobs) == 1:
            yield from self.tests_of(jobs[0])
            return
        for one in jobs:
            node: CellNode = CellNode.from_parent(self, name=str(one.name), told=one)
            yield node


class CellNode(_OfJob):
    """A job of a matrix."""

    def __init__(self, *, told: Told, **given: Any) -> None:
        super().__init__(**given)
        self._told = told
        self.job_name = told.name

    def collect(self) -> Iterable["CheckItem"]:
        """The tests of the job."""
        yield from self.tests_of(self._told)


def planned(job: Job) -> tuple[str, ...]:
    """The checks that have a test of their own, link by link."""
    left_out = {*NOT_OF_EXPORTS, *SELDOM}
    if not job.export.fold_batch_norms:
        left_out.add("folding")
    if job.validation.annotations is None:
        left_out.add("dataset")
    if job.validation.images is None:
        left_out |= {"pipeline", "ratio_constant"}
    names = [name for name in EXPLAINED if name not in left_out]
    return tuple(sorted(names, key=lambda name: LINKS.index(EXPLAINED[name].link)))


class CheckItem(pytest.Item):
    """The checks of the names ``only``, or all ``besides`` some names. Without either it tests the export."""

    parent: _OfJob

    def __init__(
        self, *, only: Sequence[str] = (), besides: Sequence[str] | None = None, **given: Any
    ) -> None:
        super().__init__(**given)
        self._only, self._besides = only, besides

    def runtest(self) -> None:
        """Fail with a line for each failure; skip if nothing was checked."""
        outcome = self.parent.outcome()
        if outcome.verdict is None:
            if self.name != EXPORT and self._export_is_run():
                pytest.skip(f"there is no verdict: the test {EXPORT} of this job says why")
            raise ChecksFailedError([outcome.error or "there is no verdict"])
        if self.name != EXPORT:
            self._judge(outcome.verdict)

    def _judge(self, verdict: Verdict) -> None:
        own = [check for check in verdict.checks if self._holds(check)]
        self.user_properties += [(_label(check), check.value) for check in own if check.value is not None]
        wrong = [line for check in own if failed(check) for line in lines_of(verdict, check)]
        if wrong:
            raise ChecksFailedError(wrong)
        if not any(check.status == "pass" for check in own):
            pytest.skip(own[0].reason if own else "this file needs no such check")

    def _holds(self, check: Check) -> bool:
        return check.name in self._only if self._besides is None else check.name not in self._besides

    def _export_is_run(self) -> bool:
        return any(item.parent is self.parent and item.name == EXPORT for item in self.session.items)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The failure without a traceback of this code."""
        if isinstance(excinfo.value, ChecksFailedError):
            return _shown(excinfo, str(excinfo.value))
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """The job file, and the name of the test."""
        return self.path, None, self.name


def _label(check: Check) -> str:
    return " ".join(filter(None, (check.name, check.field, check.leg)))
