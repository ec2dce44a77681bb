"""The settings by which a graph that ends in NMS decides."""

from dataclasses import dataclass
from typing import Any, Self

from onnxproof.document import Entry
from onnxproof.runtime.readings.anchors import Anchors, keys_of_head
from onnxproof.runtime.readings.boxes import Cuts


@dataclass(frozen=True, slots=True)
class Proposals:
    """The settings of a two-stage network's first stage.

    ``levels`` are four numbers: the lowest and the highest level of the pyramid, then k0 and the canonical
    size in pixels of Lin et al. 2017 (arXiv:1612.03144, equation 1).
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
    """The settings by which the graph itself decides.

    Only a one-stage network has ``anchors``. Only a two-stage network has ``proposals``, the settings of its
    first stage. ``class_agnostic`` says that boxes of different classes suppress each other, too.
    """

    score_threshold: float
    iou_threshold: float
    max_detections: int | None = None
    top_candidates: int | None = None
    proposals: Proposals | None = None
    anchors: Anchors | None = None
    class_agnostic: bool = False

    def cuts(self, score_threshold: float) -> Cuts:
        """The graph's limits, with another score threshold."""
        return Cuts(
            score_threshold,
            self.iou_threshold,
            self.class_agnostic,
            self.top_candidates,
            self.max_detections,
        )

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        document: dict[str, Any] = {} if self.anchors is None else {"head": self.anchors.head}
        document |= {"score_threshold": self.score_threshold, "iou_threshold": self.iou_threshold}
        for name in ("top_candidates", "max_detections"):
            if getattr(self, name) is not None:
                document[name] = getattr(self, name)
        if self.class_agnostic:
            document["class_agnostic"] = True
        if self.proposals is not None:
            document["proposals"] = self.proposals.to_json()
        return document if self.anchors is None else {**document, **self.anchors.to_json()}

    @classmethod
    def read(cls, entry: Entry) -> Self:
        """The inverse of ``to_json``; ModelFileError for any other object."""
        head = keys_of_head(entry)
        optional = ("max_detections", "top_candidates", "proposals", "class_agnostic")
        keys = entry.table(("score_threshold", "iou_threshold", *head), optional)
        return cls(
            keys["score_threshold"].number(),
            keys["iou_threshold"].number(),
            keys["max_detections"].whole(1) if "max_detections" in keys else None,
            keys["top_candidates"].whole(1) if "top_candidates" in keys else None,
            Proposals.read(keys["proposals"]) if "proposals" in keys else None,
            Anchors.read(keys) if head else None,
            "class_agnostic" in keys and keys["class_agnostic"].flag(),
        )
