"""Put one reported fault before the verdict and before the tools in use."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from soundness.measure import peers_say
from soundness.reported.effect import effect_of
from soundness.reported.fault import Pair, Reported, make_pair

from onnxproof.steps.planning import plan_of
from onnxproof.validate.verdict import Verdict
from onnxproof.validate.verify import validate_files


@dataclass(frozen=True, slots=True)
class Row:
    """What was said of both files of a fault.

    ``healthy`` and ``damaged`` are the verdicts' statuses, ``alarms`` and ``found`` their failed checks.
    ``effect`` is in units of PyTorch's float32 error; None if it is infinite. ``peers`` and ``peers_healthy``
    say which of the tools accept each file.
    """

    name: str
    source: str
    made: str
    effect: float | None
    healthy: str
    alarms: tuple[str, ...]
    damaged: str
    found: tuple[str, ...]
    peers: Mapping[str, bool]
    peers_healthy: Mapping[str, bool]


def measure(fault: Reported, folder: Path) -> Row:
    """Make both files in the folder, and ask everybody."""
    pair = make_pair(fault, folder)
    effect = effect_of(fault, pair)
    healthy, damaged = verdicts_of(fault, pair)
    said = peers_say(fault.model(), fault.job(), (pair.healthy, pair.damaged), pair.healthy)
    return Row(
        fault.name,
        fault.source,
        fault.made,
        effect if effect < float("inf") else None,
        healthy.status,
        _failed(healthy),
        damaged.status,
        _failed(damaged),
        said[pair.damaged],
        said[pair.healthy],
    )


def verdicts_of(fault: Reported, pair: Pair) -> tuple[Verdict, Verdict]:
    """The verdicts on the healthy and on the damaged file."""
    job, model, files = fault.job(), fault.model(), (pair.healthy, pair.damaged)
    healthy, damaged = validate_files(model, files, plan_of(job, model), opset=None, target=job.export.target)
    return healthy, damaged


def _failed(verdict: Verdict) -> tuple[str, ...]:
    """The checks that failed or could not be run, each behind its link of the proof."""
    bad = [check for check in verdict.checks if check.status in ("fail", "error")]
    return tuple(dict.fromkeys(f"{check.link}: {check.name}" for check in bad))
