"""Rows that a head without NMS has chosen, whose boxes are turned, or carry keypoints or the coefficients of
masks.

They are laid out as the heads of YOLO26 do it: a box, the score, the label, and then what the box carries.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from onnxproof.document import Entry
from onnxproof.runtime.readings.adjustable import Array, output_names, require_form, setting
from onnxproof.runtime.readings.boxes import Candidates
from onnxproof.runtime.readings.instances import Chosen
from onnxproof.runtime.readings.points import POINT_THRESHOLD, require_points
from onnxproof.runtime.readings.prototypes import MASK_THRESHOLD, STRIDE, MaskedCandidates, require_stride
from onnxproof.runtime.readings.sets import SCORE, RowSet, common_settings
from onnxproof.tensors import TensorSpec

LABEL, ROW = 5, 6
"""The column of the label, and how many numbers a row has before what its box carries."""


@dataclass(frozen=True, slots=True)
class OrientedRows(RowSet):
    """One output [b, n, 7]: centre x, centre y, width, height in px, score, label, and the angle in radians,
    clockwise on the screen."""

    def require(self, outputs: Mapping[str, TensorSpec]) -> None:
        """See ``Reading``."""
        require_form(outputs[self.outputs[0]], "float", None, None, ROW + 1)

    def _parts(self, outputs: Mapping[str, Array]) -> tuple[Array, Array, Array]:
        rows = outputs[self.outputs[0]]
        return (
            np.concatenate((rows[..., :SCORE], rows[..., ROW:]), axis=-1),
            rows[..., LABEL],
            rows[..., SCORE],
        )

    @classmethod
    def counts(cls) -> tuple[int, int]:
        """One output."""
        return 1, 1


@dataclass(frozen=True, slots=True)
class MaskRows(RowSet):
    """Two outputs: rows [b, n, 6 + m] (x0, y0, x1, y1 in px, score, label, coefficients), and prototypes
    [b, m, h, w] as those of ``PrototypeReading``."""

    stride: int = STRIDE
    mask_threshold: float = MASK_THRESHOLD

    def __post_init__(self) -> None:
        RowSet.__post_init__(self)
        require_stride(self.stride)

    @property
    def row_outputs(self) -> tuple[str, ...]:
        """See ``SetReading``."""
        return self.outputs[:1]

    def require(self, outputs: Mapping[str, TensorSpec]) -> None:
        """See ``Reading``."""
        rows, prototypes = (outputs[name] for name in self.outputs)
        require_form(rows, "float", None, None, None)
        require_form(prototypes, "float", None, None, None, None)

    def masked(self, outputs: Mapping[str, Array]) -> tuple[MaskedCandidates, ...]:
        """The rows of each picture, with what their masks are made of."""
        rows, prototypes = (outputs[name] for name in self.outputs)
        boxes = RowSet.evidence(self, outputs, {}, {})
        return tuple(MaskedCandidates(one, rows[i][..., ROW:], prototypes[i]) for i, one in enumerate(boxes))

    def _parts(self, outputs: Mapping[str, Array]) -> tuple[Array, Array, Array]:
        rows = outputs[self.outputs[0]]
        return rows[..., :SCORE], rows[..., LABEL], rows[..., SCORE]

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        masks = {"stride": self.stride, "mask_threshold": self.mask_threshold}
        return {**RowSet.to_json(self), **masks}

    @classmethod
    def read(cls, entry: Entry) -> Self:
        """The inverse of ``to_json``; ModelFileError for any other object."""
        keys = entry.table(
            ("decode", "nms", "outputs", "score_threshold", "stride", "mask_threshold"), ("max_detections",)
        )
        stride, threshold = keys["stride"].whole(1), setting(keys, "mask_threshold")
        return cls(output_names(keys, 2), **common_settings(keys), stride=stride, mask_threshold=threshold)


@dataclass(frozen=True, slots=True)
class KeypointRows(RowSet):
    """Two outputs: rows [b, n, 6] (x0, y0, x1, y1 in px, score, label), and the keypoints of each,
    [b, n, K, 2 or 3], as those of ``PointReading``."""

    point_threshold: float = POINT_THRESHOLD

    def require(self, outputs: Mapping[str, TensorSpec]) -> None:
        """See ``Reading``."""
        rows, points = (outputs[name] for name in self.outputs)
        require_form(rows, "float", None, None, ROW)
        require_points(points)

    def pointed(self, outputs: Mapping[str, Array]) -> tuple[Chosen, ...]:
        """The rows of each picture, with their points [n, K, 2 or 3]."""
        points = outputs[self.outputs[1]]
        boxes = RowSet.evidence(self, outputs, {}, {})
        return tuple(Chosen(one, points[i]) for i, one in enumerate(boxes))

    def spread_over(self, rows: NDArray[np.bool_], outputs: Mapping[str, Array]) -> dict[str, Array]:
        """See ``RowSet``."""
        name, carried = self.outputs
        flags = np.repeat(rows[..., None], ROW, axis=-1)
        flags[..., SCORE] = True
        return {name: flags, carried: np.broadcast_to(rows[..., None, None], outputs[carried].shape)}

    def _parts(self, outputs: Mapping[str, Array]) -> tuple[Array, Array, Array]:
        rows = outputs[self.outputs[0]]
        return rows[..., :SCORE], rows[..., LABEL], rows[..., SCORE]

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {**RowSet.to_json(self), "point_threshold": self.point_threshold}

    @classmethod
    def read(cls, entry: Entry) -> Self:
        """The inverse of ``to_json``; ModelFileError for any other object."""
        keys = entry.table(
            ("decode", "nms", "outputs", "score_threshold", "point_threshold"), ("max_detections",)
        )
        threshold = setting(keys, "point_threshold")
        return cls(output_names(keys, 2), **common_settings(keys), point_threshold=threshold)


def above(rows: MaskedCandidates, least: float) -> MaskedCandidates:
    """The rows whose score is ``least`` or more."""
    chosen = rows.candidates.scores >= least
    return MaskedCandidates(rows.candidates.take(chosen), rows.coefficients[chosen], rows.prototypes)


def pointed_above(rows: Chosen, least: float) -> Chosen:
    """The same of rows with points."""
    chosen = rows.candidates.scores >= least
    return Chosen(rows.candidates.take(chosen), rows.more[chosen])


def oriented_rows(rows: Candidates, least: float) -> Candidates:
    """The same of boxes alone."""
    return rows.take(rows.scores >= least)
