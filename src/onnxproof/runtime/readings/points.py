"""Keypoints: the points of each object, and how sure the network is that each can be seen."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from onnxproof.document import Entry
from onnxproof.runtime.readings.adjustable import (
    Array,
    output_names,
    require_form,
    require_scored_boxes,
    setting,
)
from onnxproof.runtime.readings.boxes import Cuts, Detections
from onnxproof.runtime.readings.instances import (
    COMMON,
    OPTIONAL,
    Chosen,
    InstanceReading,
    ScoredBoxes,
    cuts_from,
    scored,
)
from onnxproof.tensors import TensorSpec

POINT_THRESHOLD = 0.5
"""The visibility above which a point counts as seen, if nothing else is said."""


@dataclass(frozen=True, slots=True)
class PointReading(InstanceReading):
    """Boxes [b, n, 4] (x0, y0, x1, y1, px), scores [b, n, C], keypoints [b, n, K, 2 or 3]: x and y in px, and
    the probability that the point is visible. Without the third, every point is.

    A point is seen if its visibility is above ``point_threshold``.
    """

    point_threshold: float = POINT_THRESHOLD

    def require(self, outputs: Mapping[str, TensorSpec]) -> None:
        """See ``Reading``."""
        boxes, scores, points = (outputs[name] for name in self.outputs)
        require_scored_boxes(boxes, scores)
        require_points(points)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {**InstanceReading.to_json(self), "point_threshold": self.point_threshold}

    @classmethod
    def read(cls, entry: Entry) -> Self:
        """The inverse of ``to_json``; ModelFileError for any other object."""
        keys = entry.table((*COMMON, "point_threshold"), OPTIONAL)
        return cls(output_names(keys, 3), **cuts_from(keys), point_threshold=setting(keys, "point_threshold"))


def require_points(points: TensorSpec, rows: int | None = None) -> None:
    """Raise ModelFileError if an output is not [b, ``rows``, K, 2 or 3], with any number of rows for None."""
    last = 2 if len(points.shape) == 4 and points.shape[3] == 2 else 3
    require_form(points, "float", None, rows, None, last)


@dataclass(frozen=True, slots=True)
class PointEvidence:
    """One picture's scored boxes, and the points of each, float [n, K, 2 or 3]."""

    rows: ScoredBoxes
    points: Array


@dataclass(frozen=True, slots=True)
class Poses:
    """Detections, each with its points.

    ``points`` float [m, K, 3]: x, y in pixels, and the visibility (1 if the network has none). A point is
    seen if its visibility is above ``threshold``.
    """

    detections: Detections
    points: Array
    threshold: float

    def __len__(self) -> int:
        return len(self.detections)

    def seen(self) -> NDArray[np.bool_]:
        """Whether each point is seen, bool [m, K]."""
        seen: NDArray[np.bool_] = self.points[..., 2] > self.threshold
        return seen


def evidence_of(outputs: Mapping[str, Array], reading: PointReading) -> tuple[PointEvidence, ...]:
    """The evidence of each picture of a batch."""
    points = outputs[reading.outputs[2]]
    return tuple(PointEvidence(rows, points[i]) for i, rows in enumerate(scored(outputs, reading)))


def chosen_points(evidence: PointEvidence, reading: PointReading) -> Chosen:
    """The candidates with their points [m, K, 2 or 3]."""
    candidates, rows = evidence.rows.candidates(reading.cuts)
    return Chosen(candidates, evidence.points[rows])


def with_visibility(points: Array) -> Array:
    """Points [n, K, 2 or 3] as [n, K, 3]: without a visibility each is 1."""
    if points.shape[-1] == 2:
        points = np.concatenate((points, np.ones_like(points[..., :1])), axis=-1)
    return points


def poses_of(chosen: Chosen, cuts: Cuts, point_threshold: float) -> Poses:
    """The detections among the candidates, with their points."""
    found = chosen.candidates.decide(cuts)
    return Poses(found, with_visibility(chosen.more[found.indices]), point_threshold)
