"""What is needed to compare the decisions of two legs, and the words in which that is told."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from onnxproof.runtime.readings.adjustable import Array


@dataclass(frozen=True, slots=True)
class Finding:
    """A decision that one leg took and the other did not: what it was, and why."""

    what: str
    cause: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two sets of decisions on one picture.

    A tie is a difference that the reference's own margins leave open within the error bounds; a
    defect is one that they rule out.
    """

    matched: int
    ties: tuple[Finding, ...]
    defects: tuple[Finding, ...]


class Comparer(Protocol):
    """How the decisions of one task are compared. *Evidence* and *decisions* are the values of the task."""

    def quantities(self, evidence: Any) -> Mapping[str, Array]:
        """The numbers that margins are measured in, by name; same order and shape in every leg."""

    def thin(self, reference: Any, candidate: Any, reading: Any) -> tuple[Any, Any]:
        """The part of the evidence that ``compare`` can need; small enough to be kept."""

    def differ(self, reference: Any, candidate: Any) -> bool:
        """Whether two decisions are not the same set in the same order of the same evidence."""

    def compare(
        self, reference: Any, candidate: Any, reading: Any, bounds: Mapping[str, float]
    ) -> Comparison:
        """Hold the decisions from two pieces of evidence against each other.

        ``bounds`` gives, for each quantity, how far float error alone can have moved it from the
        reference to the candidate.
        """

    def count(self, decisions: Any) -> int:
        """How many decisions there are."""


def exact(value: float) -> str:
    """A number of a decision as text: nine significant digits tell one float32 from the next."""
    return f"{float(value):.9g}"


def error_bound(bound: float, *, each: bool = False) -> str:
    """A bound as every cause tells it; ``each``: either of two numbers may have moved by it."""
    return f"error bound {bound:.2e}{' each' if each else ''}"
