"""What export and validate share when they are given many jobs: options, progress, the answer."""

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from onnxproof.cli._document import show_json
from onnxproof.cli._options import Command
from onnxproof.cli._reports import Reports, subject_of
from onnxproof.cli._shown import many_progress
from onnxproof.cli._terminal import show_table
from onnxproof.errors import ModelFileError
from onnxproof.job.asked import files_read
from onnxproof.progress import Stages, silent
from onnxproof.runs.plan import Planned
from onnxproof.runs.record import NO_BUNDLE
from onnxproof.runs.run import AtOnce, Running, run_planned
from onnxproof.runs.task import FORMAT, Outcome, Task, worst
from onnxproof.runtime.folder import MODEL_FILE, read_manifest
from onnxproof.runtime.manifest import Manifest
from onnxproof.source import JobFile, look_at
from onnxproof.system.signals import Stopped
from onnxproof.validate.report.entries import Entry, told
from onnxproof.validate.report.many import many_table

DONE = {"export": "exported", "validate": "validated"}
"""What reports call a job that was made."""


@dataclass(frozen=True, slots=True)
class Many:
    """How many jobs are done. ``at_once`` is None if --jobs is not given."""

    at_once: AtOnce | None
    fail_fast: bool
    only: tuple[str, ...]
    force: bool = False

    @property
    def asked(self) -> bool:
        """Whether one of the options is given. Then even one job is done as many are."""
        return self.at_once is not None or self.fail_fast or bool(self.only) or self.force


def _at_once(text: str) -> AtOnce:
    if text == "auto":
        return "auto"
    if text.isdigit() and int(text) > 0:
        return int(text)
    raise click.BadParameter(f"{text!r} is neither a number from 1 up nor auto")


_JOBS = click.option(
    "--jobs",
    "at_once",
    type=_at_once,
    metavar="N|auto",
    help="How many jobs run at once, each in a process of its own (1); auto: as the cores allow.",
)
_FAIL_FAST = click.option("--fail-fast", is_flag=True, help="Stop at the first job that does not pass.")
_ONLY = click.option(
    "--only", multiple=True, metavar="PATTERN", help="Only the jobs of such a name: 'digits-opset_18*'."
)
_FORCE = click.option("--force", is_flag=True, help="Of many jobs, make those again that are up to date.")


def many_options(*, force: bool) -> Callable[[Command], Command]:
    """Give a command the options for many jobs, as ``many``; with --force if ``force``."""

    def decorated(command: Command) -> Command:
        @functools.wraps(command)
        def with_many(
            *args: Any,
            at_once: AtOnce | None,
            fail_fast: bool,
            only: tuple[str, ...],
            force: bool = False,
            **options: Any,
        ) -> Any:
            return command(*args, many=Many(at_once, fail_fast, only, force), **options)

        optioned: Command = _JOBS(_FAIL_FAST(_ONLY(_FORCE(with_many) if force else with_many)))
        return optioned

    return decorated


def answer_many(
    planned: Sequence[Planned],
    many: Many,
    reports: Reports,
    *,
    as_json: bool,
    quiet: bool,
    written: Iterable[Path] = (),
    write: Callable[[Outcome], None] = lambda outcome: None,
) -> int:
    """Do what is planned, and tell what came of it. Returns the worst exit code.

    ``written`` are the command's other outputs, and ``write`` writes those of a job.
    """
    tasks = [one for one in planned if isinstance(one, Task)]
    bundles = [one.target for one in tasks if one.kind == "export" and one.target is not None]
    reports.prepare(lambda: _read(planned), written=written, bundles=bundles)
    outcomes: list[Outcome] = []
    with many_progress(quiet=quiet) as shown:

        def ended(outcome: Outcome) -> None:
            outcomes.append(outcome)
            write(outcome)
            shown.ended(outcome.name, _line(outcome), outcome.printed)
            if quiet and outcome.error is not None:
                click.echo(outcome.error.text_of(outcome.name), err=True)

        try:
            how = Running(many.at_once or 1, many.fail_fast, shown.report, ended, many.force)
            found = run_planned(planned, how)
        except (KeyboardInterrupt, Stopped):
            shown.say(told_when_stopped(outcomes, len(planned)))
            raise
    kind = tasks[0].kind if tasks else "export"
    entries = [_entry(one, DONE[kind]) for one in found]
    if not quiet:
        show_table(many_table(entries), json_only=as_json)
    reports.write_many(entries)
    code = worst(found)
    if as_json:
        jobs = [_document(outcome, entry) for outcome, entry in zip(found, entries, strict=True)]
        show_json({"format": FORMAT, "exit_code": code, "said": told(entries), "jobs": jobs})
    return code


def _read(planned: Sequence[Planned]) -> list[Path]:
    """Every file that the jobs read."""
    return [
        path for one in planned for path in files_read(one.source, one.job if isinstance(one, Task) else None)
    ]


def told_when_stopped(outcomes: Sequence[Outcome], count: int) -> str:
    """How far a run of so many jobs was when it was stopped."""
    ended = [one for one in outcomes if one.state != "not run"]
    failed = sum(one.error is not None for one in ended)
    told = f" and {failed} failed" if failed else ""
    return f"stopped: {len(ended) - failed} of {count} jobs are done{told}, and the same command goes on"


def _line(outcome: Outcome) -> str:
    """What came of a job, in a line."""
    if outcome.error is not None:
        return f"exit code {outcome.error.exit_code}: {outcome.error.message}"
    verdict = "" if outcome.verdict is None else f"{outcome.verdict.status}, "
    if outcome.state == "made":
        because = f" ({outcome.reason})" if outcome.reason not in ("", NO_BUNDLE) else ""
        return f"{verdict}{outcome.seconds:.0f} s{because}"
    because = f": {outcome.reason}" if outcome.state == "not run" else ""
    return f"{verdict}{outcome.state}{because}"


def _entry(outcome: Outcome, done: str) -> Entry:
    model = (outcome.bundle or outcome.source) / MODEL_FILE if outcome.bundle else outcome.source
    subject = subject_of(
        model,
        Stages(silent, seconds=dict(outcome.stages)),
        name=outcome.name,
        job=outcome.source if isinstance(look_at(outcome.source), JobFile) else None,
        manifest=_manifest(outcome),
    )
    return Entry(
        subject,
        done if outcome.state == "made" else outcome.state,
        outcome.verdict,
        "" if outcome.error is None else outcome.error.message,
        outcome.axes,
    )


def _manifest(outcome: Outcome) -> Manifest | None:
    try:
        return None if outcome.bundle is None else read_manifest(outcome.bundle)
    except ModelFileError:
        return None


def _document(outcome: Outcome, entry: Entry) -> dict[str, Any]:
    """One job in the document of --json."""
    manifest = _manifest(outcome)
    return {
        "name": outcome.name,
        "source": str(outcome.source),
        "matrix": dict(outcome.axes),
        "done": entry.state,
        "reason": outcome.reason,
        "exit_code": None if outcome.state == "not run" else outcome.exit_code,
        "seconds": round(outcome.seconds, 3),
        "bundle": None if outcome.bundle is None else str(outcome.bundle),
        **({} if outcome.lowered is None else {"lowered": str(outcome.lowered)}),
        "notes": list(outcome.notes),
        "error": None if outcome.error is None else outcome.error.to_json()["error"],
        "manifest": None if manifest is None else manifest.to_json(),
        "parity": None if outcome.verdict is None else outcome.verdict.to_json(),
    }
