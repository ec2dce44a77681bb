"""Keypoints: objects with boxes, classes and scores, and the points of each, such as the joints of a person.

The outputs are those of ``PointReading`` (runtime/readings/points.py), those of ``PaddedPoints`` with NMS in
the graph (runtime/readings/carried.py), or the rows of ``KeypointRows`` (runtime/readings/chosen_rows.py).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from onnxproof.contract import ClassInfo
from onnxproof.document import Entry
from onnxproof.runtime.drawing import draw_boxes, draw_points
from onnxproof.runtime.preprocess import Transform
from onnxproof.runtime.readings.adjustable import Array
from onnxproof.runtime.readings.carried import PaddedPoints, PointRows, point_rows
from onnxproof.runtime.readings.chosen_rows import KeypointRows, pointed_above
from onnxproof.runtime.readings.instances import DECODE as SPLIT
from onnxproof.runtime.readings.instances import Chosen
from onnxproof.runtime.readings.points import (
    PointEvidence,
    PointReading,
    Poses,
    chosen_points,
    evidence_of,
    poses_of,
)
from onnxproof.runtime.tasks.detection import box_lines, captions_of
from onnxproof.runtime.tasks.task import class_name

LABELLED_VISIBLE, NOT_SEEN = 2, 0
"""COCO's ``v`` of a point that is visible, and of one that is not (cocodataset.org, "Data format")."""

Reading = PointReading | PaddedPoints | KeypointRows

READINGS: Mapping[str, type[Reading]] = {
    SPLIT: PointReading,
    PaddedPoints.decode: PaddedPoints,
    KeypointRows.decode: KeypointRows,
}
"""The layout for each value of "decode"."""

Evidence = PointEvidence | PointRows | Chosen


def candidates_of(evidence: PointEvidence | Chosen, reading: Reading) -> Chosen:
    """The candidates that score half of the threshold or more, with their points."""
    if isinstance(evidence, Chosen):
        return pointed_above(evidence, reading.score_threshold / 2)
    assert isinstance(reading, PointReading)
    return chosen_points(evidence, reading)


class _Keypoints:
    name = "keypoints"
    decides = True
    needs_all = False
    summary = "Keypoints: objects with boxes, classes and scores, and the points of each that are seen."

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
        if isinstance(reading, PaddedPoints):
            return point_rows(outputs, sizes, reading, margins)
        if isinstance(reading, KeypointRows):
            return reading.pointed(outputs)
        return evidence_of(outputs, reading)

    def decide(self, evidence: Evidence, reading: Reading) -> Poses:
        if isinstance(evidence, PointRows):
            assert isinstance(reading, PaddedPoints)
            return evidence.decide(reading)
        return poses_of(candidates_of(evidence, reading), reading.cuts, reading.point_threshold)

    def restore(self, decisions: Poses, transform: Transform) -> Poses:
        """Boxes and points in the picture's pixels, clipped to the picture."""
        found = decisions.detections
        points = decisions.points.astype(np.float32)
        corners = np.concatenate((points[..., :2], points[..., :2]), axis=-1).reshape(-1, 4)
        points[..., :2] = transform.restore(corners)[:, :2].reshape(points[..., :2].shape)
        return replace(
            decisions, detections=replace(found, boxes=transform.restore(found.boxes)), points=points
        )

    def to_json(
        self,
        decisions: Poses,
        classes: tuple[ClassInfo, ...],
        width: int | None,
        height: int | None,
    ) -> dict[str, Any]:
        """{"objects"}. "keypoints" is as COCO writes it, x, y, v for each point: v is 2 if the point is seen;
        otherwise all three are 0. "visibility" has the network's own probabilities."""
        objects = []
        found = decisions.detections
        for box, score, label, points, seen in zip(
            found.boxes.tolist(),
            found.scores.tolist(),
            found.labels.tolist(),
            decisions.points.tolist(),
            decisions.seen().tolist(),
            strict=True,
        ):
            triples = [
                [x, y, LABELLED_VISIBLE] if visible else [0, 0, NOT_SEEN]
                for (x, y, _), visible in zip(points, seen, strict=True)
            ]
            objects.append(
                {
                    "box_xyxy": box,
                    "label": class_name(label, classes),
                    "score": score,
                    "keypoints": [value for triple in triples for value in triple],
                    "num_keypoints": sum(seen),
                    "visibility": [visibility for _, _, visibility in points],
                }
            )
        return {"objects": objects}

    def lines(self, decisions: Poses, classes: tuple[ClassInfo, ...]) -> tuple[str, ...]:
        found = decisions.detections
        rows = [
            f"{line}  {sum(seen)} of {len(seen)} points"
            for line, seen in zip(box_lines(found, classes), decisions.seen().tolist(), strict=True)
        ]
        return (f"{len(rows)} object{'' if len(rows) == 1 else 's'}", *rows)

    def draw(self, picture: Image.Image, decisions: Poses, classes: tuple[ClassInfo, ...]) -> Image.Image:
        found = decisions.detections
        captions, colors = captions_of(found, classes)
        points = [of[seen][:, :2] for of, seen in zip(decisions.points, decisions.seen(), strict=True)]
        return draw_points(draw_boxes(picture, found.boxes, captions, colors), points, colors)


TASK = _Keypoints()
