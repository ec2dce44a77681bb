"""Facts, no opinion: how far the candidate and the reference are from the oracle, field by field.

For one field, over all cases pooled: e_R = R - O and e_C = C - O, with O the model in float64, R in
float32, C the candidate; rms and largest magnitude of each, and where the largest stood.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxproof.tensors import Field
from onnxproof.validate.cases import FLOAT32_EPSILON

HEAVY = 0.9
"""The cases that carry this share of the candidate's squared error are its heaviest."""

LARGE = 2**24
"""Arrays of more elements than this are added row by row, so that no copy of all of them is made."""

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Measurement:
    """The errors of one continuous field, or of one quantity that decisions rest on.

    ``scale_max`` is the oracle's largest magnitude; ``nonfinite`` counts the elements where the
    candidate is NaN or infinite and neither the oracle nor the reference is, or the other way round.
    ``heaviest`` are the fewest cases that carry most of the candidate's squared error, the heaviest first.
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

    @property
    def floor_rms(self) -> float:
        """The reference's rms error, at least that of one rounding at the field's own scale.

        Rounding to nearest errs uniformly within half a unit in the last place: ulp / sqrt(12) rms.
        Without this, kernels that approximate to a unit in the last place of 1.0, as ONNX Runtime's
        Sigmoid does, would be measured against errors of nearly zero wherever a picture shows nothing.
        """
        return max(self.rms_reference, FLOAT32_EPSILON * self.scale_max / math.sqrt(12), math.ulp(0.0))

    @property
    def floor_max(self) -> float:
        """The reference's largest error, at least one unit in the last place of the largest value."""
        return max(self.max_reference, FLOAT32_EPSILON * self.scale_max, math.ulp(0.0))

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
    """The flips of one label field. ``largest_margin`` is the oracle's lead over the next class where
    the candidate flipped it (NaN where there was no flip); infinite where the margin is not known."""

    name: str
    count: int
    flips: int
    largest_margin: float
    worst_case: str


@dataclass(slots=True)
class _CaseErrors:
    """What one case adds to a pool."""

    count: int = 0
    squares_reference: float = 0.0
    squares_candidate: float = 0.0
    max_reference: float = 0.0
    max_candidate: float = 0.0
    scale_max: float = 0.0
    nonfinite: int = 0


@dataclass(slots=True)
class ErrorPool:
    """Accumulates a Measurement over cases; keeps a few numbers for each."""

    name: str
    unit: str
    cases: dict[str, _CaseErrors] = field(default_factory=dict)

    def add(self, case: str, oracle: Array, reference: Array, candidate: Array) -> None:
        """Add one case's values, all of one shape, of any float dtype."""
        if oracle.ndim > 1 and oracle.size > LARGE:
            for rows in zip(oracle, reference, candidate, strict=True):
                self.add(case, *rows)
            return
        errors = self.cases.setdefault(case, _CaseErrors())
        truth = oracle.astype(np.float64, copy=False)
        with np.errstate(invalid="ignore", over="ignore"):
            error_reference = np.subtract(reference, truth, dtype=np.float64)
            error_candidate = np.subtract(candidate, truth, dtype=np.float64)
            # One sum tells whether anything is not finite; only then is it worth looking closer.
            total = float(error_reference.sum() + error_candidate.sum())
        if not math.isfinite(total):
            both = np.isfinite(truth) & np.isfinite(reference) & np.isfinite(candidate)
            agree = _alike(truth, candidate) | _alike(reference, candidate)
            errors.nonfinite += int(agree.size - np.count_nonzero(agree))
            truth = truth[both]
            error_reference, error_candidate = error_reference[both], error_candidate[both]
        if not truth.size:
            return
        errors.count += truth.size
        errors.squares_reference += float(np.vdot(error_reference, error_reference))
        errors.squares_candidate += float(np.vdot(error_candidate, error_candidate))
        errors.max_candidate = max(errors.max_candidate, _largest(error_candidate))
        errors.max_reference = max(errors.max_reference, _largest(error_reference))
        errors.scale_max = max(errors.scale_max, _largest(truth))

    def forget(self, case: str) -> None:
        """Drop what a case added, but for what was not finite."""
        if case in self.cases:
            self.cases[case] = _CaseErrors(nonfinite=self.cases[case].nonfinite)

    def result(self) -> Measurement:
        """The measurement so far."""
        cases = self.cases.values()
        count = sum(errors.count for errors in cases)
        by_peak = max(self.cases, key=lambda case: self.cases[case].max_candidate, default="")
        nonfinite = [case for case, errors in self.cases.items() if errors.nonfinite]
        return Measurement(
            name=self.name,
            unit=self.unit,
            count=count,
            rms_reference=math.sqrt(sum(errors.squares_reference for errors in cases) / max(count, 1)),
            rms_candidate=math.sqrt(sum(errors.squares_candidate for errors in cases) / max(count, 1)),
            max_reference=max((errors.max_reference for errors in cases), default=0.0),
            max_candidate=max((errors.max_candidate for errors in cases), default=0.0),
            scale_max=max((errors.scale_max for errors in cases), default=0.0),
            worst_case=by_peak if count else "",
            nonfinite=sum(errors.nonfinite for errors in cases),
            nonfinite_case=nonfinite[0] if nonfinite else "",
            heaviest=self._heaviest(),
        )

    def _heaviest(self) -> tuple[str, ...]:
        chosen: list[str] = []
        carried, all_squares = 0.0, sum(errors.squares_candidate for errors in self.cases.values())
        for case, errors in sorted(self.cases.items(), key=lambda entry: -entry[1].squares_candidate):
            if not carried < HEAVY * all_squares:
                break
            chosen.append(case)
            carried += errors.squares_candidate
        return tuple(chosen)


@dataclass(slots=True)
class LabelPool:
    """Accumulates a LabelMeasurement over cases, in constant memory."""

    name: str
    count: int = 0
    flips: int = 0
    largest_margin: float = math.nan
    worst_case: str = ""

    def add(self, case: str, oracle: Array, candidate: Array, margins: Array | None) -> None:
        """Add one case's labels. ``margins`` has their shape, or is None where they are not known."""
        flipped = ~(oracle == candidate)
        self.count += flipped.size
        flips = int(np.count_nonzero(flipped))
        if not flips:
            return
        self.flips += flips
        margin = math.inf if margins is None else float(np.max(margins.reshape(flipped.shape)[flipped]))
        margin = math.inf if math.isnan(margin) else margin
        if not margin <= self.largest_margin:
            self.largest_margin, self.worst_case = margin, case

    def result(self) -> LabelMeasurement:
        """The measurement so far."""
        return LabelMeasurement(self.name, self.count, self.flips, self.largest_margin, self.worst_case)


@dataclass(slots=True)
class FieldPools:
    """The pools of a model's fields for one candidate leg. ``constant`` are those of pictures of one value,
    where every pixel rounds alike, so that errors add up instead of averaging out."""

    fields: tuple[Field, ...]
    errors: dict[str, ErrorPool] = field(default_factory=dict)
    constant: dict[str, ErrorPool] = field(default_factory=dict)
    labels: dict[str, LabelPool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for entry in self.fields:
            if entry.kind == "label":
                self.labels[entry.name] = LabelPool(entry.name)
            else:
                self.errors[entry.name] = ErrorPool(entry.name, entry.unit)
                self.constant[entry.name] = ErrorPool(entry.name, entry.unit)

    def add(
        self,
        case: str,
        oracle: Mapping[str, Array],
        reference: Mapping[str, Array],
        candidate: Mapping[str, Array],
        margins: Mapping[str, Array],
        *,
        constant: bool = False,
    ) -> None:
        """Add one case's outputs, whose names and shapes agree; ``constant``: of pictures of one value."""
        errors = self.constant if constant else self.errors
        for entry in self.fields:
            truth, ref, cand = (
                _channels(outputs[entry.output], entry) for outputs in (oracle, reference, candidate)
            )
            if entry.kind == "label":
                self.labels[entry.name].add(case, truth, cand, margins.get(entry.name))
            else:
                errors[entry.name].add(case, truth, ref, cand)

    def forget(self, case: str) -> None:
        """Drop the errors that a case added; flips stay."""
        for pool in (*self.errors.values(), *self.constant.values()):
            pool.forget(case)


def _channels(values: Array, entry: Field) -> Array:
    """The field's slice of the last axis; a scalar is its own."""
    return values[..., entry.channels] if values.ndim else values


def _largest(values: Array) -> float:
    """The largest magnitude, without an array of magnitudes."""
    return max(float(values.max()), -float(values.min()))


def _alike(a: Array, b: Array) -> Array:
    """Where both are finite, both NaN, or both the same infinity."""
    alike: Array = (np.isfinite(a) & np.isfinite(b)) | (np.isnan(a) & np.isnan(b)) | (np.isinf(a) & (a == b))
    return alike
