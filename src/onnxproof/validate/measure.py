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

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Measurement:
    """The errors of one continuous field, or of one quantity that decisions rest on.

    ``scale_*`` are the oracle's own rms and largest magnitude; ``nonfinite`` counts the elements
    whose NaN or infinity the candidate does not share with the oracle, or has alone.
    """

    name: str
    unit: str
    count: int
    rms_reference: float
    rms_candidate: float
    max_reference: float
    max_candidate: float
    scale_rms: float
    scale_max: float
    worst_case: str
    nonfinite: int
    nonfinite_case: str

    @property
    def floor_rms(self) -> float:
        """The reference's rms error, at least one unit in the last place of the field's own scale."""
        return max(self.rms_reference, FLOAT32_EPSILON * self.scale_rms, math.ulp(0.0))

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
    squares: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    largest: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    worst_case: str = ""
    nonfinite: int = 0
    nonfinite_case: str = ""

    def add(self, case: str, oracle: Array, reference: Array, candidate: Array) -> None:
        """Add one case's values, all of one shape, of any float dtype."""
        truth = oracle.astype(np.float64, copy=False)
        with np.errstate(invalid="ignore"):
            error_reference = np.subtract(reference, truth, dtype=np.float64)
            error_candidate = np.subtract(candidate, truth, dtype=np.float64)
        # One sum tells whether anything is not finite; only then is it worth looking closer.
        if not math.isfinite(float(error_reference.sum()) + float(error_candidate.sum())):
            finite = np.isfinite(truth) & np.isfinite(reference)
            both = finite & np.isfinite(candidate)
            agree = (
                both
                | (~finite & _same_nonfinite(truth, candidate))
                | (~finite & _same_nonfinite(reference, candidate))
            )
            missed = int(agree.size - np.count_nonzero(agree))
            if missed and not self.nonfinite:
                self.nonfinite_case = case
            self.nonfinite += missed
            truth = truth[both]
            error_reference, error_candidate = error_reference[both], error_candidate[both]
        if not truth.size:
            return
        self.count += truth.size
        for slot, values in enumerate((error_reference, error_candidate, truth)):
            flat = values.reshape(-1)
            self.squares[slot] += float(flat @ flat)
            peak = max(float(flat.max()), -float(flat.min()))
            if slot == 1 and (peak > self.largest[1] or not self.worst_case):
                self.worst_case = case
            self.largest[slot] = max(self.largest[slot], peak)

    def result(self) -> Measurement:
        """The measurement so far."""
        rms = [math.sqrt(total / max(self.count, 1)) for total in self.squares]
        return Measurement(
            name=self.name,
            unit=self.unit,
            count=self.count,
            rms_reference=rms[0],
            rms_candidate=rms[1],
            max_reference=self.largest[0],
            max_candidate=self.largest[1],
            scale_rms=rms[2],
            scale_max=self.largest[2],
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
                outputs[entry.output][..., entry.channels] for outputs in (oracle, reference, candidate)
            )
            if entry.kind == "label":
                self.labels[entry.name].add(case, truth, cand, margins.get(entry.name))
            else:
                self.errors[entry.name].add(case, truth, ref, cand)


def _same_nonfinite(a: Array, b: Array) -> Array:
    same: Array = (np.isnan(a) & np.isnan(b)) | (np.isinf(a) & (a == b))
    return same
