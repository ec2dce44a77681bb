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

FLOAT32_EPSILON = float(np.finfo(np.float32).eps)

LARGE = 2**24
"""Arrays of more elements than this are added row by row, so that no copy of all of them is made."""

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Measurement:
    """The errors of one continuous field, or of one quantity that decisions rest on.

    ``scale_max`` is the oracle's largest magnitude; ``nonfinite`` counts the elements where the
    candidate is NaN or infinite and neither the oracle nor the reference is, or the other way round.
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
class ErrorPool:
    """Accumulates a Measurement over cases, in constant memory."""

    name: str
    unit: str
    count: int = 0
    squares_reference: float = 0.0
    squares_candidate: float = 0.0
    max_reference: float = 0.0
    max_candidate: float = 0.0
    scale_max: float = 0.0
    worst_case: str = ""
    nonfinite: int = 0
    nonfinite_case: str = ""

    def add(self, case: str, oracle: Array, reference: Array, candidate: Array) -> None:
        """Add one case's values, all of one shape, of any float dtype."""
        if oracle.ndim > 1 and oracle.size > LARGE:
            for rows in zip(oracle, reference, candidate, strict=True):
                self.add(case, *rows)
            return
        truth = oracle.astype(np.float64, copy=False)
        with np.errstate(invalid="ignore", over="ignore"):
            error_reference = np.subtract(reference, truth, dtype=np.float64)
            error_candidate = np.subtract(candidate, truth, dtype=np.float64)
            # One sum tells whether anything is not finite; only then is it worth looking closer.
            total = float(error_reference.sum() + error_candidate.sum())
        if not math.isfinite(total):
            both = np.isfinite(truth) & np.isfinite(reference) & np.isfinite(candidate)
            agree = _alike(truth, candidate) | _alike(reference, candidate)
            missed = int(agree.size - np.count_nonzero(agree))
            if missed and not self.nonfinite:
                self.nonfinite_case = case
            self.nonfinite += missed
            truth = truth[both]
            error_reference, error_candidate = error_reference[both], error_candidate[both]
        if not truth.size:
            return
        self.count += truth.size
        self.squares_reference += float(np.vdot(error_reference, error_reference))
        self.squares_candidate += float(np.vdot(error_candidate, error_candidate))
        peak = _largest(error_candidate)
        if peak > self.max_candidate or not self.worst_case:
            self.worst_case = case
        self.max_candidate = max(self.max_candidate, peak)
        self.max_reference = max(self.max_reference, _largest(error_reference))
        self.scale_max = max(self.scale_max, _largest(truth))

    def result(self) -> Measurement:
        """The measurement so far."""
        return Measurement(
            name=self.name,
            unit=self.unit,
            count=self.count,
            rms_reference=math.sqrt(self.squares_reference / max(self.count, 1)),
            rms_candidate=math.sqrt(self.squares_candidate / max(self.count, 1)),
            max_reference=self.max_reference,
            max_candidate=self.max_candidate,
            scale_max=self.scale_max,
            worst_case=self.worst_case,
            nonfinite=self.nonfinite,
            nonfinite_case=self.nonfinite_case,
        )


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
    """The pools of a model's fields for one candidate leg."""

    fields: tuple[Field, ...]
    errors: dict[str, ErrorPool] = field(default_factory=dict)
    labels: dict[str, LabelPool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for entry in self.fields:
            if entry.kind == "label":
                self.labels[entry.name] = LabelPool(entry.name)
            else:
                self.errors[entry.name] = ErrorPool(entry.name, entry.unit)

    def add(
        self,
        case: str,
        oracle: Mapping[str, Array],
        reference: Mapping[str, Array],
        candidate: Mapping[str, Array],
        margins: Mapping[str, Array],
    ) -> None:
        """Add one case's outputs, whose names and shapes agree."""
        for entry in self.fields:
            truth, ref, cand = (
                _channels(outputs[entry.output], entry) for outputs in (oracle, reference, candidate)
            )
            if entry.kind == "label":
                self.labels[entry.name].add(case, truth, cand, margins.get(entry.name))
            else:
                self.errors[entry.name].add(case, truth, ref, cand)


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
