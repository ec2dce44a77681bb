"""Dense heads over anchors, as torchvision's one-stage detectors have them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from onnxproof.document import Entry
from onnxproof.runtime.readings.adjustable import Adjustable, output_names, require_form, setting
from onnxproof.runtime.readings.boxes import THRESHOLDS, Cuts
from onnxproof.tensors import TensorSpec

HEADS = ("retinanet", "fcos", "ssd")

Head = Literal["retinanet", "fcos", "ssd"]

Box = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Pyramid:
    """Anchors on the levels of a feature pyramid: ``base_anchors`` (x0, y0, x1, y1, px) around every cell of
    a level, which has ceil(size / reduction) cells a side."""

    reductions: tuple[int, ...]
    base_anchors: tuple[tuple[Box, ...], ...]

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "reductions": list(self.reductions),
            "base_anchors": [[list(box) for box in level] for level in self.base_anchors],
        }

    @classmethod
    def read(cls, keys: Mapping[str, Entry]) -> Self:
        """The inverse of ``to_json``, among other keys."""
        reductions = tuple(entry.whole(1) for entry in keys["reductions"].entries())
        return cls(reductions, _boxes(keys["base_anchors"], len(reductions), 4))


@dataclass(frozen=True, slots=True)
class DefaultBoxes:
    """SSD's default boxes: of each level its rows and columns, its boxes' widths and heights as parts of the
    picture, and how many pixels its centres stand apart; ``steps`` None spreads them evenly."""

    grids: tuple[tuple[int, int], ...]
    box_sizes: tuple[tuple[Box, ...], ...]
    steps: tuple[float, ...] | None

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "grids": [list(grid) for grid in self.grids],
            "box_sizes": [[list(size) for size in level] for level in self.box_sizes],
            "steps": None if self.steps is None else list(self.steps),
        }

    @classmethod
    def read(cls, keys: Mapping[str, Entry]) -> Self:
        """The inverse of ``to_json``, among other keys."""
        grids = []
        for entry in keys["grids"].entries():
            rows, columns = (side.whole(1) for side in entry.entries(2))
            grids.append((rows, columns))
        steps = None
        if keys["steps"].value is not None:
            steps = tuple(step.number() for step in keys["steps"].entries(len(grids)))
        return cls(tuple(grids), _boxes(keys["box_sizes"], len(grids), 2), steps)


@dataclass(frozen=True, slots=True)
class Deltas:
    """Boxes as deltas from their anchors, divided by ``weights`` (x, y, width, height); the log of a size is
    cut at ``largest_log_scale``."""

    weights: tuple[float, ...]
    largest_log_scale: float

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"delta_weights": list(self.weights), "largest_log_scale": self.largest_log_scale}

    @classmethod
    def read(cls, keys: Mapping[str, Entry]) -> Self:
        """The inverse of ``to_json``, among other keys."""
        weights = tuple(entry.number() for entry in keys["delta_weights"].entries(4))
        if 0 in weights:
            raise keys["delta_weights"].refused("numbers other than 0")
        return cls(weights, keys["largest_log_scale"].number())


@dataclass(frozen=True, slots=True)
class Distances:
    """Boxes as the distances of their sides from the anchor's centre, in sizes of the anchor or in pixels."""

    in_sizes: bool

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"distances_in_sizes": self.in_sizes}

    @classmethod
    def read(cls, keys: Mapping[str, Entry]) -> Self:
        """The inverse of ``to_json``, among other keys."""
        return cls(keys["distances_in_sizes"].flag())


@dataclass(frozen=True, slots=True)
class Anchors:
    """A head: where its anchors stand, and how its outputs become boxes from them."""

    head: Head
    places: Pyramid | DefaultBoxes
    coder: Deltas | Distances

    def to_json(self) -> dict[str, Any]:
        """A JSON object, less "head"."""
        return {**self.places.to_json(), **self.coder.to_json()}

    @classmethod
    def read(cls, keys: Mapping[str, Entry]) -> Self:
        """The inverse of ``to_json``, among other keys."""
        head: Any = keys["head"].text(HEADS)
        places = DefaultBoxes.read(keys) if head == "ssd" else Pyramid.read(keys)
        return cls(head, places, Distances.read(keys) if head == "fcos" else Deltas.read(keys))


def keys_of_head(entry: Entry) -> tuple[str, ...]:
    """The keys that describe the head in an object; none if it tells of no head."""
    table = entry.free_table()
    if "head" not in table:
        return ()
    head = table["head"].text(HEADS)
    places = ("grids", "box_sizes", "steps") if head == "ssd" else ("reductions", "base_anchors")
    coder = ("distances_in_sizes",) if head == "fcos" else ("delta_weights", "largest_log_scale")
    return ("head", *places, *coder)


@dataclass(frozen=True, slots=True)
class AnchorBoxes(Adjustable):
    """The raw outputs of a head over anchors: logits [b, n, C], deltas [b, n, 4] and, of FCOS, centerness
    [b, n, 1]. Labels count from ``first_label``."""

    anchors: Anchors
    score_threshold: float
    iou_threshold: float
    class_agnostic: bool
    top_candidates: int
    max_detections: int
    first_label: int

    @property
    def cuts(self) -> Cuts:
        """What is kept of the boxes."""
        return Cuts(
            self.score_threshold,
            self.iou_threshold,
            self.class_agnostic,
            self.top_candidates,
            self.max_detections,
        )

    def require(self, outputs: Mapping[str, TensorSpec]) -> None:
        """See ``Reading``."""
        for name, channels in zip(self.outputs, (None, 4, 1), strict=False):
            require_form(outputs[name], "float", None, None, channels)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "decode": "none",
            "head": self.anchors.head,
            "score_threshold": self.score_threshold,
            "iou_threshold": self.iou_threshold,
            "top_candidates": self.top_candidates,
            "max_detections": self.max_detections,
            **self.anchors.to_json(),
            "class_agnostic": self.class_agnostic,
            "outputs": list(self.outputs),
            "first_label": self.first_label,
        }

    @classmethod
    def read(cls, entry: Entry) -> Self:
        """The inverse of ``to_json``; ModelFileError for any other object."""
        own = ("decode", "outputs", *THRESHOLDS, "top_candidates", "max_detections", "first_label")
        keys = entry.table((*own, *keys_of_head(entry)))
        anchors = Anchors.read(keys)
        return cls(
            output_names(keys, 3 if anchors.head == "fcos" else 2),
            anchors,
            **{name: setting(keys, name) for name in THRESHOLDS},
            top_candidates=keys["top_candidates"].whole(1),
            max_detections=keys["max_detections"].whole(1),
            first_label=keys["first_label"].whole(),
        )


def _boxes(entry: Entry, levels: int, numbers: int) -> tuple[tuple[Box, ...], ...]:
    """Of each level the boxes, so many numbers each."""
    return tuple(
        tuple(tuple(number.number() for number in box.entries(numbers)) for box in level.entries())
        for level in entry.entries(levels)
    )
