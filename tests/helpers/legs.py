"""Two legs that differ where a test wants them to: what the property tests of comparisons share."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
from contracts import Whole, reading_of
from examples import examples
from hypothesis import strategies as st
from numpy.typing import NDArray

from onnxproof.runtime.readings.boxes import Candidates, decide
from onnxproof.runtime.readings.cells import cells
from onnxproof.runtime.readings.scored_anchors import ScoredAnchors
from onnxproof.validate.compare.comparer import Comparison, error_bound

Array = NDArray[Any]

DETECTION, INSTANCES = Whole("detection"), Whole("instance_segmentation")

quickly = examples(40, derandomize=True)
"""The same few examples on every run."""

bounds = st.floats(-8, -3).map(lambda power: float(10**power))
"""Error bounds of a score."""

inside = st.floats(0.05, 0.95)
outside = st.floats(1.05, 4)
"""How far from a threshold a value lies, as a share of what the bound leaves open."""

seeds = st.integers(0, 2**32 - 1)

THRESHOLD, IOU_THRESHOLD = 0.5, 0.5
SIDE = 40.0
"""Width and height of most boxes, px."""
HEIGHT, WIDTH, STRIDES = 256, 256, (32,)
"""Of the input of a dense head with room for 64 boxes."""


@dataclass(frozen=True, slots=True)
class Boxes:
    """One leg's boxes ``xyxy`` float64 [n, 4] and class scores float64 [n, C] before any selection."""

    xyxy: Array
    scores: Array

    def take(self, order: Array) -> "Boxes":
        return Boxes(self.xyxy[order], self.scores[order])


@dataclass(frozen=True, slots=True)
class Legs:
    """Two legs' boxes, the settings that they are decided with, and how far a score and a coordinate can
    have moved. ``numbers`` are what the cause of a tie between them must name."""

    reference: Boxes
    candidate: Boxes
    score_bound: float
    box_bound: float = 1e-3
    settings: Mapping[str, Any] = field(default_factory=dict)
    numbers: tuple[str, ...] = ()


def in_a_row(count: int) -> Array:
    """Boxes float64 [count, 4] (x0, y0, x1, y1, px) that lie apart."""
    places = np.arange(count)
    x, y = 50.0 * (places % 5), 50.0 * (places // 5)
    return np.stack((x, y, x + SIDE, y + SIDE), axis=1)


def beside(box: Array, iou: float) -> Array:
    """The box moved to the right until its IoU with where it was is ``iou``: (w - s) / (w + s)."""
    shift = (box[2] - box[0]) * (1 - iou) / (1 + iou)
    moved: Array = box + np.array([shift, 0, shift, 0])
    return moved


@st.composite
def crowds(draw: st.DrawFn, most: int = 12, classes: int = 2) -> Boxes:
    """Boxes that overlap a lot, with scores that all differ, one class of each above the threshold."""
    count = draw(st.integers(1, most))
    place, side = st.integers(0, 60), st.integers(16, 50)
    corners = np.array(
        draw(st.lists(st.tuples(place, place, side, side), min_size=count, max_size=count)), np.float64
    )
    corners[:, 2:] += corners[:, :2]
    ranks = np.array(draw(st.permutations(range(count))))
    scores = np.full((count, classes), 0.1)
    labels = np.array(draw(st.lists(st.integers(0, classes - 1), min_size=count, max_size=count)))
    scores[np.arange(count), labels] = 0.55 + 0.4 * ranks / count
    return Boxes(corners, scores)


@st.composite
def chains(draw: st.DrawFn) -> Boxes:
    """Boxes of one class, each with its IoU with the next exactly at the threshold, as rounding goes."""
    count = draw(st.integers(2, 8))
    boxes = [np.array([0.0, 0.0, SIDE, draw(st.integers(16, 60))])]
    for _ in range(count - 1):
        boxes.append(beside(boxes[-1], IOU_THRESHOLD))
    ranks = np.array(draw(st.permutations(range(count))))
    return Boxes(np.stack(boxes), (0.55 + 0.4 * ranks / count)[:, None])


def noisy(boxes: Boxes, random: np.random.Generator, score_bound: float, box_bound: float) -> Boxes:
    """The boxes, every number moved by up to its bound."""

    def moved(values: Array, bound: float) -> Array:
        # Less than the bound, so that no rounding carries a number beyond it.
        return values + 0.999 * bound * random.uniform(-1, 1, values.shape)

    return Boxes(moved(boxes.xyxy, box_bound), moved(boxes.scores, score_bound))


def chosen_from(boxes: Boxes) -> Candidates:
    """What a network with NMS in its graph chooses rows from: each pair of a box and a class."""
    count, classes = boxes.scores.shape
    return Candidates(
        np.repeat(boxes.xyxy, classes, axis=0),
        boxes.scores.reshape(-1),
        np.tile(np.arange(classes), count),
        None,
    )


Layout = Callable[[Legs], Comparison]


def _reading(decode: str, **more: Any) -> Any:
    settings = {"score_threshold": THRESHOLD, "iou_threshold": IOU_THRESHOLD, "class_agnostic": False}
    return reading_of("detection", **{"decode": decode, **settings, **more})


def _dense(legs: Legs, reading: Any, evidence: tuple[Any, Any]) -> Comparison:
    """Compared with the cuts that the legs ask for, be they cuts of this layout or not."""
    return _compared(DETECTION, legs, SimpleNamespace(cuts=replace(reading.cuts, **legs.settings)), evidence)


def _compared(task: Any, legs: Legs, reading: Any, evidence: tuple[Any, Any]) -> Comparison:
    allowed = {"score": legs.score_bound, "box": legs.box_bound, "mask": legs.score_bound}
    comparison: Comparison = task.compare(*task.thin(*evidence, reading), reading, allowed)
    return comparison


def split(legs: Legs) -> Comparison:
    reading = _reading("split", outputs=["boxes", "scores"])
    pair = [
        DETECTION.evidence({"boxes": leg.xyxy[None], "scores": leg.scores[None]}, {}, reading, {})[0]
        for leg in (legs.reference, legs.candidate)
    ]
    return _dense(legs, reading, (pair[0], pair[1]))


def packed(legs: Legs) -> Comparison:
    """The file tells no lead over the next class, PyTorch does."""
    reading = _reading("packed", outputs=["output"])
    pair = []
    for leg, is_pytorch in ((legs.reference, True), (legs.candidate, False)):
        ranked = np.sort(leg.scores, axis=1)
        sizes = leg.xyxy[:, 2:] - leg.xyxy[:, :2]
        rows = np.column_stack((leg.xyxy[:, :2], sizes, leg.scores.argmax(axis=1), ranked[:, -1]))
        lead = ranked[:, -1] - ranked[:, -2] if ranked.shape[1] > 1 else np.full(len(ranked), np.inf)
        margins = {"label": lead[None]} if is_pytorch else {}
        pair.append(DETECTION.evidence({"output": rows[None]}, {}, reading, margins)[0])
    return _dense(legs, reading, (pair[0], pair[1]))


def raw(legs: Legs) -> Comparison:
    """A head of centres in cells and logarithms of sizes in strides, as YOLOX's."""
    reading = _reading("none", outputs=["output"], strides=list(STRIDES))
    grid = cells(HEIGHT, WIDTH, STRIDES).astype(np.float64)
    pair = []
    for leg in (legs.reference, legs.candidate):
        count = len(leg.xyxy)
        head = np.zeros((1, len(grid), 5 + leg.scores.shape[1]))
        centres, sizes = (leg.xyxy[:, :2] + leg.xyxy[:, 2:]) / 2, leg.xyxy[:, 2:] - leg.xyxy[:, :2]
        head[0, :count, :2] = centres / grid[:count, 2:] - grid[:count, :2]
        head[0, :count, 2:4] = np.log(sizes / grid[:count, 2:])
        head[0, :count, 4], head[0, :count, 5:] = 1, leg.scores
        outputs = {"output": head}
        pair.append(DETECTION.evidence(outputs, {"height": HEIGHT, "width": WIDTH}, reading, {})[0])
    return _dense(legs, reading, (pair[0], pair[1]))


def anchors(legs: Legs) -> Comparison:
    """A head over anchors, of one level."""
    pair = [
        ScoredAnchors(leg.xyxy, leg.scores, np.zeros(leg.scores.shape, np.int64), 0)
        for leg in (legs.reference, legs.candidate)
    ]
    reading = _reading(
        "none",
        outputs=["logits", "deltas"],
        head="retinanet",
        reductions=[32],
        base_anchors=[[[-16, -16, 16, 16]]],
        delta_weights=[1, 1, 1, 1],
        largest_log_scale=4,
        top_candidates=1000,
        max_detections=1000,
        first_label=0,
    )
    return _dense(legs, reading, (pair[0], pair[1]))


def _rows(legs: Legs, task: str, **more: Any) -> tuple[Any, list[Any], list[Any]]:
    """The reading, the rows that the graph leaves of each leg, and PyTorch's margins."""
    graph = {"score_threshold": 0.05, "iou_threshold": IOU_THRESHOLD, "max_detections": 100}
    reading = reading_of(
        task,
        decode="nms",
        score_threshold=THRESHOLD,
        first_label=0,
        graph={**graph, **legs.settings},
        **more,
    )
    outputs = []
    for leg in (legs.reference, legs.candidate):
        # A score that is NaN comes out as a row, as of a graph that has lost it behind its NMS.
        whole = Boxes(leg.xyxy, np.nan_to_num(leg.scores, nan=0.9))
        rows = decide(chosen_from(whole), reading.graph.cuts(reading.graph.score_threshold))
        scores = leg.scores.reshape(-1)[rows.indices]
        outputs.append({"boxes": rows.boxes, "labels": rows.labels, "scores": scores})
    told = chosen_from(legs.reference)
    margins = {
        "candidate_boxes": told.boxes,
        "candidate_scores": told.scores,
        "candidate_labels": told.labels,
    }
    return reading, outputs, [margins, {}]


def rows(legs: Legs) -> Comparison:
    """NMS in the graph."""
    reading, outputs, margins = _rows(legs, "detection", outputs=["boxes", "labels", "scores"])
    pair = [DETECTION.evidence(leg, {}, reading, more)[0] for leg, more in zip(outputs, margins, strict=True)]
    return _compared(DETECTION, legs, reading, (pair[0], pair[1]))


def instances(legs: Legs) -> Comparison:
    """NMS in the graph, and a mask that fills each box, whole pixels."""
    names = ["boxes", "labels", "scores", "masks"]
    reading, outputs, margins = _rows(legs, "instance_segmentation", outputs=names, mask_threshold=0.5)
    for leg in outputs:
        leg["masks"] = np.zeros((len(leg["boxes"]), 1, HEIGHT, WIDTH))
        for mask, box in zip(leg["masks"], leg["boxes"], strict=True):
            # By eights, from where no box of these tests begins or ends: the legs' masks are the same.
            x0, y0, x1, y1 = (8 * round((float(np.nan_to_num(value)) + 1.5) / 8) for value in box)
            mask[0, y0:y1, x0:x1] = 0.9
    pair = [INSTANCES.evidence(leg, {}, reading, more)[0] for leg, more in zip(outputs, margins, strict=True)]
    return _compared(INSTANCES, legs, reading, (pair[0], pair[1]))


DENSE: tuple[Layout, ...] = (split, packed, raw, anchors)
IN_ROWS: tuple[Layout, ...] = (rows, instances)
ALL: tuple[Layout, ...] = (*DENSE, *IN_ROWS)


def damaged(legs: Legs, boxes: Boxes) -> Legs:
    """The legs with another candidate."""
    return replace(legs, candidate=boxes)


def told(comparison: Comparison) -> tuple[int, int, int]:
    """How many are matched, ties and defects."""
    return comparison.matched, len(comparison.ties), len(comparison.defects)


def assert_exact(comparison: Comparison, bound: float | None = None) -> None:
    """Every tie names its cause with its numbers: at least two, and the error bound."""
    for tie in comparison.ties:
        numbers = re.findall(r"\d+(?:\.\d+)?(?:e-?\d+)?", tie.cause)
        assert len(numbers) >= 3, tie.cause
        assert "error bound" in tie.cause
        assert bound is None or error_bound(bound) in tie.cause, tie.cause
