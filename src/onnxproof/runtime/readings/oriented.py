"""Oriented boxes, and the detections that fast NMS leaves of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

from onnxproof.document import Entry
from onnxproof.runtime.oriented import oriented_nms
from onnxproof.runtime.readings.adjustable import output_names, require_scored_boxes
from onnxproof.runtime.readings.boxes import Candidates, Cuts, Detections, decide
from onnxproof.runtime.readings.instances import COMMON, OPTIONAL, InstanceReading, cuts_from
from onnxproof.runtime.readings.padded import PaddedReading
from onnxproof.runtime.readings.rows import RowReading
from onnxproof.tensors import TensorSpec


@dataclass(frozen=True, slots=True)
class OrientedReading(InstanceReading):
    """Boxes [b, n, 5]: centre x, centre y, width, height in px, and the angle in radians, clockwise on the
    screen; scores [b, n, C]. A box's probabilistic IoU with a better one is compared with ``iou_threshold``.
    """

    def require(self, outputs: Mapping[str, TensorSpec]) -> None:
        """See ``Reading``."""
        boxes, scores = (outputs[name] for name in self.outputs)
        require_scored_boxes(boxes, scores, 5)

    @classmethod
    def read(cls, entry: Entry) -> Self:
        """The inverse of ``to_json``; ModelFileError for any other object."""
        keys = entry.table(COMMON, OPTIONAL)
        return cls(output_names(keys, 2), **cuts_from(keys))


@dataclass(frozen=True, slots=True)
class ListedOriented(RowReading):
    """The same of a graph that ends in NMS: a row for each detection of the batch, boxes [n, 5]."""

    numbers: ClassVar[int] = 5


@dataclass(frozen=True, slots=True)
class PaddedOriented(PaddedReading):
    """The same with a fixed number of rows for each picture: boxes [b, m, 5], labels, scores and counts."""

    numbers: ClassVar[int] = 5


OrientedNms = ListedOriented | PaddedOriented
"""The layouts of oriented boxes that NMS in the graph has chosen."""


def decide_oriented(candidates: Candidates, cuts: Cuts) -> Detections:
    """The detections among candidates whose boxes are oriented, [n, 5]: the best score first."""
    return decide(candidates, cuts, oriented_nms)
