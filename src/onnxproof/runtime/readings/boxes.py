"""Boxes that the graph decodes: in one packed output, or as boxes beside class scores."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from onnxproof.document import Entry
from onnxproof.runtime.readings.adjustable import Adjustable, output_names, require_form, setting
from onnxproof.tensors import TensorSpec

THRESHOLDS = ("score_threshold", "iou_threshold", "class_agnostic")


@dataclass(frozen=True, slots=True)
class Cuts:
    """What is kept of scored boxes.

    A box counts if it scores above ``score_threshold``. NMS suppresses above ``iou_threshold``, over all
    classes if ``class_agnostic``. ``top_candidates`` is how many of each group enter NMS, the best first, and
    ``max_detections`` how many of all leave it; None lets all through.
    """

    score_threshold: float
    iou_threshold: float
    class_agnostic: bool = False
    top_candidates: int | None = None
    max_detections: int | None = None


@dataclass(frozen=True, slots=True)
class BoxReading(Adjustable):
    """A reading of boxes that NumPy's NMS is to thin out. ``strides`` are those of the network's cells, px;
    None if the network did not say."""

    score_threshold: float
    iou_threshold: float
    class_agnostic: bool = False
    strides: tuple[int, ...] | None = None

    @property
    def cuts(self) -> Cuts:
        """What is kept of the boxes."""
        return Cuts(self.score_threshold, self.iou_threshold, self.class_agnostic)

    def document(self, decode: str) -> dict[str, Any]:
        """The JSON object of a layout that is called ``decode``."""
        strides = {} if self.strides is None else {"strides": list(self.strides)}
        return {
            "decode": decode,
            "outputs": list(self.outputs),
            **strides,
            **{name: getattr(self, name) for name in THRESHOLDS},
        }

    @classmethod
    def read(cls, entry: Entry) -> Self:
        """The inverse of ``to_json``; ModelFileError for any other object."""
        keys = entry.table(("decode", "outputs", *THRESHOLDS), ("strides",))
        strides = None
        if "strides" in keys:
            strides = tuple(stride.whole(1) for stride in keys["strides"].entries())
        return cls(cls.names(keys), **{name: setting(keys, name) for name in THRESHOLDS}, strides=strides)

    @classmethod
    def names(cls, keys: Mapping[str, Entry]) -> tuple[str, ...]:
        """The names of the outputs, as many as the layout has."""
        return output_names(keys, 1)


@dataclass(frozen=True, slots=True)
class PackedBoxes(BoxReading):
    """One output [b, n, 6]: x0, y0, width, height in pixels, label, score."""

    def require(self, outputs: Mapping[str, TensorSpec]) -> None:
        """See ``Reading``."""
        require_form(outputs[self.outputs[0]], "float", None, None, 6)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return self.document("packed")


@dataclass(frozen=True, slots=True)
class SplitBoxes(BoxReading):
    """Two outputs: boxes [b, n, 4] (x0, y0, x1, y1 in pixels) and scores [b, n, C]."""

    def require(self, outputs: Mapping[str, TensorSpec]) -> None:
        """See ``Reading``."""
        boxes, scores = (outputs[name] for name in self.outputs)
        require_form(boxes, "float", None, None, 4)
        require_form(scores, "float", None, None, None)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return self.document("split")

    @classmethod
    def names(cls, keys: Mapping[str, Entry]) -> tuple[str, ...]:
        """The names of the two outputs."""
        return output_names(keys, 2)
