"""Export or validate many jobs: plan, do what is not up to date, and say what came of each."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from onnxproof.errors import RequestError
from onnxproof.job.asked import Address
from onnxproof.many.workers import cores
from onnxproof.runs.plan import Planned, plan_export, plan_validate, threads_of
from onnxproof.runs.pool import Pool, Report
from onnxproof.runs.record import Changes, kept_verdict, lowered_of
from onnxproof.runs.task import Outcome, Task
from onnxproof.system.parsed import parse_json
from onnxproof.system.signatures import checks_arguments
from onnxproof.validate.verdict import Verdict

AtOnce = int | Literal["auto"]

BROKEN = "its verdict was error: what could not be run is tried again"
FORCED = "asked for with --force"


def no_report(name: str, stage: str, done: int, total: int) -> None:
    """Shows no progress."""


def no_one(outcome: Outcome) -> None:
    """Is told of an outcome, and does nothing."""


@dataclass(frozen=True, slots=True)
class Running:
    """How what is planned is done, and who is told. ``export_many`` says what each means."""

    at_once: AtOnce
    fail_fast: bool
    progress: Report
    ended: Callable[[Outcome], None]
    force: bool = False


@checks_arguments
def export_many(
    jobs: Iterable[Address],
    *,
    out: Address = "dist",
    set: Sequence[str] = (),
    only: Sequence[str] = (),
    validate: bool = True,
    baseline: Address | None = None,
    at_once: AtOnce = 1,
    force: bool = False,
    fail_fast: bool = False,
    progress: Report = no_report,
    ended: Callable[[Outcome], None] = no_one,
) -> tuple[Outcome, ...]:
    """Export many jobs and checkpoints, each in a process of its own, and leave alone what is up to date.

    A job file with a matrix makes several jobs. ``only`` are patterns of names. ``baseline`` is a folder of
    older bundles by their names. Up to ``at_once`` jobs run at once; "auto" is as many as there are cores for
    their threads. Fewer run where memory is short. A bundle is up to date if the job, the files that were
    read, the code and the versions are what it was made from; ``force`` makes it again all the same.
    ``fail_fast`` stops at the first job that does not pass. ``ended`` is told of each outcome as it is known.

    Returns the outcomes in the order of the jobs. A job that fails is an outcome, too. Raises RequestError if
    two jobs would write the same bundle, or if no job is given.
    """
    planned = plan_export(jobs, out=out, set=set, only=only, validate=validate, baseline=baseline)
    return run_planned(planned, Running(at_once, fail_fast, progress, ended, force))


@checks_arguments
def validate_many(
    sources: Iterable[Address],
    *,
    set: Sequence[str] = (),
    only: Sequence[str] = (),
    trust: bool = False,
    baseline: Address | None = None,
    at_once: AtOnce = 1,
    fail_fast: bool = False,
    progress: Report = no_report,
    ended: Callable[[Outcome], None] = no_one,
) -> tuple[Outcome, ...]:
    """Validate many jobs and bundles, each in a process of its own. All are judged anew.

    A job's file is that in ``dist/<job name>``. The arguments, the result and the errors are as for
    ``export_many`` and ``validate``.
    """
    planned = plan_validate(sources, set=set, only=only, trust=trust, baseline=baseline)
    return run_planned(planned, Running(at_once, fail_fast, progress, ended))


def run_planned(planned: Sequence[Planned], how: Running) -> tuple[Outcome, ...]:
    """Do what is planned and not up to date."""
    size = _size(how.at_once, planned)
    outcomes: dict[int, Outcome] = {}
    left: dict[int, tuple[Task, str]] = {}
    changes = Changes()
    culprit: str | None = None
    for number, one in enumerate(planned):
        if isinstance(one, Outcome):
            found: Outcome | None = one
        else:
            reason, found = (FORCED, None) if how.force else _kept(one, changes)
            left[number] = (one, reason)
        if found is not None:
            left.pop(number, None)
            outcomes[number] = found
            how.ended(found)
            culprit = culprit or (one.name if how.fail_fast and found.exit_code else None)
    if culprit is None and left:
        culprit = _do(left, outcomes, size, how)
    for number, (task, _) in left.items():
        if number not in outcomes:
            told = f"{culprit} did not pass, and --fail-fast stops then"
            outcomes[number] = Outcome(task.name, task.source, task.axes, "not run", reason=told)
            how.ended(outcomes[number])
    return tuple(outcomes[number] for number in sorted(outcomes))


def _do(
    left: dict[int, tuple[Task, str]], outcomes: dict[int, Outcome], size: int, how: Running
) -> str | None:
    """Do the tasks that are left, ``size`` at once. Returns the name of the job at which it stopped."""
    pool = Pool(min(size, len(left)), how.progress)
    numbered = [(number, task) for number, (task, _) in left.items()]
    done = pool.outcomes(numbered)
    try:
        for number, found in done:
            outcomes[number] = replace(found, reason=left[number][1])
            how.ended(outcomes[number])
            if how.fail_fast and found.exit_code:
                return found.name
    finally:
        done.close()
    return None


def _kept(task: Task, changes: Changes) -> tuple[str, Outcome | None]:
    """Why a task has to be done; or, with its verdict, that its bundle is up to date."""
    if task.kind == "validate":
        return "", None
    reason = changes.since(task)
    if reason is not None or task.target is None:
        return reason or "", None
    lowered = lowered_of(task.job, task.target)
    text = kept_verdict(lowered or task.target)
    verdict = None if text is None else Verdict.from_json(parse_json(text))
    if verdict is not None and verdict.status == "error":
        return BROKEN, None
    told = "job, checkpoint, code and versions are as they were"
    kept = Outcome(
        *(task.name, task.source, task.axes, "up to date", task.target, verdict), reason=told, lowered=lowered
    )
    return told, kept


def _size(at_once: AtOnce, planned: Sequence[Planned]) -> int:
    """How many jobs may run at once. Raises RequestError for a number below 1."""
    if at_once != "auto":
        if at_once < 1:
            raise RequestError(f"--jobs {at_once}: expected 1 or more, or auto")
        return at_once
    return max(cores() // threads_of(planned), 1)
