"""From what a user hands in to tasks: one for each file, cell of a matrix, checkpoint and bundle.

Nothing is written and nothing imports PyTorch. What is wrong with one job is its own outcome; two jobs that
would write the same bundle are an error of the whole.
"""

import fnmatch
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from onnxproof.errors import OnnxproofError, RequestError
from onnxproof.job import Job
from onnxproof.job.asked import Address, job_to_export, job_to_validate
from onnxproof.job.document import cells_of, override, read_document, told
from onnxproof.job.matrix import Told, read_jobs
from onnxproof.runs.record import check_record, checkpoint_bytes
from onnxproof.runs.task import Outcome, Task
from onnxproof.runtime.folder import PARITY_FILE
from onnxproof.source import BundleFolder, CheckpointPath, JobFile, OtherFile, look_at, name_of
from onnxproof.steps.look_first import refuse_to_export
from onnxproof.system.endings import ending_of
from onnxproof.system.memory import estimated_bytes
from onnxproof.validate.baseline import read_baseline

Planned = Task | Outcome
"""A job to do, or what is known of one that cannot be done."""


def makes_many(source: Address, set: Sequence[str]) -> bool:
    """Whether a source is a job file that makes several jobs. A file with a mistake makes none."""
    if not isinstance(look_at(source), JobFile):
        return False
    file = Path(source)
    try:
        return len(cells_of(read_document(file), set, told(file))) > 1
    except OnnxproofError:
        return False


def plan_export(
    jobs: Iterable[Address],
    *,
    out: Address = "dist",
    set: Sequence[str] = (),
    only: Sequence[str] = (),
    validate: bool = True,
    baseline: Address | None = None,
) -> tuple[Planned, ...]:
    """What ``export_many`` would do, without the question of what is up to date. Raises as that does."""
    options = {"validate": validate}
    found = [one for source in jobs for one in _exported(Path(source), Path(out), tuple(set), options)]
    return _planned(found, only, baseline)


def _exported(source: Path, out: Path, set: tuple[str, ...], options: Mapping[str, Any]) -> Iterator[Planned]:
    found = look_at(source)
    try:
        if isinstance(found, CheckpointPath):
            given = override({}, set).get("name") or name_of(source)
            target = None if given is None else out / str(given)
            refuse_to_export(source, out, set)
            more = {**options, "out": out, "set": set}
            yield _sized(Task("export", str(given or source), source, None, (), target, more))
            return
        if not isinstance(found, JobFile | OtherFile):
            job_to_export(source, set)
        jobs = read_jobs(source, set)
    except OnnxproofError as error:
        yield _refused(source, error)
        return
    for one in jobs:
        try:
            refuse_to_export(one.known, out, ())
        except OnnxproofError as error:
            yield _refused(source, error, one)
            continue
        job = one.known
        more = {**options, "out": out}
        yield _sized(Task("export", job.name, source, job, one.axes, out / job.name, more))


def plan_validate(
    sources: Iterable[Address],
    *,
    set: Sequence[str] = (),
    only: Sequence[str] = (),
    trust: bool = False,
    baseline: Address | None = None,
) -> tuple[Planned, ...]:
    """What ``validate_many`` would do. Raises as that does."""
    found = [one for source in sources for one in _judged(Path(source), tuple(set), {"trust": trust})]
    return _planned(found, only, baseline)


def _judged(source: Path, set: tuple[str, ...], options: Mapping[str, Any]) -> Iterator[Planned]:
    found = look_at(source)
    try:
        if isinstance(found, BundleFolder):
            name = found.manifest().contract.name
            more = {**options, "set": set}
            yield _sized(Task("validate", name, source, None, (), source, more))
            return
        if not isinstance(found, JobFile | OtherFile):
            job_to_validate(source, set)
        jobs = read_jobs(source, set)
    except OnnxproofError as error:
        yield _refused(source, error)
        return
    for one in jobs:
        if one.error is not None:
            yield _refused(source, one.error, one)
        else:
            job = one.known
            target = Path("dist") / job.name
            yield _sized(Task("validate", job.name, source, job, one.axes, target, dict(options)))


def _refused(source: Path, error: OnnxproofError, told: Told | None = None) -> Outcome:
    name = str(source) if told is None or told.name is None else told.name
    axes = () if told is None else told.axes
    return Outcome(name, source, axes, "failed", error=ending_of(error), reason="refused before the work")


def _sized(task: Task) -> Task:
    return replace(task, needed=estimated_bytes(checkpoint_bytes(task)))


def _planned(found: Sequence[Planned], only: Sequence[str], baseline: Address | None) -> tuple[Planned, ...]:
    if not found:
        raise RequestError("no job is given: name job files, checkpoints or bundles")
    left = _baselines(_fitting(found, only), None if baseline is None else Path(baseline))
    _refuse_clashes(left)
    return tuple(left)


def _fitting(planned: Sequence[Planned], patterns: Sequence[str]) -> list[Planned]:
    """The jobs whose name fits a pattern; all if there is no pattern. Raises RequestError if none fits."""
    if not patterns:
        return list(planned)
    left = [one for one in planned if any(fnmatch.fnmatchcase(one.name, pattern) for pattern in patterns)]
    if not left:
        names = ", ".join(one.name for one in planned[:5])
        raise RequestError(
            f"--only {' --only '.join(patterns)}: no job has such a name; there are: {names}, …"
        )
    return left


def _refuse_clashes(planned: Iterable[Planned]) -> None:
    """Raise RequestError if two jobs would write the same bundle, or a record would replace what is none."""
    taken: dict[str, Task] = {}
    for one in planned:
        if isinstance(one, Task) and one.kind == "export" and one.target is not None:
            place = os.path.normcase(os.path.realpath(one.target))
            other = taken.setdefault(place, one)
            if other is not one:
                if (other.source, other.axes) == (one.source, one.axes):
                    raise RequestError(f"{one.source} is given twice: both would write {one.target}")
                raise RequestError(
                    f"{other.source} and {one.source} would both write {one.target}: give each job a name of "
                    "its own"
                )
            check_record(one.target)


def _baselines(planned: Sequence[Planned], folder: Path | None) -> list[Planned]:
    """The tasks, each with the older verdict of its name in a folder of bundles, if that is there.

    Raises RequestError if ``folder`` is one verdict alone, or if a verdict there cannot be read.
    """
    if folder is None:
        return list(planned)
    if not folder.is_dir() or (folder / PARITY_FILE).is_file():
        raise RequestError(
            f"--baseline {folder} is one verdict, and there are several jobs: give the folder that holds "
            "their older bundles, by their names"
        )
    found: list[Planned] = []
    for one in planned:
        older = folder / one.name
        if isinstance(one, Task) and (older / PARITY_FILE).is_file():
            read_baseline(older)
            one = replace(one, options={**one.options, "baseline": older})
        found.append(one)
    return found


def threads_of(planned: Iterable[Planned]) -> int:
    """The most threads that one of the jobs asks for."""
    jobs = [one.job for one in planned if isinstance(one, Task) and one.job is not None]
    return max((job.validation.threads for job in jobs), default=DEFAULT_THREADS)


DEFAULT_THREADS: int = Job.model_fields["validation"].default.threads
