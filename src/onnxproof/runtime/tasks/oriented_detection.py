"""Oriented detection: boxes that are turned, with classes and scores.

The outputs are those of ``OrientedReading``, those of ``OrientedNms`` with NMS in the graph
(runtime/readings/oriented.py), or the rows of ``OrientedRows`` (runtime/readings/chosen_rows.py).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from onnxproof.contract import ClassInfo
from onnxproof.document import Entry
from onnxproof.runtime.drawing import draw_outlines
from onnxproof.runtime.oriented import boxes_of, corners_of
from onnxproof.runtime.preprocess import Transform
from onnxproof.runtime.readings.adjustable import Array
from onnxproof.runtime.readings.boxes import Candidates, Detections
from onnxproof.runtime.readings.chosen_rows import OrientedRows, oriented_rows
from onnxproof.runtime.readings.instances import DECODE as SPLIT
from onnxproof.runtime.readings.instances import ScoredBoxes, scored
from onnxproof.runtime.readings.oriented import (
    ListedOriented,
    OrientedNms,
    OrientedReading,
    PaddedOriented,
    decide_oriented,
)
from onnxproof.runtime.readings.rows import Rows
from onnxproof.runtime.tasks.detection import captions_of
from onnxproof.runtime.tasks.task import class_name

Reading = OrientedReading | OrientedNms | OrientedRows
Evidence = ScoredBoxes | Rows | Candidates

READINGS: Mapping[str, type[Reading]] = {
    SPLIT: OrientedReading,
    ListedOriented.decode: ListedOriented,
    PaddedOriented.decode: PaddedOriented,
    OrientedRows.decode: OrientedRows,
}
"""The layout for each value of "decode"."""


def candidates_of(evidence: ScoredBoxes | Candidates, reading: Reading) -> Candidates:
    """The candidates that score half of the threshold or more."""
    if isinstance(evidence, Candidates):
        return oriented_rows(evidence, reading.score_threshold / 2)
    return evidence.candidates(reading.cuts)[0]


class _OrientedDetection:
    name = "oriented_detection"
    decides = True
    needs_all = False
    summary = "Oriented detection: boxes that are turned, with classes and scores, as NMS leaves them."

    def reading(self, entry: Entry) -> Reading:
        decode = entry.free_table().get("decode", Entry(None, f"{entry.key}.decode"))
        with entry.naming():
            return READINGS[decode.text(tuple(READINGS))].read(entry)

    def evidence(
        self,
        outputs: Mapping[str, Array],
        sizes: Mapping[str, int],
        reading: Reading,
        margins: Mapping[str, Array],
    ) -> tuple[Evidence, ...]:
        if isinstance(reading, OrientedRows | OrientedNms):
            return reading.evidence(outputs, sizes, margins)
        return scored(outputs, reading)

    def decide(self, evidence: Evidence, reading: Reading) -> Detections:
        """The detections; ``indices`` number the candidates that score half of the threshold or more."""
        if isinstance(evidence, Rows):
            return evidence.decide(reading.cuts)
        return decide_oriented(candidates_of(evidence, reading), reading.cuts)

    def restore(self, decisions: Detections, transform: Transform) -> Detections:
        """Boxes in the picture's pixels. They are not clipped: a box that is cut is none any more."""
        offset = np.array([transform.offset_x, transform.offset_y])
        scale = np.array([transform.scale_x, transform.scale_y])
        corners = (corners_of(decisions.boxes.astype(np.float64)) - offset) / scale
        return replace(decisions, boxes=boxes_of(corners).astype(np.float32))

    def to_json(
        self,
        decisions: Detections,
        classes: tuple[ClassInfo, ...],
        width: int | None,
        height: int | None,
    ) -> dict[str, Any]:
        """{"boxes"}. "corners" are four points x, y in pixels, as DOTA labels boxes; "box_xywhr" is the
        centre, the sides, in pixels, and the angle in radians, clockwise."""
        rows = zip(
            decisions.boxes.tolist(),
            corners_of(decisions.boxes).tolist(),
            decisions.scores.tolist(),
            decisions.labels.tolist(),
            strict=True,
        )
        return {
            "boxes": [
                {
                    "corners": corners,
                    "box_xywhr": box,
                    "label": class_name(label, classes),
                    "score": score,
                }
                for box, corners, score, label in rows
            ]
        }

    def lines(self, decisions: Detections, classes: tuple[ClassInfo, ...]) -> tuple[str, ...]:
        rows = [
            f"{class_name(label, classes):<16} {score:.3f}  at [{x:.1f}, {y:.1f}], {width:.1f} by "
            f"{height:.1f}, {np.degrees(angle):.1f}°"
            for (x, y, width, height, angle), score, label in zip(
                decisions.boxes.tolist(), decisions.scores.tolist(), decisions.labels.tolist(), strict=True
            )
        ]
        return (f"{len(rows)} detection{'' if len(rows) == 1 else 's'}", *rows)

    def draw(
        self, picture: Image.Image, decisions: Detections, classes: tuple[ClassInfo, ...]
    ) -> Image.Image:
        captions, colors = captions_of(decisions, classes)
        return draw_outlines(picture, corners_of(decisions.boxes), captions, colors)


TASK = _OrientedDetection()
