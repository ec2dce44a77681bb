"""The errors of one run of one case, and of many runs together."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Self

from onnxproof.seeded import FLOAT32_EPSILON

UNIT_BITS = 1074
"""Every float64 is a whole multiple of 2**-1074 (IEEE 754: its smallest subnormal)."""


@dataclass(slots=True)
class RunErrors:
    """What one run of one case adds to a pool."""

    count: int = 0
    squares_reference: float = 0.0
    squares_candidate: float = 0.0
    max_reference: float = 0.0
    max_candidate: float = 0.0
    scale_max: float = 0.0
    nonfinite: int = 0
    epsilon: float = FLOAT32_EPSILON

    def add(self, other: Self) -> None:
        """Add another part of the same run."""
        self.count += other.count
        self.squares_reference += other.squares_reference
        self.squares_candidate += other.squares_candidate
        self.max_reference = max(self.max_reference, other.max_reference)
        self.max_candidate = max(self.max_candidate, other.max_candidate)
        self.scale_max = max(self.scale_max, other.scale_max)
        self.nonfinite += other.nonfinite
        self.epsilon = max(self.epsilon, other.epsilon)


@dataclass(slots=True)
class ExactSum:
    """A sum of floats without rounding, in memory that does not grow: the order of the terms is no matter.

    ``units`` counts multiples of 2**-1074. ``overflown`` says that a term was infinite.
    """

    units: int = 0
    overflown: bool = False

    def add(self, value: float) -> None:
        """Add a term that is not NaN."""
        if math.isinf(value):
            self.overflown = True
            return
        numerator, denominator = value.as_integer_ratio()
        self.units += numerator << (UNIT_BITS + 1 - denominator.bit_length())

    def merge(self, other: Self) -> None:
        """Add the terms of another sum."""
        self.units += other.units
        self.overflown |= other.overflown

    def with_terms(self, values: Iterable[float]) -> float:
        """The sum with some terms more, rounded once."""
        whole = ExactSum(self.units, self.overflown)
        for value in values:
            whole.add(value)
        try:
            return math.inf if whole.overflown else whole.units / (1 << UNIT_BITS)
        except OverflowError:
            return math.inf


@dataclass(slots=True)
class Rest:
    """What the runs add together that a pool does not tell one by one.

    ``errors`` has their counts and maxima; the sums of their squares are ``reference`` and ``candidate``.
    ``nonfinite_case`` is the first by name that has a value that is not finite.
    """

    errors: RunErrors = field(default_factory=RunErrors)
    reference: ExactSum = field(default_factory=ExactSum)
    candidate: ExactSum = field(default_factory=ExactSum)
    nonfinite_case: str = ""

    def take(self, case: str, errors: RunErrors) -> None:
        """Add the run of a case."""
        self.reference.add(errors.squares_reference)
        self.candidate.add(errors.squares_candidate)
        self.errors.add(replace(errors, squares_reference=0.0, squares_candidate=0.0))
        self._name(case if errors.nonfinite else "")

    def merge(self, other: Self) -> None:
        """Add what the runs of another pool add."""
        self.errors.add(other.errors)
        self.reference.merge(other.reference)
        self.candidate.merge(other.candidate)
        self._name(other.nonfinite_case)

    def _name(self, case: str) -> None:
        self.nonfinite_case = min(filter(None, (case, self.nonfinite_case)), default="")
