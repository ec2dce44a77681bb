"""Detectors whose graph ends in NMS: one row for each detection of one picture."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from onnxproof.document import Entry
from onnxproof.errors import RequestError
from onnxproof.runtime.readings.adjustable import Adjustable, output_names, require_form, setting
from onnxproof.runtime.readings.anchors import Anchors, keys_of_head
from onnxproof.runtime.readings.boxes import Cuts
from onnxproof.tensors import TensorSpec

MASK_SIDE = 28
"""The side of the masks that torchvision's Mask R-CNN predicts, px: 14 from its MaskRoIAlign, doubled by
its predictor's transposed convolution."""


@dataclass(frozen=True, slots=True)
class Proposals:
    """The settings of a first stage.

    ``levels`` are the lowest and the highest level of the pyramid, and the level and the size in pixels that
    the others are counted from (Lin et al. 2017, arXiv:1612.03144, equation 1).
    """

    iou_threshold: float
    top_candidates: int
    max_detections: int
    levels: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "iou_threshold": self.iou_threshold,
            "top_candidates": self.top_candidates,
            "max_detections": self.max_detections,
            "levels": list(self.levels),
        }

    @classmethod
    def read(cls, entry: Entry) -> Self:
        """The inverse of ``to_json``; ModelFileError for any other object."""
        keys = entry.table(("iou_threshold", "top_candidates", "max_detections", "levels"))
        return cls(
            keys["iou_threshold"].number(),
            keys["top_candidates"].whole(1),
            keys["max_detections"].whole(1),
            tuple(level.number() for level in keys["levels"].entries(4)),
        )


@dataclass(frozen=True, slots=True)
class GraphNms:
    """What the graph itself decides by. ``anchors`` are a one-stage network's; ``proposals`` are the settings
    of a two-stage network's first stage."""

    score_threshold: float
    iou_threshold: float
    max_detections: int | None = None
    top_candidates: int | None = None
    proposals: Proposals | None = None
    anchors: Anchors | None = None

    def cuts(self, score_threshold: float) -> Cuts:
        """What is left of the graph's candidates that score above a threshold."""
        return Cuts(score_threshold, self.iou_threshold, False, self.top_candidates, self.max_detections)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        document: dict[str, Any] = {} if self.anchors is None else {"head": self.anchors.head}
        document |= {"score_threshold": self.score_threshold, "iou_threshold": self.iou_threshold}
        for name in ("top_candidates", "max_detections"):
            if getattr(self, name) is not None:
                document[name] = getattr(self, name)
        if self.proposals is not None:
            document["proposals"] = self.proposals.to_json()
        return document if self.anchors is None else {**document, **self.anchors.to_json()}

    @classmethod
    def read(cls, entry: Entry) -> Self:
        """The inverse of ``to_json``; ModelFileError for any other object."""
        head = keys_of_head(entry)
        optional = ("max_detections", "top_candidates", "proposals")
        keys = entry.table(("score_threshold", "iou_threshold", *head), optional)
        return cls(
            keys["score_threshold"].number(),
            keys["iou_threshold"].number(),
            keys["max_detections"].whole(1) if "max_detections" in keys else None,
            keys["top_candidates"].whole(1) if "top_candidates" in keys else None,
            Proposals.read(keys["proposals"]) if "proposals" in keys else None,
            Anchors.read(keys) if head else None,
        )


@dataclass(frozen=True, slots=True)
class RowReading(Adjustable):
    """Rows: boxes float [n, 4] (x0, y0, x1, y1, px), labels int64 [n], scores float [n].

    ``first_label`` is the label of the first of the classes; ``score_threshold`` is what ``predict`` applies;
    ``graph`` is what the graph itself decided by.
    """

    score_threshold: float
    first_label: int
    graph: GraphNms

    def require(self, outputs: Mapping[str, TensorSpec]) -> None:
        """See ``Reading``."""
        boxes, labels, scores = (outputs[name] for name in self.outputs[:3])
        require_form(boxes, "float", None, 4)
        require_form(labels, "int", None)
        require_form(scores, "float", None)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "decode": "nms",
            "graph": self.graph.to_json(),
            "score_threshold": self.score_threshold,
            "outputs": list(self.outputs),
            "first_label": self.first_label,
        }

    @classmethod
    def read(cls, entry: Entry) -> Self:
        """The inverse of ``to_json``; ModelFileError for any other object."""
        keys = entry.table(("decode", "graph", "score_threshold", "outputs", "first_label"))
        return cls(
            output_names(keys, 3),
            setting(keys, "score_threshold"),
            keys["first_label"].whole(),
            GraphNms.read(keys["graph"]),
        )


@dataclass(frozen=True, slots=True)
class MaskReading(RowReading):
    """Rows with a fourth output, masks float [n, 1, H, W]: probabilities, pasted into the input's picture.

    A pixel belongs to the object if its probability is above ``mask_threshold``. ``mask_side`` is the side of
    a mask before it is pasted, px.
    """

    mask_threshold: float
    mask_side: int = MASK_SIDE

    def __post_init__(self) -> None:
        if not self.mask_side >= 1:
            raise RequestError(f"a mask's side is {self.mask_side} px, expected 1 px or more")

    def require(self, outputs: Mapping[str, TensorSpec]) -> None:
        """See ``Reading``."""
        RowReading.require(self, outputs)
        require_form(outputs[self.outputs[3]], "float", None, 1, None, None)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        document = RowReading.to_json(self)
        masks = {"mask_threshold": self.mask_threshold, "mask_side": self.mask_side}
        return {"decode": document.pop("decode"), **masks, **document}

    @classmethod
    def read(cls, entry: Entry) -> Self:
        """The inverse of ``to_json``; ModelFileError for any other object."""
        keys = entry.table(
            ("decode", "graph", "score_threshold", "outputs", "first_label", "mask_threshold"), ("mask_side",)
        )
        return cls(
            output_names(keys, 4),
            setting(keys, "score_threshold"),
            keys["first_label"].whole(),
            GraphNms.read(keys["graph"]),
            setting(keys, "mask_threshold"),
            keys["mask_side"].whole(1) if "mask_side" in keys else MASK_SIDE,
        )
