"""The boxes of both pipelines on one picture, for a report that shows them over each other."""

from collections.abc import Collection
from typing import Any

from onnxproof.contract import ClassInfo
from onnxproof.runtime.readings.boxes import Detections
from onnxproof.runtime.readings.masks import Instances
from onnxproof.runtime.readings.points import Poses
from onnxproof.runtime.tasks.task import class_name
from onnxproof.validate.sight.differences import Difference
from onnxproof.validate.sight.facts import SeenBox, SeenPicture

MOST_BOXES = 100
"""How many boxes of each pipeline are kept of a picture, the best scores first."""

STRAIGHT = 4
"""Numbers of a box that is not oriented. Others are not shown."""

DIGITS = 2
"""Decimals of a pixel that are kept."""


def seen_boxes(
    name: str,
    size: tuple[int, int],
    wanted: Any,
    found: Any,
    differences: Collection[Difference],
    classes: tuple[ClassInfo, ...],
) -> SeenPicture | None:
    """Both pipelines' boxes on a picture of ``size`` (width, height); None if they decide no boxes."""
    own, ours = (_detections(decisions) for decisions in (wanted, found))
    if own is None or ours is None:
        return None
    kinds = {difference.key: difference.kind for difference in differences}
    return SeenPicture(
        name,
        *size,
        tuple(_box(own, at, kinds.get(("own", at), ""), classes) for at in range(min(len(own), MOST_BOXES))),
        tuple(
            _box(ours, at, kinds.get(("box", int(ours.labels[at]), *ours.boxes[at].tolist()), ""), classes)
            for at in range(min(len(ours), MOST_BOXES))
        ),
    )


def _detections(decisions: Any) -> Detections | None:
    if isinstance(decisions, Instances | Poses):
        return decisions.detections
    straight = isinstance(decisions, Detections) and decisions.boxes.shape[1] == STRAIGHT
    return decisions if straight else None


def _box(found: Detections, at: int, kind: str, classes: tuple[ClassInfo, ...]) -> SeenBox:
    x0, y0, x1, y1 = (round(float(value), DIGITS) for value in found.boxes[at])
    label = class_name(int(found.labels[at]), classes)
    return SeenBox(x0, y0, x1, y1, label, round(float(found.scores[at]), 4), kind)
