"""Boxes with class scores that carry something more: keypoints, an angle, or the coefficients of a mask.

The outputs are boxes [b, n, 4 or 5], scores [b, n, C] in [0, 1], and one with a row for each box. With an
``iou_threshold`` each row has its best class, and NMS follows. Without one, each class of a row is a
candidate that stands for itself, as in sets.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxproof.document import Entry
from onnxproof.runtime.readings.adjustable import Array, setting
from onnxproof.runtime.readings.boxes import Candidates, Cuts, CuttingReading, from_class_scores

COMMON = ("decode", "outputs", "score_threshold")
OPTIONAL = ("iou_threshold", "class_agnostic", "max_detections")

DECODE = "split"
"""The name of the layout."""


@dataclass(frozen=True, slots=True)
class InstanceReading(CuttingReading):
    """The settings of the decisions. ``iou_threshold`` None means that there is no NMS."""

    score_threshold: float
    iou_threshold: float | None = None
    class_agnostic: bool = False
    max_detections: int | None = None

    def settings(self) -> dict[str, float]:
        """The settings that a user may replace; without NMS those of NMS are none."""
        settings = CuttingReading.settings(self)
        if self.iou_threshold is None:
            settings = {name: value for name, value in settings.items() if name not in OPTIONAL}
        return settings

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        most = {} if self.max_detections is None else {"max_detections": self.max_detections}
        suppress = {"iou_threshold": self.iou_threshold, "class_agnostic": self.class_agnostic}
        return {
            "decode": DECODE,
            "outputs": list(self.outputs),
            "score_threshold": self.score_threshold,
            **({} if self.iou_threshold is None else suppress),
            **most,
        }


def cuts_from(keys: Mapping[str, Entry]) -> dict[str, Any]:
    """The fields of ``InstanceReading`` among the entries of a reading, without its outputs."""
    keys["decode"].text((DECODE,))
    return {
        "score_threshold": setting(keys, "score_threshold"),
        "iou_threshold": setting(keys, "iou_threshold") if "iou_threshold" in keys else None,
        "class_agnostic": setting(keys, "class_agnostic") if "class_agnostic" in keys else False,
        "max_detections": keys["max_detections"].whole(1) if "max_detections" in keys else None,
    }


@dataclass(frozen=True, slots=True)
class ScoredBoxes:
    """One picture's boxes [n, 4 or 5] and class scores [n, C], before anything is chosen."""

    boxes: Array
    scores: Array

    def candidates(self, cuts: Cuts) -> tuple[Candidates, NDArray[np.int64]]:
        """The candidates that score half of the threshold or more, and the row of each, int64 [m]."""
        # ">=": with a threshold of 0, a score of 0 may be slightly more in another leg.
        least = cuts.score_threshold / 2
        if cuts.iou_threshold is not None:
            rows = np.flatnonzero(self.scores.max(axis=-1, initial=-np.inf) >= least)
            (candidates,) = from_class_scores(self.boxes[None, rows], self.scores[None, rows])
            return candidates, rows
        rows, labels = np.nonzero(self.scores >= least)
        return Candidates(self.boxes[rows], self.scores[rows, labels], labels, None), rows


@dataclass(frozen=True, slots=True)
class Chosen:
    """One picture's candidates, each with what it carries: ``more`` [m, …]."""

    candidates: Candidates
    more: Array


def scored(outputs: Mapping[str, Array], reading: InstanceReading) -> tuple[ScoredBoxes, ...]:
    """The boxes and scores of each picture of a batch: the reading's first two outputs."""
    boxes, scores = (outputs[name] for name in reading.outputs[:2])
    return tuple(ScoredBoxes(boxes[i], scores[i]) for i in range(len(boxes)))
