"""Decode the heads of torchvision's one-stage detectors: logits and box deltas become scored boxes.

The outputs are ``logits`` [b, n, C] and ``deltas`` [b, n, 4], FCOS's also ``centerness`` [b, n, 1]. The n
anchors are ordered by level, then by cell (row by row), then by base anchor. The head decides how the outputs
are read:

- "retinanet": Lin et al. 2017 (arXiv:1708.02002); score = sigmoid(logit), boxes by ``decode_deltas``;
- "fcos": Tian et al. 2019 (arXiv:1904.01355); boxes by ``decode_distances`` and score =
  sqrt(sigmoid(logit) * sigmoid(centerness));
- "ssd": Liu et al. 2016 (arXiv:1512.02325); scores = softmax(logits) with the background in column 0,
  boxes by ``decode_deltas`` from default boxes.

Boxes are clipped to the picture before NMS. A candidate is a pair of an anchor and a class. The best
``top_candidates`` of each *group* enter NMS; a group is a level (RetinaNet, FCOS) or a class (SSD).

The arithmetic is in the outputs' dtype. Constants that torchvision computes in float32 are computed in
float32 here too, so that the oracle in float64 has the same ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from onnxproof.document import Entry
from onnxproof.errors import ModelFileError
from onnxproof.runtime.readings.adjustable import Array, output_names, require_form, setting
from onnxproof.runtime.readings.anchors import Anchors, DefaultBoxes, Distances, keys_of_head
from onnxproof.runtime.readings.boxes import THRESHOLDS, Candidates, Cuts, CuttingReading, Detections
from onnxproof.runtime.readings.scores import sigmoid, softmax
from onnxproof.tensors import TensorSpec


@dataclass(frozen=True, slots=True)
class ScoredAnchors:
    """The boxes and class scores of all anchors of one picture, before anything is selected.

    ``boxes`` float [n, 4] (x0, y0, x1, y1, pixels, inside the picture), ``scores`` float [n, C] in [0, 1],
    ``groups`` int64 [n, C]: the group in which a pair of an anchor and a class competes for entry to NMS.
    Columns are torchvision's labels. Those before ``foreground`` are the background, which is never detected.
    A label of a candidate or a detection is its column minus ``first_label``.
    """

    boxes: Array
    scores: Array
    groups: NDArray[np.int64]
    foreground: int
    first_label: int = 0

    def pairs(self, least: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row and column, both int64 [m], of each foreground pair whose score is ``least`` or more."""
        # ">=": with a threshold of 0, a pair that scores 0 here may score slightly more in another leg.
        rows, columns = np.nonzero(self.scores[:, self.foreground :] >= least)
        return rows, columns + self.foreground

    def candidates(self, cuts: Cuts) -> Candidates:
        """The pairs whose score is half the threshold or more."""
        rows, columns = self.pairs(cuts.score_threshold / 2)
        return Candidates(
            self.boxes[rows],
            self.scores[rows, columns],
            columns - self.first_label,
            None,
            self.groups[rows, columns],
        )

    def decide(self, cuts: Cuts) -> Detections:
        """The detections. Their ``indices`` are row * C + column of the pairs."""
        rows, columns = self.pairs(cuts.score_threshold / 2)
        found = self.candidates(cuts).decide(cuts)
        indices = (rows * self.scores.shape[1] + columns)[found.indices]
        return Detections(found.boxes, found.scores, found.labels, indices)


@dataclass(frozen=True, slots=True)
class AnchorBoxes(CuttingReading):
    """The raw outputs of a head over anchors: logits [b, n, C], deltas [b, n, 4] and, for FCOS, centerness
    [b, n, 1]. ``first_label`` is the column of the first class."""

    anchors: Anchors
    score_threshold: float
    iou_threshold: float
    class_agnostic: bool
    top_candidates: int
    max_detections: int
    first_label: int

    def require(self, outputs: Mapping[str, TensorSpec]) -> None:
        """See ``Reading``."""
        for name, channels in zip(self.outputs, (None, 4, 1), strict=False):
            require_form(outputs[name], "float", None, None, channels)

    def evidence(
        self, outputs: Mapping[str, Array], sizes: Mapping[str, int], margins: Mapping[str, Array]
    ) -> tuple["ScoredAnchors", ...]:
        """The scored anchors of each picture of a batch; see ``scored_anchors``."""
        return scored_anchors(outputs, sizes, self)

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


def scored_anchors(
    outputs: Mapping[str, Array], sizes: Mapping[str, int], reading: AnchorBoxes
) -> tuple[ScoredAnchors, ...]:
    """The scored anchors of each picture of a batch.

    ``outputs`` are the float outputs by name. ``sizes`` has the input's "height" and "width" in pixels.

    Raises ModelFileError if an input of that size does not have as many anchors as the outputs.
    """
    logits, deltas, *rest = (outputs[name] for name in reading.outputs)
    head, coder = reading.anchors.head, reading.anchors.coder
    height, width = sizes["height"], sizes["width"]
    levels = _levels(height, width, reading.anchors, deltas.dtype)
    anchors = np.concatenate(levels)
    if logits.shape[1] != len(anchors):
        raise ModelFileError(
            f"the output has {logits.shape[1]} anchors, but an input of {height}x{width} has {len(anchors)}: "
            "is the file's height or width frozen?"
        )
    # A size that overflows becomes infinite, as in PyTorch and ONNX Runtime. That needs no warning.
    with np.errstate(over="ignore", invalid="ignore"):
        if isinstance(coder, Distances):
            scores = np.sqrt(sigmoid(logits) * sigmoid(rest[0]))
            boxes = decode_distances(deltas, anchors, normalized=coder.in_sizes)
        else:
            scores = softmax(logits) if head == "ssd" else sigmoid(logits)
            boxes = decode_deltas(deltas, anchors, coder.weights, coder.largest_log_scale)
    boxes = np.clip(boxes, 0, np.array([width, height, width, height], boxes.dtype))
    if head == "ssd":
        foreground, groups = 1, np.arange(scores.shape[-1])
    else:
        counts = [len(level) for level in levels]
        foreground, groups = 0, np.repeat(np.arange(len(levels)), counts)[:, None]
    groups = np.broadcast_to(groups, scores.shape[1:])
    return tuple(
        ScoredAnchors(boxes[i], scores[i], groups, foreground, reading.first_label) for i in range(len(boxes))
    )


def anchor_boxes(
    height: int,
    width: int,
    reductions: Sequence[int],
    base_anchors: Sequence[Sequence[Sequence[float]]],
    dtype: np.dtype[Any],
) -> list[Array]:
    """The anchors of each level, [n, 4] (x0, y0, x1, y1, pixels): ``base_anchors`` moved to every cell.

    A level has ceil(size / reduction) cells along each side. The cells are size // cells pixels apart, as in
    torchvision's AnchorGenerator. That may differ from the reduction.
    """
    levels = []
    for reduction, bases in zip(reductions, base_anchors, strict=True):
        rows, columns = -(-height // reduction), -(-width // reduction)
        y, x = np.indices((rows, columns)).reshape(2, -1, 1)
        x, y = x * (width // columns), y * (height // rows)
        shifts = np.concatenate((x, y, x, y), axis=-1).astype(dtype)
        levels.append((shifts[:, None] + np.array(bases, dtype)).reshape(-1, 4))
    return levels


def default_boxes(
    height: int,
    width: int,
    grids: Sequence[tuple[int, int]],
    box_sizes: Sequence[Sequence[Sequence[float]]],
    steps: Sequence[float] | None,
    dtype: np.dtype[Any],
) -> list[Array]:
    """SSD's default boxes of each level, [n, 4] (x0, y0, x1, y1, pixels).

    ``grids`` are each level's rows and columns. ``box_sizes`` are its boxes' widths and heights, as shares of
    the picture's. Centres are ``steps`` pixels apart; if that is None, they are spread evenly over the
    picture (Liu et al. 2016, arXiv:1512.02325, section 2.2).
    """
    picture = np.array([width, height], dtype)
    levels = []
    for level, ((rows, columns), shapes) in enumerate(zip(grids, box_sizes, strict=True)):
        across, down = (columns, rows) if steps is None else (width / steps[level], height / steps[level])
        x = (np.arange(columns, dtype=np.float32) + np.float32(0.5)) / np.float32(across)
        y = (np.arange(rows, dtype=np.float32) + np.float32(0.5)) / np.float32(down)
        centres = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 1, 2).astype(dtype)
        halves = np.array(shapes, np.float32).astype(dtype) / 2
        corners = ((centres - halves) * picture, (centres + halves) * picture)
        levels.append(np.concatenate(corners, axis=-1).reshape(-1, 4))
    return levels


def decode_deltas(deltas: Array, anchors: Array, weights: Sequence[float], largest_log_scale: float) -> Array:
    """Boxes [b, n, 4] (x0, y0, x1, y1, pixels) from deltas [b, n, 4] and anchors [n, 4].

    centre = anchor's centre + delta / weight * anchor's size, size = exp(delta / weight) * anchor's size
    (Ren et al. 2015, arXiv:1506.01497, section 3.1.2). The exponent is at most ``largest_log_scale``.
    """
    scaled = deltas / np.array(weights, deltas.dtype)
    sizes = anchors[:, 2:] - anchors[:, :2]
    centres = scaled[..., :2] * sizes + (anchors[:, :2] + sizes / 2)
    halves = np.exp(np.minimum(scaled[..., 2:], scaled.dtype.type(largest_log_scale))) * sizes / 2
    return np.concatenate((centres - halves, centres + halves), axis=-1)


def decode_distances(distances: Array, anchors: Array, *, normalized: bool) -> Array:
    """Boxes [b, n, 4] (x0, y0, x1, y1, pixels) from distances [b, n, 4] and anchors [n, 4].

    The distances are those from the anchor's centre to the left, upper, right and lower side
    (Tian et al. 2019, arXiv:1904.01355, section 3.1). They are in sizes of the anchor if ``normalized``,
    otherwise in pixels.
    """
    if normalized:
        sizes = anchors[:, 2:] - anchors[:, :2]
        distances = distances * np.concatenate((sizes, sizes), axis=-1)
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    return np.concatenate((centres - distances[..., :2], centres + distances[..., 2:]), axis=-1)


def _levels(height: int, width: int, anchors: Anchors, dtype: np.dtype[Any]) -> list[Array]:
    places = anchors.places
    if isinstance(places, DefaultBoxes):
        return default_boxes(height, width, places.grids, places.box_sizes, places.steps, dtype)
    return anchor_boxes(height, width, places.reductions, places.base_anchors, dtype)
