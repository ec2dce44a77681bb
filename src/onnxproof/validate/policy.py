"""The limits that measurements are judged by, as values, and where the limits come from.

Measuring reads none of this: the same tally can be judged by any policy.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, Protocol, Self

from onnxproof.validate.measure import Measurement

RATIO_RMS = 2.7
"""Limit of ratio_rms. Healthy exports measured 0.66 to 2.55; a fault with three times the effect of PyTorch's
own float error measures 3 or more (benchmarks/soundness)."""

RATIO_MAX = 5.0
"""Limit of ratio_max. A maximum scatters more than an rms: healthy exports measured 0.50 to 3.63."""

HEALTHY_RMS, HEALTHY_MAX = 2.43, 3.63
"""The largest of these two ratios that healthy exports measured. A recurrence is left out: ONNX Runtime's
GRU measured 2.55."""

RATIO_CONSTANT = 100.0
"""Limit of both ratios on inputs of one value. There every pixel rounds alike, and errors add up instead of
averaging out: healthy networks that take means or normalise over such a picture err many times as much as
PyTorch (benchmarks/witnesses.py)."""

FEW = 8
"""A failure that rests on this many cases or fewer is looked at again: so few measure float error badly."""

REPEATS = 32
"""How many runs a second look takes, on inputs next to those of the doubtful cases. The rms of as many normal
deviates scatters by an eighth."""

BEYOND_DOUBT = 100.0
"""The ratio from which on nothing is looked at again. Of one number in float error, ratios over 30 are not
rare (one in fifty; the ratio of two normal deviates is Cauchy's)."""

HELD_BACK = 0.1
"""The largest share of a file's rows that may depend on hidden choices that float error can change."""

OPEN_LABELS = 0.5
"""The largest share of labels that may have been chosen from scores that are open themselves."""

DATASET_DIFFERENCE = 0.001
"""How far mAP or accuracy of the two legs may differ on the labelled pictures without a tie: the last digit
that is published of such figures, a tenth of a point."""

FUNCTION = 1e-3
"""Limit of the function link, in units of PyTorch's own float32 error. Healthy exports measured 1e-12 to 1e-6
where their constants are proven (benchmarks/soundness)."""

FIXED_TOLERANCE = 1e-4
"""If a model cannot run in float64: the largest error, as a share of the field's largest value."""


@dataclass(frozen=True, slots=True)
class Held:
    """One figure of a field and its limit, under the name of the check."""

    check: str
    value: float
    limit: float


class Extremal(Protocol):
    """What a bound is computed from: a Measurement is one, and so are Extremes."""

    @property
    def max_candidate(self) -> float: ...
    @property
    def floor_max(self) -> float: ...
    @property
    def scale_max(self) -> float: ...


class Policy(Protocol):
    """What a tally is judged by."""

    @property
    def few(self) -> int:
        """The largest number of cases behind a failure that is looked at again; 0 for no second look."""

    def held(self, measured: Measurement, *, has_oracle: bool) -> Iterator[Held]:
        """The figures that a field is judged by."""

    def held_on_constants(self, measured: Measurement, elsewhere: Measurement) -> Iterator[Held]:
        """The same on inputs of one value; ``elsewhere`` was measured on all other cases."""

    def bound(self, measured: Extremal, *, has_oracle: bool, constant: bool = False) -> float:
        """How far errors that the policy allows can part the candidate from the reference, in the field's
        unit. A decision whose margin is within it is a tie."""

    def to_json(self) -> dict[str, Any]:
        """The policy's name and its limits."""


@dataclass(frozen=True, slots=True)
class FixedTolerance:
    """Errors up to ``absolute`` plus ``relative`` times the field's largest value, for every field."""

    absolute: float = 0.0
    relative: float = FIXED_TOLERANCE

    name: ClassVar[str] = "fixed tolerance"
    few: ClassVar[int] = 0

    def held(self, measured: Measurement, *, has_oracle: bool) -> Iterator[Held]:
        yield Held("max_error", measured.max_candidate, self.bound(measured, has_oracle=has_oracle))

    def held_on_constants(self, measured: Measurement, elsewhere: Measurement) -> Iterator[Held]:
        limit = max(self.bound(found, has_oracle=True) for found in (measured, elsewhere))
        yield Held("max_error", measured.max_candidate, limit)

    def bound(self, measured: Extremal, *, has_oracle: bool, constant: bool = False) -> float:
        return self.absolute + self.relative * measured.scale_max

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, **asdict(self)}


@dataclass(frozen=True, slots=True)
class FloatFloor:
    """Errors in units of PyTorch's own float error, from a float64 oracle (docs/verdict.md).

    ``without_oracle`` is used if there is no oracle, since no float error was measured then.
    """

    ratio_rms: float = RATIO_RMS
    ratio_max: float = RATIO_MAX
    ratio_constant: float = RATIO_CONSTANT
    few: int = FEW
    without_oracle: FixedTolerance = FixedTolerance()

    name: ClassVar[str] = "float floor"

    def held(self, measured: Measurement, *, has_oracle: bool) -> Iterator[Held]:
        if not has_oracle:
            yield from self.without_oracle.held(measured, has_oracle=False)
        elif measured.count:
            yield Held("ratio_rms", measured.ratio_rms, self.ratio_rms)
            yield Held("ratio_max", measured.ratio_max, self.ratio_max)

    def held_on_constants(self, measured: Measurement, elsewhere: Measurement) -> Iterator[Held]:
        """Errors are divided by PyTorch's on these pictures or ``elsewhere``, whichever are larger: a
        probability is close to 0 if a picture shows nothing, and no kernel is that exact."""
        value = max(
            measured.rms_candidate / max(measured.floor_rms, elsewhere.floor_rms),
            measured.max_candidate / max(measured.floor_max, elsewhere.floor_max),
        )
        yield Held("ratio_constant", value, self.ratio_constant)

    def bound(self, measured: Extremal, *, has_oracle: bool, constant: bool = False) -> float:
        """The reference's error plus the candidate's.

        The candidate's counts only up to what the limit allows: a damaged file must not excuse its own
        decisions.
        """
        if not has_oracle:
            return self.without_oracle.bound(measured, has_oracle=False)
        allowed = (self.ratio_constant if constant else self.ratio_max) * measured.floor_max
        candidate = measured.max_candidate if measured.max_candidate <= allowed else allowed
        return measured.floor_max + candidate

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, **asdict(self)}


@dataclass(frozen=True, slots=True)
class LoweredFloor(FloatFloor):
    """Errors of a file of lower precision, in units of what its own rounding costs (docs/precision.md).

    That is how far a graph with quantisers (``mode`` "int8") is moved by numbers that are rounded to the
    neighbouring step, or one in half precision by rounding each result. A decision is excused up to that
    floor, once for the leg that was judged and once for the candidate.
    """

    mode: str = "int8"

    name: ClassVar[str] = "lowered floor"

    @property
    def yardstick(self) -> str:
        """What a ratio is a multiple of, in words."""
        return STEP if self.mode == "int8" else f"rounding each result to {self.mode} costs"

    def bound(self, measured: Extremal, *, has_oracle: bool, constant: bool = False) -> float:
        floor = measured.floor_max
        return floor + (measured.max_candidate if measured.max_candidate <= floor else floor)

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, **asdict(self), "yardstick": self.yardstick}


STEP = "rounding to the neighbouring step costs"
"""The yardstick of a graph with quantisers, in words."""


@dataclass(frozen=True, slots=True)
class Exactness:
    """The policy of the function link: the graph in float64 against the oracle, in units of PyTorch's error.

    Both sides compute in double, so that a difference is what the two state otherwise. ``ratio`` is the
    limit. ``rounding`` has, by a field's name, the largest difference that rounding alone may make: of
    float64, and of constants to float32 that are not proven. ``rounding_constant`` has the same for inputs of
    one value, on which a model may decide inside where it never does elsewhere.
    """

    ratio: float = FUNCTION
    rounding: Mapping[str, float] = field(default_factory=dict)
    rounding_constant: Mapping[str, float] = field(default_factory=dict)

    name: ClassVar[str] = "exactness"
    few: ClassVar[int] = 0

    def held(self, measured: Measurement, *, has_oracle: bool) -> Iterator[Held]:
        if has_oracle and measured.count:
            value = max(measured.ratio_rms, measured.ratio_max)
            rounding = self.rounding.get(measured.name, 0.0)
            yield Held("function", value, self.ratio + rounding / measured.floor_max)

    def held_on_constants(self, measured: Measurement, elsewhere: Measurement) -> Iterator[Held]:
        """As ``held``; errors are divided by PyTorch's on these pictures or ``elsewhere``."""
        floor = max(measured.floor_max, elsewhere.floor_max)
        value = max(
            measured.rms_candidate / max(measured.floor_rms, elsewhere.floor_rms),
            measured.max_candidate / floor,
        )
        yield Held("function", value, self.ratio + self.rounding_constant.get(measured.name, 0.0) / floor)

    def bound(self, measured: Extremal, *, has_oracle: bool, constant: bool = False) -> float:
        """What the limit allows. No decision is a tie beyond it."""
        return self.ratio * measured.floor_max

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "ratio": self.ratio}


@dataclass(frozen=True, slots=True)
class DecisionBudget:
    """What a file of lower precision may cost in decisions. Its numbers are not held to float error.

    ``changed`` is the largest share of decisions that may differ from the reference's; an upper bound at
    ``confidence`` is held to it. ``map_drop`` is how far the task's main figure may drop on labelled
    pictures, ``box_px`` how far a coordinate of a kept box may move (pixels of the file's input), ``score``
    the same for a score. The defaults are what is commonly asked of an int8 detector.
    """

    changed: float = 0.001
    map_drop: float = 0.005
    box_px: float = 1.0
    score: float = 0.05
    confidence: float = 0.95

    name: ClassVar[str] = "decision budget"
    few: ClassVar[int] = 0

    def among(self, tries: int) -> Self:
        """The budget for each of so many files: all hold together at this confidence (Bonferroni's bound)."""
        return replace(self, confidence=1 - (1 - self.confidence) / tries)

    def held(self, measured: Measurement, *, has_oracle: bool) -> Iterator[Held]:
        """No figure of a field."""
        yield from ()

    def held_on_constants(self, measured: Measurement, elsewhere: Measurement) -> Iterator[Held]:
        """No figure of a field."""
        yield from ()

    def bound(self, measured: Extremal, *, has_oracle: bool, constant: bool = False) -> float:
        """No error excuses a decision: each one that differs counts."""
        return 0.0

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, **asdict(self)}


EXACT = Exactness()
"""The policy of the function link."""

FLOAT_FLOOR = FloatFloor()
"""The policy of every verdict, unless another is given."""
