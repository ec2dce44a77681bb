"""Object detection: boxes with classes and scores, as NMS leaves them.

The outputs come in one of the layouts of ``runtime/readings/layouts.py``.
"""

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from PIL import Image

from onnxproof.contract import ClassInfo
from onnxproof.document import Entry
from onnxproof.runtime.drawing import draw_boxes
from onnxproof.runtime.preprocess import Transform
from onnxproof.runtime.readings.adjustable import Array
from onnxproof.runtime.readings.boxes import BOXES, Detections
from onnxproof.runtime.tasks.task import class_color, class_name

if TYPE_CHECKING:  # a file has one layout, and the others take a twelfth of a cold start
    from onnxproof.runtime.readings.layouts import Evidence, Reading

DEFAULT_THRESHOLD = 0.45
DEFAULT_IOU_THRESHOLD = 0.45
"""The score above which a detection counts, and the IoU above which NMS suppresses, if the job gives none.
They are those of the tutorials' pipeline."""


class _Detection:
    name = "detection"
    decides = True
    needs_all = False
    summary = "Object detection: boxes with classes and scores, as NMS leaves them."

    def reading(self, entry: Entry) -> "Reading":
        table = entry.free_table()
        decode = table.get("decode")
        if decode is not None and "nms" not in table and decode.value in tuple(BOXES):
            with entry.naming():
                return BOXES[decode.value].read(entry)
        found: Reading = importlib.import_module("onnxproof.runtime.readings.layouts").read(entry)
        return found

    def evidence(
        self,
        outputs: Mapping[str, Array],
        sizes: Mapping[str, int],
        reading: "Reading",
        margins: Mapping[str, Array],
    ) -> "tuple[Evidence, ...]":
        return reading.evidence(outputs, sizes, margins)

    def decide(self, evidence: "Evidence", reading: "Reading") -> Detections:
        return evidence.decide(reading.cuts)

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
        """{"boxes"}. "box" is in shares of the picture's size; it is left out if there is no picture."""
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
        rows = box_lines(decisions, classes)
        return (f"{len(rows)} detection{'' if len(rows) == 1 else 's'}", *rows)

    def draw(
        self, picture: Image.Image, decisions: Detections, classes: tuple[ClassInfo, ...]
    ) -> Image.Image:
        captions, colors = captions_of(decisions, classes)
        return draw_boxes(picture, decisions.boxes, captions, colors)


TASK = _Detection()


def box_lines(found: Detections, classes: tuple[ClassInfo, ...]) -> list[str]:
    """Each detection as text: class, score, and box in pixels."""
    return [
        f"{class_name(label, classes):<16} {score:.3f}  [{x0:.1f}, {y0:.1f}, {x1:.1f}, {y1:.1f}]"
        for (x0, y0, x1, y1), score, label in zip(
            found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True
        )
    ]


def captions_of(
    found: Detections, classes: tuple[ClassInfo, ...]
) -> tuple[list[str], list[tuple[int, int, int]]]:
    """What is drawn beside each detection, its class and score, and the colour of its class."""
    labels = found.labels.tolist()
    captions = [
        f"{class_name(label, classes)}: {score:.0%}"
        for label, score in zip(labels, found.scores.tolist(), strict=True)
    ]
    return captions, [class_color(label, classes) for label in labels]
