"""Which boxes and scores of two legs are within the error bounds of each other."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from onnxproof.runtime.readings.adjustable import Array
from onnxproof.runtime.readings.boxes import Candidates, Detections


def apart(a: Array, b: Array) -> Array:
    """|a - b| in float64. It is 0 if both are the same infinity or both are NaN."""
    with np.errstate(invalid="ignore"):
        distance = np.abs(np.subtract(a, b, dtype=np.float64))
    return np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0, distance)


def nearness(wanted: Detections, found: Detections, bounds: Mapping[str, float]) -> tuple[Array, Array]:
    """How far each two boxes are apart, and whether their boxes and scores are within the bounds.

    Both are [len(wanted), len(found)]. The distance is the largest difference of a coordinate, px.
    """
    shifts = np.zeros((len(wanted), len(found)))
    for k in range(4):
        np.maximum(shifts, apart(wanted.boxes[:, k, None], found.boxes[:, k]), out=shifts)
    changes = apart(wanted.scores[:, None], found.scores)
    return shifts, (shifts <= bounds["box"]) & (changes <= bounds["score"])


def candidates_near(
    candidates: Candidates, detections: Detections, i: int, bounds: Mapping[str, float]
) -> NDArray[np.bool_]:
    """Whether the box and the score of each candidate are within the bounds of detection ``i``, bool [n]."""
    shifts = apart(candidates.boxes, detections.boxes[i]).max(axis=-1, initial=0)
    changes = apart(candidates.scores, detections.scores[i])
    near: NDArray[np.bool_] = (shifts <= bounds["box"]) & (changes <= bounds["score"])
    return near
