"""Measure, without judging, how far the candidate and the reference are from the oracle, field by field.

For one field, over all cases: e_R = R - O and e_C = C - G. O is the model in float64, R the model as it is,
C the candidate. G is the candidate's own graph in float64, or O where that was not evaluated. Of each error
the rms, the largest magnitude and the case with the largest are kept.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from onnxproof.seeded import FLOAT32_EPSILON
from onnxproof.validate.magnitudes import Magnitudes
from onnxproof.validate.run_errors import Rest, RunErrors

HALF_EPSILON = float(np.finfo(np.float16).eps)

HEAVY = 0.9
"""The cases that carry this share of the candidate's squared error are its heaviest."""

LARGE = 2**24
"""Arrays of more elements than this are added row by row, so that the whole array is never copied."""

LARGEST_RATIO = 1e300
"""What a ratio of one case is cut to, so that it is a number in JSON."""

REACH = 5.0
"""While rows and labels are paired, a difference of up to this many times PyTorch's own error counts as float
error. It decides what is compared with what; it is not a limit of the verdict."""

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Measurement:
    """The errors of one continuous field, or of one quantity that decisions rest on.

    ``scale_max`` is the oracle's largest magnitude. ``nonfinite`` counts the elements where the candidate is
    NaN or infinite and neither the oracle nor the reference is, or the other way round. ``heaviest`` are the
    fewest cases that make up most of the candidate's squared error, the largest share first. ``varied`` is
    the most that the oracle's value at one place moves from input to input; it is None if no two inputs had
    the same sizes, or if that was not measured. ``epsilon`` is a unit in the last place of 1 in the dtype in
    which the reference answers: float32's, or float16's.

    Two are for reports alone. ``by_case`` has ``ratio_rms`` of each planned case, to four digits, or None
    where nothing was compared. ``exponents``, ``errors_reference`` and ``errors_candidate`` are a histogram
    of a sample of all errors, also of cases that were measured again: how many have a magnitude in
    [2**(exponent - 1), 2**exponent).
    """

    name: str
    unit: str
    count: int
    rms_reference: float
    rms_candidate: float
    max_reference: float
    max_candidate: float
    scale_max: float
    worst_case: str
    nonfinite: int
    nonfinite_case: str
    heaviest: tuple[str, ...] = ()
    varied: float | None = None
    epsilon: float = FLOAT32_EPSILON
    by_case: tuple[float | None, ...] = ()
    exponents: tuple[int, ...] = ()
    errors_reference: tuple[int, ...] = ()
    errors_candidate: tuple[int, ...] = ()

    @property
    def floor_rms(self) -> float:
        """The reference's rms error, at least that of one rounding at the field's own scale.

        The error of rounding to nearest is uniform within half a unit in the last place: ulp / sqrt(12) rms.
        Some kernels, such as ONNX Runtime's Sigmoid, are accurate to a unit in the last place of 1.0. Without
        this minimum, their error would be divided by nearly zero on pictures that show nothing.
        """
        return _floor_rms(self.rms_reference, self.scale_max, self.epsilon)

    @property
    def floor_max(self) -> float:
        """The reference's largest error, at least one unit in the last place of the largest value."""
        return _floor_max(self.max_reference, self.scale_max, self.epsilon)

    @property
    def floored(self) -> bool:
        """Whether the reference errs less than one rounding at the field's own scale, which stands for it."""
        return self.floor_rms > self.rms_reference

    @property
    def ratio_rms(self) -> float:
        """The candidate's rms error over the reference's."""
        return self.rms_candidate / self.floor_rms

    @property
    def ratio_max(self) -> float:
        """The candidate's largest error over the reference's."""
        return self.max_candidate / self.floor_max


@dataclass(frozen=True, slots=True)
class LabelMeasurement:
    """The flips of one label field.

    ``largest_margin`` is the oracle's largest lead over the next class among the flips. It is NaN if there is
    no flip, infinite if the margin of one is not known. If the labels are places that the model chose by
    scores (a top-k), a margin is the gap between the scores of the two places. Then ``score_error`` is the
    reference's largest error of the scores that were chosen, and ``score_scale`` the largest of these scores.
    ``open`` counts the labels that the reference and the oracle chose from scores that differ by more than
    float error; their flips have a margin of 0. ``unit`` is "class" if the labels are classes. Other integers
    are places, if they were chosen, or plain values. ``rounded`` says that they are neither: the model rounds
    or compares a float, which is the score. A margin is twice as far as the float has to move to give what
    was found. ``only`` is the one integer that all of them are; None if they differ.
    """

    name: str
    count: int
    flips: int
    largest_margin: float
    worst_case: str
    score_error: float = 0.0
    score_scale: float = 0.0
    open: int = 0
    unit: str = "class"
    rounded: bool = False
    only: int | None = None

    @property
    def kind(self) -> Literal["place", "class", "value", "rounded"]:
        """What the integers are."""
        if self.rounded:
            return "rounded"
        return "place" if self.score_scale else "class" if self.unit == "class" else "value"


Run = tuple[str, int]
"""A case's name and the number of its replica that was run, 0 for the case itself."""


@dataclass(slots=True)
class ErrorPool:
    """Accumulates a Measurement over cases; keeps a few numbers for each run.

    Sums over runs are rounded once, so that they do not depend on the order of the runs. ``rest`` has the
    runs that are not told one by one, which ``condense`` put there.
    """

    name: str
    unit: str
    cases: dict[str, RunErrors] = field(default_factory=dict)
    replicas: dict[Run, RunErrors] = field(default_factory=dict)
    reference: Magnitudes = field(default_factory=Magnitudes)
    candidate: Magnitudes = field(default_factory=Magnitudes)
    rest: Rest = field(default_factory=Rest)

    def add(
        self,
        case: str,
        oracle: Array,
        reference: Array,
        candidate: Array,
        *,
        stated: Array | None = None,
        replica: int = 0,
    ) -> None:
        """Add one run's values, all of one shape, of any float dtype.

        ``stated`` is what the candidate's error is measured from, by default the oracle.
        """
        stated = oracle if stated is None else stated
        if oracle.ndim > 1 and oracle.size > LARGE:
            for true, ref, cand, own in zip(oracle, reference, candidate, stated, strict=True):
                self.add(case, true, ref, cand, stated=own, replica=replica)
            return
        errors = self._of(case, replica)
        truth = oracle.astype(np.float64, copy=False)
        with np.errstate(invalid="ignore", over="ignore"):
            error_reference = np.subtract(reference, truth, dtype=np.float64)
            error_candidate = np.subtract(candidate, stated, dtype=np.float64)
            # The sum is not finite if any element is not; only then look at each.
            total = float(error_reference.sum() + error_candidate.sum())
        if not math.isfinite(total):
            both = np.isfinite(truth) & np.isfinite(reference) & np.isfinite(candidate) & np.isfinite(stated)
            agree = _alike(truth, candidate) | _alike(reference, candidate)
            errors.nonfinite += int(agree.size - np.count_nonzero(agree))
            truth = truth[both]
            error_reference, error_candidate = error_reference[both], error_candidate[both]
        if not truth.size:
            return
        errors.add(
            RunErrors(
                truth.size,
                float(np.vdot(error_reference, error_reference)),
                float(np.vdot(error_candidate, error_candidate)),
                _largest(error_reference),
                _largest(error_candidate),
                _largest(truth),
                epsilon=HALF_EPSILON if reference.dtype == np.float16 else FLOAT32_EPSILON,
            )
        )
        self.reference.add(error_reference)
        self.candidate.add(error_candidate)

    def merge(self, other: Self) -> None:
        """Add what another pool of the same field measured."""
        for case, errors in other.cases.items():
            self._of(case).add(errors)
        for run, errors in other.replicas.items():
            self._of(*run).add(errors)
        self.reference.merge(other.reference)
        self.candidate.merge(other.candidate)
        self.rest.merge(other.rest)

    def condense(self, most: int) -> None:
        """Tell few cases one by one: the ``most`` of the largest squares, and as many of the largest error.

        Of equals the first by name are kept. So it does not matter how often this is called between merges.
        """
        if len(self.cases) <= most:
            return
        kept: set[str] = set()
        for key in ("squares_candidate", "max_candidate"):
            ranked = sorted(self.cases, key=lambda case: (-getattr(self.cases[case], key), case))
            kept.update(ranked[:most])
        for case in self.cases.keys() - kept:
            self.rest.take(case, self.cases.pop(case))

    def forget(self, case: str) -> None:
        """Drop what the case itself added, except the count of elements that were not finite, and the
        histogram."""
        if case in self.cases:
            self.cases[case] = RunErrors(nonfinite=self.cases[case].nonfinite)

    @property
    def runs(self) -> list[RunErrors]:
        """What every run added; the last entry is that of the runs that are not told one by one, if any."""
        rest = (self.rest.errors,) if self.rest.errors.count or self.rest.errors.nonfinite else ()
        return [*self.cases.values(), *self.replicas.values(), *rest]

    def result(self, order: Sequence[str] = ()) -> Measurement:
        """The measurement so far. ``order`` are the cases' names as planned; of equals it names the first.

        Cases that are not in ``order`` come last, in the order in which they were added.
        """
        cases, runs = self._by_case(order), self.runs
        count = sum(errors.count for errors in runs)
        by_peak = max(cases, key=lambda case: max(run.max_candidate for run in cases[case]), default="")
        nonfinite = [case for case, errors in cases.items() if any(run.nonfinite for run in errors)]
        nonfinite += filter(None, (self.rest.nonfinite_case,))
        squares = [
            of.with_terms(getattr(errors, f"squares_{leg}") for found in cases.values() for errors in found)
            for leg, of in (("reference", self.rest.reference), ("candidate", self.rest.candidate))
        ]
        exponents = tuple(sorted({*self.reference.counts, *self.candidate.counts}))
        return Measurement(
            name=self.name,
            unit=self.unit,
            count=count,
            rms_reference=math.sqrt(squares[0] / max(count, 1)),
            rms_candidate=math.sqrt(squares[1] / max(count, 1)),
            max_reference=max((errors.max_reference for errors in runs), default=0.0),
            max_candidate=max((errors.max_candidate for errors in runs), default=0.0),
            scale_max=max((errors.scale_max for errors in runs), default=0.0),
            worst_case=by_peak if count else "",
            nonfinite=sum(errors.nonfinite for errors in runs),
            nonfinite_case=nonfinite[0] if nonfinite else "",
            heaviest=_heaviest(cases, squares[1]),
            epsilon=max((errors.epsilon for errors in runs), default=FLOAT32_EPSILON),
            exponents=exponents,
            errors_reference=tuple(self.reference.counts[exponent] for exponent in exponents),
            errors_candidate=tuple(self.candidate.counts[exponent] for exponent in exponents),
        )

    def by_case(self, order: Sequence[str]) -> tuple[float | None, ...]:
        """As ``Measurement.by_case``, for the cases named in ``order``."""
        cases, runs = self._by_case(order), self.runs
        scale = max((errors.scale_max for errors in runs), default=0.0)
        return tuple(_ratio_of(cases.get(case, ()), scale) for case in order)

    def _of(self, case: str, replica: int = 0) -> RunErrors:
        if replica:
            return self.replicas.setdefault((case, replica), RunErrors())
        return self.cases.setdefault(case, RunErrors())

    def _by_case(self, order: Sequence[str]) -> dict[str, list[RunErrors]]:
        cases: dict[str, list[RunErrors]] = {case: [] for case in order}
        for case, errors in self.cases.items():
            cases.setdefault(case, []).append(errors)
        for (case, _), errors in self.replicas.items():
            cases.setdefault(case, []).append(errors)
        return {case: errors for case, errors in cases.items() if errors}


def _heaviest(cases: Mapping[str, Sequence[RunErrors]], total: float) -> tuple[str, ...]:
    """The fewest cases that make up most of the ``total`` of squares, as far as they are told one by one."""
    squares = {case: math.fsum(run.squares_candidate for run in runs) for case, runs in cases.items()}
    chosen: list[str] = []
    for case in sorted(squares, key=lambda case: -squares[case]):
        if not math.fsum(squares[name] for name in chosen) < HEAVY * total:
            break
        chosen.append(case)
    return tuple(chosen)


def _ratio_of(runs: Sequence[RunErrors], scale: float) -> float | None:
    """The candidate's rms error over the reference's on one case; None if nothing was compared.

    ``scale`` is the field's largest value.
    """
    count = sum(errors.count for errors in runs)
    if not count:
        return None
    reference, candidate = (
        math.sqrt(math.fsum(squares) / count)
        for squares in zip(
            *((errors.squares_reference, errors.squares_candidate) for errors in runs), strict=True
        )
    )
    epsilon = max(errors.epsilon for errors in runs)
    ratio = candidate / _floor_rms(reference, scale, epsilon)
    return float(f"{min(ratio, LARGEST_RATIO):.4g}")


@dataclass(slots=True)
class Extremes:
    """The largest errors and the largest value of one quantity that decisions rest on."""

    max_reference: float = 0.0
    max_candidate: float = 0.0
    scale_max: float = 0.0
    epsilon: float = FLOAT32_EPSILON

    def add(self, oracle: Array, reference: Array, candidate: Array) -> None:
        """Add values of one shape, of any float dtype."""
        pool = ErrorPool("", "")
        pool.add("", oracle, reference, candidate)
        for errors in pool.runs:
            self.merge(
                type(self)(errors.max_reference, errors.max_candidate, errors.scale_max, errors.epsilon)
            )

    def merge(self, other: Self) -> None:
        """Add what was measured elsewhere."""
        self.max_reference = max(self.max_reference, other.max_reference)
        self.max_candidate = max(self.max_candidate, other.max_candidate)
        self.scale_max = max(self.scale_max, other.scale_max)
        self.epsilon = max(self.epsilon, other.epsilon)

    @property
    def floor_max(self) -> float:
        """As ``Measurement.floor_max``."""
        return _floor_max(self.max_reference, self.scale_max, self.epsilon)


def _floor_rms(rms_reference: float, scale_max: float, epsilon: float) -> float:
    return max(rms_reference, epsilon * scale_max / math.sqrt(12), math.ulp(0.0))


def _floor_max(max_reference: float, scale_max: float, epsilon: float) -> float:
    return max(max_reference, epsilon * scale_max, math.ulp(0.0))


def _largest(values: Array) -> float:
    """The largest magnitude, without an array of magnitudes."""
    return max(float(values.max()), -float(values.min()))


def _alike(a: Array, b: Array) -> Array:
    """Where both are finite, both NaN, or both the same infinity."""
    alike: Array = (np.isfinite(a) & np.isfinite(b)) | (np.isnan(a) & np.isnan(b)) | (np.isinf(a) & (a == b))
    return alike
