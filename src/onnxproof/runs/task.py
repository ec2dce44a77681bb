"""What is to be done of one job among many, and what came of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from onnxproof.job import Job
from onnxproof.system.endings import INTERRUPTED, UNFORESEEN, WRONG_REQUEST, Ending
from onnxproof.validate.verdict import Verdict

FORMAT = 1
"""The format of the document that --json prints of many jobs."""

VERDICT_CODES = {"pass": 0, "fail": 1, "error": 4}
"""The exit code of a verdict."""

WORSE = (0, 4, 1, 3, WRONG_REQUEST, UNFORESEEN)
"""Exit codes from the best to the worst: proven right; not proven; proven wrong; no file was made; the job
has to be mended; a fault of onnxproof. Those of a run that was stopped are worse still."""

State = Literal["made", "up to date", "failed", "not run"]
"""What was done. "made" is exported or validated, whatever the verdict; "failed" ended without one."""


@dataclass(frozen=True, slots=True)
class Task:
    """A job to export or to validate.

    ``name`` is the job's, or the path of its source if that is not known. ``job`` is None for a checkpoint
    and for a bundle. ``target`` is the bundle's folder; None if it is not known before the work.
    ``options`` are further arguments of ``export`` or ``validate``. ``needed`` is how many bytes of memory
    the work takes, by estimate.
    """

    kind: Literal["export", "validate"]
    name: str
    source: Path
    job: Job | None
    axes: tuple[tuple[str, str], ...]
    target: Path | None
    options: Mapping[str, Any]
    needed: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a job.

    ``bundle`` is the folder of an export, or the one that was validated; None if there is none. ``reason``
    says in words why the job was done, was not run, or is up to date. ``error`` is None unless the job
    failed. ``printed`` is what the job's process printed. ``stages`` are the stages and their seconds.
    ``lowered`` is the bundle of lower precision beside it, None if there is none; ``verdict`` is on that.
    """

    name: str
    source: Path
    axes: tuple[tuple[str, str], ...]
    state: State
    bundle: Path | None = None
    verdict: Verdict | None = None
    error: Ending | None = None
    reason: str = ""
    notes: tuple[str, ...] = ()
    stages: tuple[tuple[str, float], ...] = ()
    printed: str = ""
    lowered: Path | None = None

    @property
    def exit_code(self) -> int:
        """The exit code that a run of this job alone would have; that of an interrupted run if it was not
        run."""
        if self.error is not None:
            return self.error.exit_code
        if self.state == "not run":
            return INTERRUPTED
        return 0 if self.verdict is None else VERDICT_CODES[self.verdict.status]

    @property
    def seconds(self) -> float:
        """How long the work took."""
        return sum(seconds for _, seconds in self.stages)


def worst(outcomes: Iterable[Outcome]) -> int:
    """The worst exit code of the jobs that were run (``WORSE`` has the order); 0 if there is none."""
    codes = [one.exit_code for one in outcomes if one.state != "not run"]
    return max(codes, key=lambda code: WORSE.index(code) if code in WORSE else len(WORSE), default=0)
