"""How a file's decisions on one picture differ from the reference's: how many, and how far the rest moved.

A decision is what a user counts: a detection, the best class of a picture, the presence of a class, the class
of a pixel, a step of a sequence. Unlike validate/compare, nothing is excused as a tie.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from onnxproof.runtime.nms import pairwise_iou
from onnxproof.runtime.oriented import corners_of, pairwise_probiou
from onnxproof.runtime.readings.adjustable import Array
from onnxproof.runtime.readings.boxes import Detections
from onnxproof.runtime.readings.masks import Instances
from onnxproof.runtime.readings.points import Poses
from onnxproof.runtime.tasks.classification import Ranking
from onnxproof.runtime.tasks.multilabel import Labels
from onnxproof.runtime.tasks.segmentation import Segments
from onnxproof.runtime.tasks.sequence import Transcript
from onnxproof.validate.compare.matching import MATCH_IOU, describe, pair_up

BOX, SCORE = "box", "score"
"""What of a kept decision can move: a coordinate in pixels of the file's input, a score in [0, 1]."""


@dataclass(frozen=True, slots=True)
class Drift:
    """What became of one picture's decisions.

    ``decisions`` counts those that either leg took. Of them ``missing`` are the reference's alone, ``extra``
    the file's alone, and ``flipped`` have another class. ``moved`` is how far the kept ones moved at most, by
    what moved: ``BOX`` in pixels, ``SCORE``. ``told`` are the changed ones in words.
    """

    decisions: int
    missing: int = 0
    extra: int = 0
    flipped: int = 0
    moved: Mapping[str, float] = field(default_factory=dict)
    told: tuple[str, ...] = ()


def of_detections(wanted: Detections, found: Detections) -> Drift:
    """Detections of one class are the same if their boxes overlap by MATCH_IOU; the best overlap first."""
    return _of_boxes(wanted, found, pairwise_iou(_wide(wanted.boxes), _wide(found.boxes)), _wide)


def of_oriented(wanted: Detections, found: Detections) -> Drift:
    """The same for oriented boxes, whose corners move."""
    overlap = pairwise_probiou(_wide(wanted.boxes), _wide(found.boxes))
    return _of_boxes(wanted, found, overlap, lambda boxes: corners_of(_wide(boxes)))


def of_ranking(wanted: Ranking, found: Ranking) -> Drift:
    """One decision: the best class. Its score is its probability."""
    ours, theirs = int(wanted.labels[0]), int(found.labels[0])
    moved = abs(float(wanted.probabilities[ours]) - float(found.probabilities[ours]))
    if ours == theirs:
        return Drift(1, moved={SCORE: moved})
    return Drift(1, flipped=1, told=(f"class {ours}, now class {theirs}: its score moved by {moved:.3g}",))


def of_labels(wanted: Labels, found: Labels) -> Drift:
    """One decision for each class: whether it is there."""
    ours, theirs = set(wanted.labels.tolist()), set(found.labels.tolist())
    apart = np.abs(_wide(wanted.probabilities) - _wide(found.probabilities))
    kept = np.ones(len(apart), bool)
    kept[sorted(ours ^ theirs)] = False
    return Drift(
        len(apart),
        missing=len(ours - theirs),
        extra=len(theirs - ours),
        moved={SCORE: _largest(apart[kept])},
        told=tuple(f"class {label} {'missing' if label in ours else 'extra'}" for label in ours ^ theirs),
    )


def of_segments(wanted: Segments, found: Segments) -> Drift:
    """One decision for each pixel: its class."""
    flipped = int((wanted.labels != found.labels).sum())
    told = (f"{flipped} of {wanted.labels.size} pixels have another class",) if flipped else ()
    return Drift(wanted.labels.size, flipped=flipped, told=told)


def of_steps(wanted: Transcript, found: Transcript) -> Drift:
    """One decision: what is read, as a whole. A step that is lost moves all that follow."""
    if np.array_equal(wanted.labels, found.labels):
        return Drift(1)
    return Drift(1, flipped=1, told=(f"{wanted.labels.tolist()}, now {found.labels.tolist()}",))


def drift_of(wanted: Any, found: Any, task: str) -> Drift:
    """How a file's decisions on one picture differ from the reference's. ``task`` is one of ``TASKS``."""
    return TASKS[task](wanted, found)


def _of_boxes(wanted: Detections, found: Detections, ious: Array, places: Callable[[Array], Array]) -> Drift:
    near = np.nan_to_num(ious, nan=0.0) >= MATCH_IOU
    same = wanted.labels[:, None] == found.labels
    pairs = pair_up(-ious, near & same)
    left = near & ~same
    left[[i for i, _ in pairs]] = False
    left[:, [j for _, j in pairs]] = False
    flips = pair_up(-ious, left)
    lost = sorted(set(range(len(wanted))) - {i for i, _ in (*pairs, *flips)})
    new = sorted(set(range(len(found))) - {j for _, j in (*pairs, *flips)})
    ours, theirs = [i for i, _ in pairs], [j for _, j in pairs]
    return Drift(
        decisions=len(wanted) + len(new),
        missing=len(lost),
        extra=len(new),
        flipped=len(flips),
        moved={
            BOX: _largest(np.abs(places(wanted.boxes[ours]) - places(found.boxes[theirs]))),
            SCORE: _largest(np.abs(_wide(wanted.scores[ours]) - _wide(found.scores[theirs]))),
        }
        if pairs
        else {},
        told=(
            *(f"{describe('flipped', wanted, i)}; now class {found.labels[j]}" for i, j in flips),
            *(describe("missing", wanted, i) for i in lost),
            *(describe("extra", found, j) for j in new),
        ),
    )


def _of_poses(wanted: Poses, found: Poses) -> Drift:
    return of_detections(wanted.detections, found.detections)


def _of_instances(wanted: Instances, found: Instances) -> Drift:
    return of_detections(wanted.detections, found.detections)


def _wide(values: Array) -> Array:
    return values.astype(np.float64)


def _largest(values: Array) -> float:
    """The largest value; NaN counts as infinite."""
    return float(np.max(np.nan_to_num(values, nan=np.inf), initial=0.0))


TASKS: Mapping[str, Callable[[Any, Any], Drift]] = MappingProxyType(
    {
        "detection": of_detections,
        "oriented_detection": of_oriented,
        "instance_segmentation": _of_instances,
        "keypoints": _of_poses,
        "classification": of_ranking,
        "multilabel": of_labels,
        "segmentation": of_segments,
        "sequence": of_steps,
    }
)
"""The tasks whose decisions are counted. Masks and points of an instance go with its box."""

DEPENDENT = frozenset({"segmentation"})
"""Tasks whose decisions on a picture depend on each other so much that their number proves nothing: the share
itself is held to the budget, without a bound."""
