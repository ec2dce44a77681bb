"""Object detection from a dense head: boxes and class scores, thresholded and filtered by NMS.

The outputs come in one of three layouts (``post["decode"]``):

- "packed": one output [b, n, 6] = x0, y0, width, height in pixels, label, score;
- "split": boxes [b, n, 4] (x0, y0, x1, y1 in pixels) and scores [b, n, C];
- "none": one output [b, n, 5 + C] = centre x, centre y in cells from the cell's corner, log of width
  and height in strides, objectness, class probabilities; cells row by row, strides in order.

The decoding of "none" is YOLOX's (Ge et al. 2021, arXiv:2107.08430): centre = (offset + cell) *
stride, size = exp(log size) * stride, score = objectness * class probability.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onnxproof.errors import ModelFileError
from onnxproof.runtime.drawing import draw_boxes
from onnxproof.runtime.manifest import ClassInfo
from onnxproof.runtime.nms import nms, pairwise_iou
from onnxproof.runtime.preprocess import Transform
from onnxproof.runtime.tasks._task import Array, Comparison, Finding, class_color, class_name

MATCH_IOU = 0.5
"""The least IoU at which two boxes are taken to mean the same object (PASCAL VOC's criterion)."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """All boxes of one picture before the threshold and NMS.

    ``boxes`` float [n, 4] (x0, y0, x1, y1, input pixels), ``scores`` float [n] in [0, 1], ``labels``
    int64 [n], ``gaps`` float [n]: the score's lead over the next class (infinite with one class),
    None where the layout does not tell it.
    """

    boxes: Array
    scores: Array
    labels: NDArray[np.int64]
    gaps: Array | None

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, indices: Array) -> "Candidates":
        """The candidates at the given indices (or under a mask)."""
        gaps = None if self.gaps is None else self.gaps[indices]
        return Candidates(self.boxes[indices], self.scores[indices], self.labels[indices], gaps)


@dataclass(frozen=True, slots=True)
class Detections:
    """What is left after the threshold and NMS, best score first.

    ``boxes`` float [n, 4] (x0, y0, x1, y1, pixels), ``scores`` float [n], ``labels`` int64 [n],
    ``indices`` int64 [n]: which candidates they were.
    """

    boxes: Array
    scores: Array
    labels: NDArray[np.int64]
    indices: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.scores)


def decode_raw(raw: Array, height: int, width: int, strides: tuple[int, ...]) -> tuple[Array, Array]:
    """Layout "none" as boxes [b, n, 4] (x0, y0, x1, y1, pixels) and class scores [b, n, C].

    ``raw`` is float [b, n, 5 + C] for an input of ``height`` by ``width`` pixels. Raises
    ModelFileError where n is not the number of cells of that size.
    """
    grid = cells(height, width, strides).astype(raw.dtype)
    if len(grid) != raw.shape[1]:
        raise ModelFileError(
            f"the output has {raw.shape[1]} cells, but an input of {height}x{width} with strides "
            f"{list(strides)} has {len(grid)}: is the file's height or width frozen?"
        )
    centres = (raw[..., :2] + grid[:, :2]) * grid[:, 2:]
    with np.errstate(over="ignore"):
        halves = np.exp(raw[..., 2:4]) * grid[:, 2:] / 2
    boxes = np.concatenate((centres - halves, centres + halves), axis=-1)
    return boxes, raw[..., 4:5] * raw[..., 5:]


def cells(height: int, width: int, strides: tuple[int, ...]) -> NDArray[np.int64]:
    """The cells of a dense head, int64 [n, 3]: column, row and stride, row by row, strides in order."""
    grids = []
    for stride in strides:
        rows, columns = np.indices((height // stride, width // stride)).reshape(2, -1)
        grids.append(np.stack((columns, rows, np.full_like(rows, stride)), axis=-1))
    return np.concatenate(grids).astype(np.int64)


class _Detection:
    name = "detection"
    summary = "Object detection from a dense head: boxes and class scores, thresholded and filtered by NMS."

    def evidence(
        self,
        outputs: Mapping[str, Array],
        sizes: Mapping[str, int],
        post: Mapping[str, Any],
        margins: Mapping[str, Array],
    ) -> tuple[Candidates, ...]:
        if post["decode"] == "packed":
            return _from_packed(outputs[post["outputs"][0]], margins.get("label"))
        if post["decode"] == "split":
            boxes, scores = (outputs[name] for name in post["outputs"])
        else:
            boxes, scores = decode_raw(
                outputs[post["outputs"][0]], sizes["height"], sizes["width"], tuple(post["strides"])
            )
        return _from_class_scores(boxes, scores)

    def quantities(self, evidence: Candidates) -> Mapping[str, Array]:
        return {"box": evidence.boxes, "score": evidence.scores}

    def thin(self, evidence: Candidates, post: Mapping[str, Any]) -> Candidates:
        return evidence.take(evidence.scores > post["score_threshold"] / 2)

    def decide(self, evidence: Candidates, post: Mapping[str, Any]) -> Detections:
        above = np.flatnonzero(evidence.scores > post["score_threshold"])
        classes = None if post["class_agnostic"] else evidence.labels[above]
        kept = above[nms(evidence.boxes[above], evidence.scores[above], post["iou_threshold"], classes)]
        return Detections(evidence.boxes[kept], evidence.scores[kept], evidence.labels[kept], kept)

    def differ(self, reference: Detections, candidate: Detections) -> bool:
        return not (
            np.array_equal(reference.indices, candidate.indices)
            and np.array_equal(reference.labels, candidate.labels)
        )

    def count(self, decisions: Detections) -> int:
        return len(decisions)

    def compare(
        self,
        reference: Candidates,
        candidate: Candidates,
        post: Mapping[str, Any],
        bounds: Mapping[str, float],
    ) -> Comparison:
        wanted, found = self.decide(reference, post), self.decide(candidate, post)
        pairs = match(wanted, found)
        ties: list[Finding] = []
        defects = _moved(wanted, found, pairs, bounds)
        missing = sorted(set(range(len(wanted))) - {i for i, _ in pairs})
        extra = sorted(set(range(len(found))) - {j for _, j in pairs})
        if missing or extra:
            margins = _Margins(reference, post, bounds)
            matched_candidates = {int(wanted.indices[i]) for i, _ in pairs}
            for i in missing:
                what, open_because = _describe("missing", wanted, i), margins.open(int(wanted.indices[i]))
                if open_because:
                    ties.append(Finding(what, open_because))
                else:
                    defects.append(Finding(what, "no margin of the reference lies within the error bound"))
            for j in extra:
                finding, is_tie = _judge_extra(found, j, reference, margins, matched_candidates, bounds)
                (ties if is_tie else defects).append(finding)
        return Comparison(len(pairs), tuple(ties), tuple(defects))

    def restore(self, decisions: Detections, transform: Transform) -> Detections:
        boxes = transform.restore(decisions.boxes)
        return Detections(boxes, decisions.scores, decisions.labels, decisions.indices)

    def to_json(
        self, decisions: Detections, classes: tuple[ClassInfo, ...], width: int, height: int
    ) -> dict[str, Any]:
        boxes = []
        for box, score, label in zip(decisions.boxes, decisions.scores, decisions.labels, strict=True):
            x0, y0, x1, y1 = (float(value) for value in box)
            boxes.append(
                {
                    "box": {
                        "topX": x0 / width,
                        "topY": y0 / height,
                        "bottomX": x1 / width,
                        "bottomY": y1 / height,
                    },
                    "box_xyxy": [x0, y0, x1, y1],
                    "label": class_name(int(label), classes),
                    "score": float(score),
                }
            )
        return {"boxes": boxes}

    def draw(
        self, picture: Image.Image, decisions: Detections, classes: tuple[ClassInfo, ...]
    ) -> Image.Image:
        captions = [
            f"{class_name(int(label), classes)} {score:.0%}"
            for label, score in zip(decisions.labels, decisions.scores, strict=True)
        ]
        colors = [class_color(int(label), classes) for label in decisions.labels]
        return draw_boxes(picture, decisions.boxes, captions, colors)


TASK = _Detection()


def _from_packed(packed: Array, gaps: Array | None) -> tuple[Candidates, ...]:
    """``packed`` [b, n, 6] and, from PyTorch, the scores' lead over the next class [b, n]."""
    corners, sizes = packed[..., :2], packed[..., 2:4]
    boxes = np.concatenate((corners, corners + sizes), axis=-1)
    labels = np.nan_to_num(packed[..., 4], nan=-1).astype(np.int64)
    return tuple(
        Candidates(boxes[i], packed[i, :, 5], labels[i], None if gaps is None else gaps[i])
        for i in range(len(packed))
    )


def _from_class_scores(boxes: Array, scores: Array) -> tuple[Candidates, ...]:
    """Boxes [b, n, 4] (x0, y0, x1, y1) and class scores [b, n, C]."""
    labels = scores.argmax(axis=-1)
    best = np.take_along_axis(scores, labels[..., None], axis=-1)[..., 0]
    if scores.shape[-1] == 1:
        gaps = np.full_like(best, np.inf)
    else:
        gaps = best - np.partition(scores, -2, axis=-1)[..., -2]
    return tuple(Candidates(boxes[i], best[i], labels[i], gaps[i]) for i in range(len(boxes)))


def match(wanted: Detections, found: Detections) -> tuple[tuple[int, int], ...]:
    """Pair detections of the same class one to one, greedily by IoU, down to MATCH_IOU.

    Returns pairs of indices (into ``wanted``, into ``found``).
    """
    ious = pairwise_iou(wanted.boxes.astype(np.float64), found.boxes.astype(np.float64))
    ious[wanted.labels[:, None] != found.labels[None, :]] = 0
    rows, columns = np.nonzero(ious >= MATCH_IOU)
    order = np.argsort(-ious[rows, columns], kind="stable")
    pairs: list[tuple[int, int]] = []
    taken_rows: set[int] = set()
    taken_columns: set[int] = set()
    for i, j in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if i not in taken_rows and j not in taken_columns:
            taken_rows.add(i)
            taken_columns.add(j)
            pairs.append((i, j))
    return tuple(pairs)


def _moved(
    wanted: Detections,
    found: Detections,
    pairs: tuple[tuple[int, int], ...],
    bounds: Mapping[str, float],
) -> list[Finding]:
    """Matched pairs whose box or score lies further apart than the bounds."""
    findings = []
    for i, j in pairs:
        shift = float(np.max(np.abs(wanted.boxes[i].astype(np.float64) - found.boxes[j])))
        change = abs(float(wanted.scores[i]) - float(found.scores[j]))
        if not shift <= bounds["box"]:
            cause = f"the box moved by {shift:.3g} px, error bound {bounds['box']:.1e}"
            findings.append(Finding(_describe("moved", wanted, i), cause))
        elif not change <= bounds["score"]:
            cause = f"the score moved by {change:.3g}, error bound {bounds['score']:.1e}"
            findings.append(Finding(_describe("moved", wanted, i), cause))
    return findings


def _describe(verb: str, detections: Detections, i: int) -> str:
    box = ", ".join(f"{value:.1f}" for value in detections.boxes[i])
    return f"{verb}: class {detections.labels[i]}, score {detections.scores[i]:.9g}, box [{box}]"


def _judge_extra(
    found: Detections,
    j: int,
    reference: Candidates,
    margins: "_Margins",
    matched: set[int],
    bounds: Mapping[str, float],
) -> tuple[Finding, bool]:
    """A detection that only the candidate has: the finding, and whether it is a tie."""
    what = _describe("extra", found, j)
    distances = np.abs(reference.boxes.astype(np.float64) - found.boxes[j]).max(axis=-1, initial=0)
    changes = np.abs(reference.scores.astype(np.float64) - found.scores[j])
    alike = np.flatnonzero((distances <= bounds["box"]) & (changes <= bounds["score"]))
    same_class = alike[reference.labels[alike] == found.labels[j]]
    for index in (*same_class.tolist(), *alike.tolist()):
        if index in matched:
            continue
        if reference.labels[index] != found.labels[j]:
            cause = margins.class_open(index)
        else:
            cause = margins.open(index)
        if cause:
            return Finding(what, cause), True
    if len(same_class) and all(index in matched for index in same_class):
        return Finding(what, "a duplicate of a detection that is matched already"), False
    if len(same_class):
        return Finding(what, "the reference drops it, and no margin lies within the error bound"), False
    return Finding(what, "the reference has no candidate with this class, box and score"), False


class _Margins:
    """Which decisions on the reference's candidates float error leaves open, and why.

    A greedy NMS in three values. A candidate is certain to be kept, certain to be dropped, or open:
    because its score, an IoU with a rival, the order of two scores, or a class lies within the
    bounds of its threshold, or because it hangs on a candidate that is open itself.
    """

    def __init__(self, reference: Candidates, post: Mapping[str, Any], bounds: Mapping[str, float]) -> None:
        self.reference = reference
        self.score_threshold: float = post["score_threshold"]
        self.iou_threshold: float = post["iou_threshold"]
        self.class_agnostic: bool = post["class_agnostic"]
        self.score_bound, self.box_bound = bounds["score"], bounds["box"]
        self._causes = self._run()

    def open(self, index: int) -> str | None:
        """Why the candidate may or may not be kept; None where that is certain."""
        return self._causes.get(index) or self.class_open(index)

    def class_open(self, index: int) -> str | None:
        """Why the candidate's class is open; None where it is certain."""
        gaps = self.reference.gaps
        if gaps is not None and gaps[index] <= 2 * self.score_bound:
            return (
                f"class {self.reference.labels[index]} leads the runner-up by {gaps[index]:.3g}, "
                f"error bound {self.score_bound:.1e}"
            )
        return None

    def _run(self) -> dict[int, str]:
        scores = self.reference.scores.astype(np.float64)
        possible = np.flatnonzero(scores > self.score_threshold - self.score_bound)
        order = possible[np.argsort(-scores[possible], kind="stable")]
        boxes = self.reference.boxes.astype(np.float64)[order]
        ranked = scores[order]
        # 1: certainly kept, 0: open, -1: certainly dropped; those not yet reached count as open.
        status = np.zeros(len(order), np.int8)
        causes: dict[int, str] = {}
        for i, index in enumerate(order.tolist()):
            rivals = np.flatnonzero((ranked >= ranked[i] - 2 * self.score_bound) & (status >= 0))
            rivals = rivals[rivals != i]
            ious, slack = _iou_with_slack(boxes[i], boxes[rivals], self.box_bound)
            shares, surely_shares = self._share_class(index, order[rivals])
            may = shares & (ious > self.iou_threshold - slack)
            ahead = ranked[rivals] > ranked[i] + 2 * self.score_bound
            overlaps = ious > self.iou_threshold + slack
            if (may & surely_shares & ahead & overlaps & (status[rivals] == 1)).any():
                status[i] = -1
                continue
            cause = None
            if may.any():
                k = int(np.flatnonzero(may)[0])
                rival = int(order[rivals[k]])
                cause = self._rival_cause(index, rival, float(ious[k]), float(slack[k]), causes.get(rival))
            elif not ranked[i] > self.score_threshold + self.score_bound:
                cause = (
                    f"score {ranked[i]:.9g} against threshold {self.score_threshold:g}, "
                    f"error bound {self.score_bound:.1e}"
                )
            if cause is None:
                status[i] = 1
            else:
                causes[index] = cause
        return causes

    def _share_class(self, index: int, rivals: Array) -> tuple[Array, Array]:
        """Whether each rival may, and whether it must, have the candidate's class."""
        if self.class_agnostic:
            everywhere = np.ones(len(rivals), bool)
            return everywhere, everywhere
        same = self.reference.labels[rivals] == self.reference.labels[index]
        gaps = self.reference.gaps
        if gaps is None:
            return same, same
        uncertain = (gaps[rivals] <= 2 * self.score_bound) | (gaps[index] <= 2 * self.score_bound)
        return same | uncertain, same & ~uncertain

    def _rival_cause(self, index: int, rival: int, iou: float, slack: float, rival_cause: str | None) -> str:
        if abs(iou - self.iou_threshold) <= slack:
            return f"IoU {iou:.9g} against threshold {self.iou_threshold:g}, error bound {slack:.1e}"
        if rival_cause is not None:
            return f"hangs on an overlapping box that is open itself: {rival_cause}"
        scores = self.reference.scores
        return (
            f"scores {scores[index]:.9g} and {scores[rival]:.9g} of overlapping boxes may change "
            f"order, error bound {self.score_bound:.1e}"
        )


def _iou_with_slack(box: Array, boxes: Array, shift: float) -> tuple[Array, Array]:
    """IoU of a box with others, and how far it moves when every coordinate moves by ``shift`` px.

    First order in ``shift``: the intersection changes by at most 2 * shift * (its width + height),
    an area by 2 * shift * (width + height), and IoU = I / (A + B - I).
    """
    ious = pairwise_iou(box[None], boxes)[0]
    width = np.maximum(np.minimum(box[2], boxes[:, 2]) - np.maximum(box[0], boxes[:, 0]), 0)
    height = np.maximum(np.minimum(box[3], boxes[:, 3]) - np.maximum(box[1], boxes[:, 1]), 0)
    area = (box[2] - box[0]) * (box[3] - box[1])
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    union = area + areas - width * height
    area_change = 2 * shift * (box[2] - box[0] + box[3] - box[1])
    areas_change = 2 * shift * (boxes[:, 2] - boxes[:, 0] + boxes[:, 3] - boxes[:, 1])
    inner_change = 2 * shift * (width + height + 2 * shift)
    total_change = area_change + areas_change + inner_change
    with np.errstate(divide="ignore", invalid="ignore"):
        slack = (inner_change + ious * total_change) / np.maximum(union - total_change, 0)
    return ious, np.nan_to_num(slack, nan=np.inf)
