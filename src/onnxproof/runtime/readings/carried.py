"""Padded rows of a graph that ends in NMS, whose boxes carry something more: keypoints, or a mask's
coefficients."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from onnxproof.document import Entry
from onnxproof.runtime.readings.adjustable import Array, require_form, setting
from onnxproof.runtime.readings.boxes import Candidates
from onnxproof.runtime.readings.masks import Instances
from onnxproof.runtime.readings.padded import PaddedReading
from onnxproof.runtime.readings.points import POINT_THRESHOLD, Poses, require_points, with_visibility
from onnxproof.runtime.readings.prototypes import (
    MASK_THRESHOLD,
    STRIDE,
    MaskedCandidates,
    masks_of,
    require_stride,
)
from onnxproof.runtime.readings.rows import ROW_KEYS, Rows, margins_of_picture, rows_from
from onnxproof.tensors import TensorSpec

ROW_OUTPUTS = 4
"""How many outputs have a row for each detection: boxes, labels, scores and what they carry."""


@dataclass(frozen=True, slots=True)
class CarriedReading(PaddedReading):
    """Padded rows with more outputs before the counts: one that has a row for each detection, and those that
    all rows of a picture share."""

    @property
    def carried(self) -> str:
        """The output of what each row carries [b, m, …]."""
        return self.outputs[ROW_OUTPUTS - 1]

    @property
    def shared(self) -> tuple[str, ...]:
        """The outputs [b, …] that the rows of a picture share."""
        return self.outputs[ROW_OUTPUTS:-1]

    def by_picture(
        self, outputs: Mapping[str, Array], sizes: Mapping[str, int], margins: Mapping[str, Array]
    ) -> Iterator[tuple[dict[str, Array], dict[str, Array]]]:
        """See ``PaddedReading``. What the rows share is whole."""
        for picture, count in enumerate(outputs[self.outputs[-1]].tolist()):
            own = {name: outputs[name][picture, : max(count, 0)] for name in self.outputs[:ROW_OUTPUTS]}
            own |= {name: outputs[name][picture] for name in self.shared}
            yield own, margins_of_picture(margins, picture)


@dataclass(frozen=True, slots=True)
class PaddedPoints(CarriedReading):
    """Boxes, labels, scores, keypoints [b, m, K, 2 or 3] as those of ``PointReading``, and counts."""

    point_threshold: float = POINT_THRESHOLD

    def require(self, outputs: Mapping[str, TensorSpec]) -> None:
        """See ``Reading``."""
        PaddedReading.require(self, outputs)
        require_points(outputs[self.carried], self.graph.max_detections)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {**PaddedReading.to_json(self), "point_threshold": self.point_threshold}

    @classmethod
    def read(cls, entry: Entry) -> Self:
        """The inverse of ``to_json``; ModelFileError for any other object."""
        keys = entry.table((*ROW_KEYS, "batch", "point_threshold"))
        return cls.of(keys, ROW_OUTPUTS + 1, point_threshold=setting(keys, "point_threshold"))


@dataclass(frozen=True, slots=True)
class PaddedMasks(CarriedReading):
    """Boxes, labels, scores, coefficients [b, m, k], prototypes [b, k, h, w] as those of
    ``PrototypeReading``, and counts."""

    stride: int = STRIDE
    mask_threshold: float = MASK_THRESHOLD

    def __post_init__(self) -> None:
        PaddedReading.__post_init__(self)
        require_stride(self.stride)

    def require(self, outputs: Mapping[str, TensorSpec]) -> None:
        """See ``Reading``."""
        PaddedReading.require(self, outputs)
        require_form(outputs[self.carried], "float", None, self.graph.max_detections, None)
        (prototypes,) = self.shared
        require_form(outputs[prototypes], "float", None, None, None, None)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        masks = {"stride": self.stride, "mask_threshold": self.mask_threshold}
        return {**PaddedReading.to_json(self), **masks}

    @classmethod
    def read(cls, entry: Entry) -> Self:
        """The inverse of ``to_json``; ModelFileError for any other object."""
        keys = entry.table((*ROW_KEYS, "batch", "stride", "mask_threshold"))
        stride, threshold = keys["stride"].whole(1), setting(keys, "mask_threshold")
        return cls.of(keys, ROW_OUTPUTS + 2, stride=stride, mask_threshold=threshold)


@dataclass(frozen=True, slots=True)
class PointRows:
    """One picture's rows, and the points of each, float [n, K, 2 or 3]."""

    rows: Rows
    points: Array

    def decide(self, reading: PaddedPoints) -> Poses:
        """The rows above the threshold, with their points."""
        found = self.rows.decide(reading.cuts)
        points = self.points[self.rows.detections.scores > reading.score_threshold]
        return Poses(found, with_visibility(points), reading.point_threshold)


@dataclass(frozen=True, slots=True)
class PrototypeRows:
    """One picture's rows, the coefficients of each [n, k], and the prototypes [k, h, w]."""

    rows: Rows
    coefficients: Array
    prototypes: Array

    def above(self, threshold: float) -> MaskedCandidates:
        """The rows above a threshold, with what their masks are made of."""
        found = self.rows.detections
        chosen = found.scores > threshold
        boxes = Candidates(found.boxes[chosen], found.scores[chosen], found.labels[chosen], None)
        return MaskedCandidates(boxes, self.coefficients[chosen], self.prototypes)

    def decide(self, reading: PaddedMasks) -> Instances:
        """The rows above the threshold, with their masks."""
        found = self.rows.decide(reading.cuts)
        return masks_of(self.above(reading.score_threshold), found, reading.stride, reading.mask_threshold)


def point_rows(
    outputs: Mapping[str, Array],
    sizes: Mapping[str, int],
    reading: PaddedPoints,
    margins: Mapping[str, Array],
) -> tuple[PointRows, ...]:
    """The evidence of each picture of a batch."""
    parts = reading.by_picture(outputs, sizes, margins)
    return tuple(PointRows(rows_from(own, reading, told), own[reading.carried]) for own, told in parts)


def prototype_rows(
    outputs: Mapping[str, Array],
    sizes: Mapping[str, int],
    reading: PaddedMasks,
    margins: Mapping[str, Array],
) -> tuple[PrototypeRows, ...]:
    """The evidence of each picture of a batch."""
    (prototypes,) = reading.shared
    return tuple(
        PrototypeRows(rows_from(own, reading, told), own[reading.carried], own[prototypes])
        for own, told in reading.by_picture(outputs, sizes, margins)
    )
