"""Object detection: boxes with classes and scores, as NMS leaves them.

The outputs come in one of these layouts (``post["decode"]``):

- "packed": one output [b, n, 6] = x0, y0, width, height in pixels, label, score;
- "split": boxes [b, n, 4] (x0, y0, x1, y1 in pixels) and scores [b, n, C];
- "nms": one row for each detection, NMS inside the graph (_rows.py);
- "none" with a "head" in ``post``: a head over anchors (_anchors.py);
- "none": one output [b, n, 5 + C] = centre x, centre y in cells from the cell's corner, log of width
  and height in strides, objectness, class probabilities; cells row by row, strides in order.

The decoding of the last is YOLOX's (Ge et al. 2021, arXiv:2107.08430): centre = (offset + cell) *
stride, size = exp(log size) * stride, score = objectness * class probability.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onnxproof.contract import ClassInfo
from onnxproof.document import Entry
from onnxproof.errors import ModelFileError
from onnxproof.runtime.drawing import draw_boxes
from onnxproof.runtime.preprocess import Transform
from onnxproof.runtime.readings.anchors import AnchorBoxes
from onnxproof.runtime.readings.boxes import PackedBoxes, SplitBoxes
from onnxproof.runtime.readings.cells import CellBoxes
from onnxproof.runtime.readings.rows import RowReading
from onnxproof.runtime.tasks._anchors import ScoredAnchors, candidates
from onnxproof.runtime.tasks._boxes import Candidates, Detections
from onnxproof.runtime.tasks._matching import compare_detections
from onnxproof.runtime.tasks._rows import Rows, compare_rows, rows_from
from onnxproof.runtime.tasks._task import Array, Comparison, class_color, class_name

Reading = PackedBoxes | SplitBoxes | CellBoxes | AnchorBoxes | RowReading

READINGS: Mapping[str, type[Reading]] = {
    "packed": PackedBoxes,
    "split": SplitBoxes,
    "none": CellBoxes,
    "nms": RowReading,
}
"""The layouts by the word under "decode"; "none" beside a "head" is AnchorBoxes."""

Evidence = Candidates | ScoredAnchors | Rows

DEFAULT_THRESHOLD = 0.45
DEFAULT_IOU_THRESHOLD = 0.45
"""The score above which a detection counts, and the IoU above which NMS suppresses, unless the job says
otherwise: as in the tutorials' pipeline."""


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
    # A size that overflows is infinite, as it is in PyTorch and ONNX Runtime; no warning is due.
    with np.errstate(over="ignore", invalid="ignore"):
        centres = (raw[..., :2] + grid[:, :2]) * grid[:, 2:]
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
    summary = "Object detection: boxes with classes and scores, as NMS leaves them."

    def reading(self, entry: Entry) -> Reading:
        table = entry.free_table()
        decode = table.get("decode", Entry(None, f"{entry.key}.decode")).text(tuple(READINGS))
        with entry.naming():
            if decode == "none" and "head" in table:
                return AnchorBoxes.read(entry)
            return READINGS[decode].read(entry)

    def evidence(
        self,
        outputs: Mapping[str, Array],
        sizes: Mapping[str, int],
        post: Mapping[str, Any],
        margins: Mapping[str, Array],
    ) -> tuple[Evidence, ...]:
        if post["decode"] == "nms":
            return (rows_from(outputs, post, margins),)
        if "head" in post:
            return candidates(outputs, sizes, post)
        if post["decode"] == "packed":
            return _from_packed(outputs[post["outputs"][0]], margins.get("label"))
        if post["decode"] == "split":
            boxes, scores = (outputs[name] for name in post["outputs"])
        else:
            boxes, scores = decode_raw(
                outputs[post["outputs"][0]], sizes["height"], sizes["width"], tuple(post["strides"])
            )
        return _from_class_scores(boxes, scores)

    def quantities(self, evidence: Evidence) -> Mapping[str, Array]:
        return evidence.quantities()

    def thin(
        self, reference: Evidence, candidate: Evidence, post: Mapping[str, Any]
    ) -> tuple[Evidence, Evidence]:
        return reference.thin(post), candidate.thin(post)

    def decide(self, evidence: Evidence, post: Mapping[str, Any]) -> Detections:
        return evidence.decide(post)

    def differ(self, reference: Detections, candidate: Detections) -> bool:
        return not (
            np.array_equal(reference.indices, candidate.indices)
            and np.array_equal(reference.labels, candidate.labels)
        )

    def count(self, decisions: Detections) -> int:
        return len(decisions)

    def compare(
        self,
        reference: Evidence,
        candidate: Evidence,
        post: Mapping[str, Any],
        bounds: Mapping[str, float],
    ) -> Comparison:
        if isinstance(reference, Rows):
            assert isinstance(candidate, Rows)
            comparison, _ = compare_rows(reference, candidate, post, bounds)
            return comparison
        assert isinstance(reference, Candidates)
        assert isinstance(candidate, Candidates)
        wanted, found = reference.decide(post), candidate.decide(post)
        comparison, _ = compare_detections(reference, wanted, found, post, bounds, candidate=candidate)
        return comparison

    def restore(self, decisions: Detections, transform: Transform) -> Detections:
        boxes = transform.restore(decisions.boxes)
        return Detections(boxes, decisions.scores, decisions.labels, decisions.indices)

    def to_json(
        self,
        decisions: Detections,
        classes: tuple[ClassInfo, ...],
        width: int | None,
        height: int | None,
    ) -> dict[str, Any]:
        """{"boxes"}; without a picture, "box", in shares of its size, is left out."""
        boxes = []
        for box, score, label in zip(decisions.boxes, decisions.scores, decisions.labels, strict=True):
            x0, y0, x1, y1 = (float(value) for value in box)
            shares = {}
            if width is not None and height is not None:
                sides = {
                    "topX": x0 / width,
                    "topY": y0 / height,
                    "bottomX": x1 / width,
                    "bottomY": y1 / height,
                }
                shares = {"box": sides}
            boxes.append(
                {
                    **shares,
                    "box_xyxy": [x0, y0, x1, y1],
                    "label": class_name(int(label), classes),
                    "score": float(score),
                }
            )
        return {"boxes": boxes}

    def lines(self, decisions: Detections, classes: tuple[ClassInfo, ...]) -> tuple[str, ...]:
        rows = [
            f"{class_name(int(label), classes):<16} {score:.3f}  [{x0:.1f}, {y0:.1f}, {x1:.1f}, {y1:.1f}]"
            for (x0, y0, x1, y1), score, label in zip(
                decisions.boxes.tolist(), decisions.scores.tolist(), decisions.labels, strict=True
            )
        ]
        return (f"{len(rows)} detection{'' if len(rows) == 1 else 's'}", *rows)

    def draw(
        self, picture: Image.Image, decisions: Detections, classes: tuple[ClassInfo, ...]
    ) -> Image.Image:
        captions = [
            f"{class_name(int(label), classes)}: {score:.0%}"
            for label, score in zip(decisions.labels, decisions.scores, strict=True)
        ]
        colors = [class_color(int(label), classes) for label in decisions.labels]
        return draw_boxes(picture, decisions.boxes, captions, colors)


TASK = _Detection()


def _from_packed(packed: Array, gaps: Array | None) -> tuple[Candidates, ...]:
    """``packed`` [b, n, 6] and, from PyTorch, the scores' lead over the next class [b, n]."""
    corners, sizes = packed[..., :2], packed[..., 2:4]
    with np.errstate(invalid="ignore"):  # a size that overflowed is infinite, and its corner minus infinity
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
