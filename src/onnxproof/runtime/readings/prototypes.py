"""Masks as sums of prototypes: each box has coefficients, and its mask is the sum of the prototypes by them.

Bolya et al. 2019 (arXiv:1904.02689, section 3). The sum is a logit. It is resized to the input bilinearly,
then cut to the box, in the order of Ultralytics' ``process_mask`` with ``upsample``.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np

from onnxproof.document import Entry
from onnxproof.errors import RequestError
from onnxproof.runtime.readings.adjustable import (
    Array,
    output_names,
    require_form,
    require_scored_boxes,
    setting,
)
from onnxproof.runtime.readings.boxes import Candidates, Cuts, Detections
from onnxproof.runtime.readings.instances import (
    COMMON,
    OPTIONAL,
    InstanceReading,
    ScoredBoxes,
    cuts_from,
    scored,
)
from onnxproof.runtime.readings.masks import Instances, Patch
from onnxproof.runtime.readings.scores import sigmoid
from onnxproof.tensors import TensorSpec

MASK_THRESHOLD = 0.5
"""The probability above which a pixel belongs to an object, if nothing else is said: a logit of 0."""

STRIDE = 4
"""How many pixels of the input one of Ultralytics' prototypes spans, if nothing else is said."""


@dataclass(frozen=True, slots=True)
class PrototypeReading(InstanceReading):
    """Boxes [b, n, 4] (x0, y0, x1, y1, px), scores [b, n, C], coefficients [b, n, m] and prototypes
    [b, m, h, w].

    ``stride`` is how many pixels of the input one of the prototypes spans, along each side. A pixel belongs
    to an object if its probability is above ``mask_threshold``.
    """

    stride: int = STRIDE
    mask_threshold: float = MASK_THRESHOLD

    def __post_init__(self) -> None:
        require_stride(self.stride)

    def require(self, outputs: Mapping[str, TensorSpec]) -> None:
        """See ``Reading``."""
        boxes, scores, coefficients, prototypes = (outputs[name] for name in self.outputs)
        require_scored_boxes(boxes, scores)
        require_form(coefficients, "float", None, None, None)
        require_form(prototypes, "float", None, None, None, None)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            **InstanceReading.to_json(self),
            "stride": self.stride,
            "mask_threshold": self.mask_threshold,
        }

    @classmethod
    def read(cls, entry: Entry) -> Self:
        """The inverse of ``to_json``; ModelFileError for any other object."""
        keys = entry.table((*COMMON, "stride", "mask_threshold"), OPTIONAL)
        return cls(
            output_names(keys, 4),
            **cuts_from(keys),
            stride=keys["stride"].whole(1),
            mask_threshold=setting(keys, "mask_threshold"),
        )


def require_stride(stride: int) -> None:
    """Raise RequestError for a stride that is none."""
    if not stride >= 1:
        raise RequestError(f"stride is {stride} px, expected 1 px or more")


@dataclass(frozen=True, slots=True)
class PrototypeEvidence:
    """One picture's scored boxes, the coefficients of each [n, m], and the prototypes [m, h, w]."""

    rows: ScoredBoxes
    coefficients: Array
    prototypes: Array


@dataclass(frozen=True, slots=True)
class MaskedCandidates:
    """One picture's candidates, the coefficients of each [k, m], and the prototypes [m, h, w]."""

    candidates: Candidates
    coefficients: Array
    prototypes: Array

    def logits(self, index: int, stride: int) -> Patch:
        """The mask of a candidate as logits, in the input's pixels, cut to its box."""
        return mask_logits(self.candidates.boxes[index], self.coefficients[index], self.prototypes, stride)


def evidence_of(outputs: Mapping[str, Array], reading: PrototypeReading) -> tuple[PrototypeEvidence, ...]:
    """The evidence of each picture of a batch."""
    coefficients, prototypes = (outputs[name] for name in reading.outputs[2:])
    return tuple(
        PrototypeEvidence(rows, coefficients[i], prototypes[i])
        for i, rows in enumerate(scored(outputs, reading))
    )


def chosen_masks(evidence: PrototypeEvidence, reading: PrototypeReading) -> MaskedCandidates:
    """The candidates that score half of the threshold or more, with their coefficients."""
    candidates, rows = evidence.rows.candidates(reading.cuts)
    return MaskedCandidates(candidates, evidence.coefficients[rows], evidence.prototypes)


class Masking(Protocol):
    """The settings by which candidates become detections with masks."""

    @property
    def cuts(self) -> Cuts:
        """The limits by which boxes become detections."""

    @property
    def stride(self) -> int:
        """How many pixels of the input one of the prototypes spans."""

    @property
    def mask_threshold(self) -> float:
        """The probability above which a pixel belongs to an object."""


def decide_masks(chosen: MaskedCandidates, reading: Masking) -> Instances:
    """The detections with their masks as probabilities."""
    found = chosen.candidates.decide(reading.cuts)
    return masks_of(chosen, found, reading.stride, reading.mask_threshold)


def masks_of(chosen: MaskedCandidates, found: Detections, stride: int, threshold: float) -> Instances:
    """Detections ``found`` among the candidates, with their masks as probabilities. One whose mask has no
    pixel is dropped, as Ultralytics does."""
    height, width = (side * stride for side in chosen.prototypes.shape[1:])
    masks = []
    for index in found.indices.tolist():
        logits = chosen.logits(index, stride)
        masks.append(Patch(logits.left, logits.top, sigmoid(logits.pixels)))
    some = [i for i, mask in enumerate(masks) if (mask.pixels > threshold).any()]
    detections = Detections(found.boxes[some], found.scores[some], found.labels[some], found.indices[some])
    return Instances(detections, tuple(masks[i] for i in some), threshold, int(height), int(width))


def mask_logits(box: Array, coefficients: Array, prototypes: Array, stride: int) -> Patch:
    """The logits of one mask in the input's pixels: those whose column and row lie in the box.

    ``box`` [4] is x0, y0, x1, y1 in px; pixel i is in it if x0 <= i < x1. Between the prototypes' centres the
    sum is interpolated bilinearly; beyond the outermost, it is theirs.
    """
    height, width = (side * stride for side in prototypes.shape[1:])
    if not np.isfinite(box).all():
        return Patch(0, 0, np.zeros((0, 0), prototypes.dtype))
    left, right = (min(max(math.ceil(float(edge)), 0), width) for edge in box[[0, 2]])
    top, bottom = (min(max(math.ceil(float(edge)), 0), height) for edge in box[[1, 3]])
    if right <= left or bottom <= top:
        return Patch(0, 0, np.zeros((0, 0), prototypes.dtype))
    rows, columns = (
        _between(start, end, stride, side)
        for start, end, side in zip((top, left), (bottom, right), prototypes.shape[1:], strict=True)
    )
    window = prototypes[:, rows.first : rows.last + 1, columns.first : columns.last + 1]
    sums = np.tensordot(coefficients, window, axes=1)
    across = sums[:, columns.low] * (1 - columns.share) + sums[:, columns.high] * columns.share
    share = rows.share[:, None]
    return Patch(left, top, across[rows.low] * (1 - share) + across[rows.high] * share)


@dataclass(frozen=True, slots=True)
class _Between:
    """For each pixel of a span the prototypes' pixels ``low`` and ``high`` that it lies between, counted from
    ``first``, and the ``share`` of the higher one. ``last`` is the last that is used."""

    first: int
    last: int
    low: Array
    high: Array
    share: Array


def _between(start: int, end: int, stride: int, side: int) -> _Between:
    places = np.clip((np.arange(start, end) + 0.5) / stride - 0.5, 0, None)
    low = np.minimum(places.astype(np.int64), side - 1)
    high = np.minimum(low + 1, side - 1)
    first = int(low[0])
    share = (places - low).astype(np.float32)
    return _Between(first, int(high[-1]), low - first, high - first, share)
