"""What a task needs to compare the decisions of two legs, and how the causes of differences are worded."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from onnxproof.runtime.readings.adjustable import Array


@dataclass(frozen=True, slots=True)
class Finding:
    """A decision that differs between two legs: what it is, and the cause."""

    what: str
    cause: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two sets of decisions on one picture.

    A tie is a difference in a decision that is open: a margin of the reference is within the error bounds. A
    defect is a difference in a decision that is not open.
    """

    matched: int
    ties: tuple[Finding, ...]
    defects: tuple[Finding, ...]


class Comparer(Protocol):
    """How the decisions of one task are compared. *Evidence* and *decisions* are the values of the task."""

    def quantities(self, evidence: Any) -> Mapping[str, Array]:
        """The numbers that margins are measured in, by name, in the same order and shape in every leg."""

    def thin(self, reference: Any, candidate: Any, reading: Any) -> tuple[Any, Any]:
        """The part of both legs' evidence that ``compare`` needs. It is kept until all cases have run."""

    def differ(self, reference: Any, candidate: Any) -> bool:
        """Whether the decisions of two legs differ, in what they are, in their order or in their evidence."""

    def compare(
        self, reference: Any, candidate: Any, reading: Any, bounds: Mapping[str, float]
    ) -> Comparison:
        """Compare the decisions that follow from two legs' evidence.

        ``bounds`` gives, for each quantity, how far float error alone can have moved it from the
        reference to the candidate.
        """

    def margins(self, evidence: Any, decisions: Any, reading: Any) -> Mapping[str, Array]:
        """How far every number of a quantity has to move until one of the decisions flips, for each of them.

        Infinite, or left out, if no move of that quantity does.
        """

    def count(self, decisions: Any) -> int:
        """How many decisions there are."""


def as_compared(threshold: float, values: Array) -> float:
    """The threshold that ``values > threshold`` is decided by: NumPy rounds it to their dtype."""
    return float(np.asarray(threshold, values.dtype))


def exact(value: float) -> str:
    """A number of a decision as text. Nine significant digits distinguish any two float32."""
    return f"{float(value):.9g}"


def error_bound(bound: float, *, each: bool = False) -> str:
    """A bound as text, for every cause. ``each`` says that either of two numbers may have moved by it."""
    return f"error bound {bound:.2e}{' each' if each else ''}"


def may_swap(
    reference: Array, candidate: Array, classes: tuple[int, int], bound: float, quantity: str, cause: str
) -> tuple[bool, str]:
    """Whether float error alone may have put one of two classes in the other's place, and the cause.

    It may if the reference's numbers of the two are at most twice the bound apart, and the candidate's moved
    by at most the bound. ``reference`` and ``candidate`` [C] are the numbers of the classes, called
    ``quantity``. ``cause`` says how far apart the two are.
    """
    ours, theirs = classes
    if not abs(float(reference[ours]) - float(reference[theirs])) <= 2 * bound:
        return False, cause
    for label in classes:
        change = abs(float(candidate[label]) - float(reference[label]))
        if not change <= bound:
            moved = f"from {exact(reference[label])} to {exact(candidate[label])}"
            return (
                False,
                f"the {quantity} of class {label} moved by {change:.3g} {moved}, {error_bound(bound)}",
            )
    return True, cause
