"""Look for conditions of the file that were the same in every case and that the model does not have.

What the file does where such a condition turns was never compared. The conditions are watched in the runs in
float64 that the link ``function`` makes. PyTorch's run tells what the model itself chooses by.
"""

import numpy as np

from onnxproof.validate.conditions import Condition, Seen
from onnxproof.validate.exact.constants import FLOATS
from onnxproof.validate.exact.known import Recorded
from onnxproof.validate.exact.plain import chooses_nothing
from onnxproof.validate.hazards._hazard import (
    NO_CHECKPOINT,
    Subject,
    advised,
    failed,
    listed,
    passed,
    skipped,
)
from onnxproof.validate.verdict import Check

NAME = "bounds"
"""The hazard that this is a part of (``bounds.py``)."""


def look_for_unseen_branches(subject: Subject) -> Check:
    """Whether each condition that the model does not have was both true and false.

    It fails if the model chooses nothing by value, and the condition compares with a number that is not zero.
    A converter may guard against zero: that is advice, and so is a number that the model does not have,
    where it chooses by others. "skipped" if the checkpoint is not at hand, or the model's operations are not
    known.
    """
    seen = subject.seen
    if seen is None or subject.known is None:
        return skipped(NAME, NO_CHECKPOINT) if Seen.of(subject.graph).conditions else passed(NAME)
    unseen = [condition for condition in seen.conditions if len(seen.values.get(condition, ())) == 1]
    if not unseen:
        return passed(NAME)
    recorded = subject.known.recorded
    if recorded.missing:
        return skipped(NAME, f"the model's own conditions are not known: {recorded.missing}")
    strange = {condition: _strange(subject, condition, recorded) for condition in unseen}
    if chooses_nothing(recorded):
        wrong = [condition for condition in unseen if strange[condition]]
        told = _told(subject, wrong or unseen)
        reason = f"{told}, so what the file does otherwise was never compared, and the model has no condition"
        return failed(NAME, reason, len(wrong)) if wrong else advised(NAME, reason, len(unseen))
    unknown = [condition for condition in unseen if strange[condition]]
    if not unknown:
        return passed(NAME, f"{len(unseen)} conditions were the same in every case; they may be the model's")
    reason = f"{_told(subject, unknown)}, so what the file does otherwise was never compared"
    return advised(NAME, f"{reason}, and the model compares with no such number", len(unknown))


def _strange(subject: Subject, condition: Condition, recorded: Recorded) -> list[float]:
    """The numbers that a condition compares with and that the model does not choose or cut off by."""
    own = {np.float32(abs(number)) for number in (*recorded.numbers, *recorded.bounds)}
    numbers = [_number(subject, name) for name in sorted(condition.compared)]
    return [number for number in numbers if number and np.float32(abs(number)) not in own]


def _number(subject: Subject, name: str) -> float:
    """A constant of one float number; 0 for all else."""
    stored = subject.graph.constants[name]
    if stored.dtype not in FLOATS or np.prod(stored.shape) != 1:
        return 0.0
    return float(stored.array(subject.file).reshape(-1)[0])


def _told(subject: Subject, conditions: list[Condition]) -> str:
    return listed([_sentence(subject, condition) for condition in conditions], "; ")


def _sentence(subject: Subject, condition: Condition) -> str:
    assert subject.seen is not None
    (value,) = subject.seen.values[condition]
    numbers = [f"{number:.7g}" for name in sorted(condition.compared) if (number := _number(subject, name))]
    what = f" (a comparison with {' and '.join(numbers)})" if numbers else ""
    return f"{condition.node}: its condition{what} was {str(value).lower()} in every case"
