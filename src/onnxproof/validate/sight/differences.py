"""The decisions that two pipelines take otherwise on one picture, as people would tell them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxproof.runtime.nms import pairwise_iou
from onnxproof.runtime.oriented import polygon_iou
from onnxproof.runtime.readings.boxes import Detections
from onnxproof.runtime.readings.masks import Instances, Patch, crop
from onnxproof.runtime.readings.points import Poses
from onnxproof.runtime.tasks.classification import Ranking
from onnxproof.runtime.tasks.depth import DepthMap
from onnxproof.runtime.tasks.multilabel import Labels
from onnxproof.runtime.tasks.panoptic import Panorama
from onnxproof.runtime.tasks.segmentation import Segments
from onnxproof.validate.compare.matching import MATCH_IOU, pair_up
from onnxproof.validate.compare.turned import corner_distances

MASK_SHARE = 0.01
"""The share of two masks' union that may differ: pixels at their edges, whose probability is near the
threshold."""

NEXT_TO = 1.0
"""px. Two boxes whose numbers differ by no more are one. The picture's edge leaves some boxes no area, and so
no IoU.
"""

ORIENTED = 5
"""Numbers of an oriented box."""

RANGE_SHARE = 1e-3
"""The share of a map's range by which its values may differ: float32's error in the network and in the cubic
interpolation to the picture's pixels."""

PIXEL_SHARE = 1e-3
"""The share of a picture's pixels whose class may differ: those in which two classes score alike."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One decision that differs.

    ``kind`` is a key of KINDS. ``key`` says which decision it is: the place of the framework's decision, or
    what we decided and the framework did not. ``amount`` is how far it differs, in ``unit``.
    """

    kind: str
    key: tuple[Any, ...]
    amount: float = 0.0
    unit: str = ""

    def is_in(self, others: Iterable["Difference"]) -> bool:
        """Whether the same decision is among others, whichever way it differs there."""
        return any(_same(self.key, other.key) for other in others)


KINDS: Mapping[str, tuple[str, str]] = {
    "moved": ("box moved", "boxes moved"),
    "scored": ("score differs", "scores differ"),
    "missing": ("detection missing", "detections missing"),
    "extra": ("detection too many", "detections too many"),
    "mask": ("mask differs", "masks differ"),
    "points": ("object's points moved", "objects' points moved"),
    "shown": ("point shown or hidden otherwise", "points shown or hidden otherwise"),
    "ranked": ("picture ranked otherwise", "pictures ranked otherwise"),
    "unlabelled": ("label missing", "labels missing"),
    "labelled": ("label too many", "labels too many"),
    "pixels": ("picture segmented otherwise", "pictures segmented otherwise"),
    "values": ("map differs", "maps differ"),
}
"""How many of a kind there are, in words: of one, and of several."""


def in_words(differences: Sequence[Difference]) -> str:
    """ "12 boxes moved by up to 3.1 px, 1 detection missing"."""
    parts = []
    for kind, (one, several) in KINDS.items():
        own = [difference for difference in differences if difference.kind == kind]
        if not own:
            continue
        most = max(own, key=lambda difference: difference.amount)
        by = "" if not most.amount else f" by {'up to ' if len(own) > 1 else ''}{_number(most.amount)}"
        parts.append(f"{len(own)} {one if len(own) == 1 else several}{by}{most.unit and f' {most.unit}'}")
    return ", ".join(parts)


def _number(amount: float) -> str:
    return f"{amount:.2g}" if amount < 100 else f"{amount:.0f}"


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far float error alone may part two decisions: boxes in pixels of the picture, and scores.

    ``edge`` is how many pixels of the picture lie between the pixels in which the framework decides masks: a
    mask's edge may be that far off.
    """

    box: float
    score: float
    edge: int = 0


Differ = Callable[[Any, Any, Tolerance], tuple[Difference, ...]]
"""Compares the framework's decisions with ours."""


def _boxes(wanted: Detections, found: Detections, tolerance: Tolerance) -> tuple[Difference, ...]:
    pairs = _pairs(wanted, found, tolerance)
    differences = []
    for i, j in pairs:
        shift = float(np.abs(wanted.boxes[i].astype(np.float64) - found.boxes[j]).max())
        change = abs(float(wanted.scores[i]) - float(found.scores[j]))
        if not shift <= tolerance.box:
            differences.append(Difference("moved", ("own", i), shift, "px"))
        elif not change <= tolerance.score:
            differences.append(Difference("scored", ("own", i), change))
    return (*differences, *_unpaired(wanted, found, pairs))


def _unpaired(
    wanted: Detections, found: Detections, pairs: Sequence[tuple[int, int]]
) -> Iterator[Difference]:
    """The boxes of either side that are in no pair."""
    for i in sorted(set(range(len(wanted))) - {i for i, _ in pairs}):
        yield Difference("missing", ("own", i))
    for j in sorted(set(range(len(found))) - {j for _, j in pairs}):
        yield Difference("extra", ("box", int(found.labels[j]), *found.boxes[j].tolist()))


def _pairs(wanted: Detections, found: Detections, tolerance: Tolerance) -> tuple[tuple[int, int], ...]:
    """The boxes of one object. A box that the picture's edge leaves no area has no IoU, but a place."""
    theirs, ours = (detections.boxes.astype(np.float64) for detections in (wanted, found))
    ious = pairwise_iou(theirs, ours)
    shifts = np.abs(theirs[:, None] - ours).max(axis=-1)
    near = (ious >= MATCH_IOU) | (shifts <= tolerance.box)
    return pair_up(shifts, near & (wanted.labels[:, None] == found.labels))


def _instances(wanted: Instances, found: Instances, tolerance: Tolerance) -> tuple[Difference, ...]:
    boxes = _boxes(wanted.detections, found.detections, tolerance)
    told = {difference.key for difference in boxes}
    ours, theirs = found.regions(), wanted.regions()
    masks = []
    for i, j in _pairs(wanted.detections, found.detections, tolerance):
        share = _apart(theirs[i], ours[j], tolerance.edge)
        if ("own", i) not in told and not share <= MASK_SHARE:
            masks.append(Difference("mask", ("own", i), share, "of their pixels"))
    return (*boxes, *masks)


def _apart(one: Patch, other: Patch, edge: int = 0) -> float:
    """The share of two regions' union that is in one of them only.

    Not counted is what lies within ``edge`` px of the other, and what is no wider than ``edge`` px: a pixel
    of the framework's mask that is one by little.
    """
    (rows, columns), (others, across) = one.pixels.shape, other.pixels.shape
    top, left = min(one.top, other.top), min(one.left, other.left)
    bottom = max(one.top + rows, other.top + others)
    right = max(one.left + columns, other.left + across)
    whole = np.zeros((2, bottom - top, right - left), bool)
    for canvas, region in zip(whole, (one, other), strict=True):
        height, width = region.pixels.shape
        canvas[region.top - top :, region.left - left :][:height, :width] = region.pixels
    union = np.count_nonzero(whole.any(axis=0))
    grown = [_grown(mask, edge) for mask in whole]
    only = (whole[0] & ~grown[1]) | (whole[1] & ~grown[0])
    only = ~_grown(~only, -(-edge // 2))
    return float(np.count_nonzero(only) / union) if union else 0.0


def _grown(mask: NDArray[np.bool_], by: int) -> NDArray[np.bool_]:
    """The pixels of a mask and those at most so many pixels beside it."""
    for _ in range(by):
        wide = np.pad(mask, 1)
        mask = wide[1:-1, :-2] | wide[1:-1, 1:-1] | wide[1:-1, 2:]
        wide = np.pad(mask, 1)
        mask = wide[:-2, 1:-1] | wide[1:-1, 1:-1] | wide[2:, 1:-1]
    return mask


def _poses(wanted: Poses, found: Poses, tolerance: Tolerance) -> tuple[Difference, ...]:
    boxes = _boxes(wanted.detections, found.detections, tolerance)
    told = {difference.key for difference in boxes}
    points = []
    for i, j in _pairs(wanted.detections, found.detections, tolerance):
        if ("own", i) in told:
            continue
        theirs, ours = wanted.points[i].astype(np.float64), found.points[j].astype(np.float64)
        seen, here = theirs[:, 2] > wanted.threshold, ours[:, 2] > found.threshold
        shift = float(np.abs(theirs - ours)[seen & here, :2].max(initial=0))
        flipped = (seen != here) & ~(np.abs(theirs[:, 2] - ours[:, 2]) <= tolerance.score)
        if not shift <= tolerance.box:
            points.append(Difference("points", ("own", i), shift, "px"))
        elif flipped.any():
            points.append(Difference("shown", ("own", i), float(flipped.sum())))
    return (*boxes, *points)


def _turned(wanted: Detections, found: Detections, tolerance: Tolerance) -> tuple[Difference, ...]:
    """Of oriented boxes. A corner moves by what the centre and half of a side move."""
    limit = 2 * tolerance.box
    shifts = corner_distances(wanted.boxes, found.boxes)
    near = (polygon_iou(wanted.boxes, found.boxes) >= MATCH_IOU) | (shifts <= limit)
    pairs = pair_up(shifts, near & (wanted.labels[:, None] == found.labels))
    differences = []
    for i, j in pairs:
        change = abs(float(wanted.scores[i]) - float(found.scores[j]))
        if not shifts[i, j] <= limit:
            differences.append(Difference("moved", ("own", i), float(shifts[i, j]), "px"))
        elif not change <= tolerance.score:
            differences.append(Difference("scored", ("own", i), change))
    return (*differences, *_unpaired(wanted, found, pairs))


def _panorama(wanted: Panorama, found: Panorama, tolerance: Tolerance) -> tuple[Difference, ...]:
    theirs, ours = _regions(wanted), _regions(found)
    apart = np.array([[_apart(one, other) for other in ours] for one in theirs]).reshape(
        len(theirs), len(ours)
    )
    labels = [np.array([segment.label for segment in one.segments], np.int64) for one in (wanted, found)]
    pairs = pair_up(apart, (apart <= 1 - MATCH_IOU) & (labels[0][:, None] == labels[1]))
    differences = []
    for i, j in pairs:
        change = abs(wanted.segments[i].score - found.segments[j].score)
        if not apart[i, j] <= MASK_SHARE:
            differences.append(Difference("mask", ("own", i), float(apart[i, j]), "of their pixels"))
        elif not change <= tolerance.score:
            differences.append(Difference("scored", ("own", i), change))
    missing = set(range(len(theirs))) - {i for i, _ in pairs}
    extra = set(range(len(ours))) - {j for _, j in pairs}
    return (
        *differences,
        *(Difference("missing", ("own", i)) for i in sorted(missing)),
        *(
            Difference("extra", ("segment", found.segments[j].label, found.segments[j].query))
            for j in sorted(extra)
        ),
    )


def _regions(panorama: Panorama) -> tuple[Patch, ...]:
    return tuple(crop(panorama.owners == segment.query) for segment in panorama.segments)


def _values(wanted: DepthMap, found: DepthMap, _: Tolerance) -> tuple[Difference, ...]:
    """Of maps. They differ by a share of the range of the framework's values."""
    if wanted.values.shape != found.values.shape:
        return (Difference("values", ("own", 0), 1.0, "of their range"),)
    extent = float(np.nanmax(wanted.values) - np.nanmin(wanted.values)) or 1.0
    share = float(np.nanmax(np.abs(wanted.values.astype(np.float64) - found.values))) / extent
    return () if share <= RANGE_SHARE else (Difference("values", ("own", 0), share, "of their range"),)


def _ranking(wanted: Ranking, found: Ranking, tolerance: Tolerance) -> tuple[Difference, ...]:
    change = float(np.abs(wanted.probabilities.astype(np.float64) - found.probabilities).max())
    if change <= tolerance.score:
        return ()
    same = np.array_equal(wanted.labels, found.labels)
    return (Difference("scored" if same else "ranked", ("own", 0), change),)


def _labels(wanted: Labels, found: Labels, tolerance: Tolerance) -> tuple[Difference, ...]:
    change = np.abs(wanted.probabilities.astype(np.float64) - found.probabilities)
    theirs, ours = set(wanted.labels.tolist()), set(found.labels.tolist())
    differences = []
    for label in np.flatnonzero(~(change <= tolerance.score)).tolist():
        kind = "unlabelled" if label in theirs - ours else "labelled" if label in ours - theirs else "scored"
        differences.append(Difference(kind, ("own", label), float(change[label])))
    return tuple(differences)


def _pixels(wanted: Segments, found: Segments, _: Tolerance) -> tuple[Difference, ...]:
    if wanted.labels.shape != found.labels.shape:
        return (Difference("pixels", ("own", 0), 1.0, "of the pixels"),)
    share = float(np.mean(wanted.labels != found.labels))
    return () if share <= PIXEL_SHARE else (Difference("pixels", ("own", 0), share, "of the pixels"),)


DIFFERS: Mapping[str, Differ] = {
    "detection": _boxes,
    "instance_segmentation": _instances,
    "classification": _ranking,
    "multilabel": _labels,
    "segmentation": _pixels,
    "keypoints": _poses,
    "oriented_detection": _turned,
    "panoptic": _panorama,
    "depth": _values,
}
"""How the decisions of a task are compared. Tasks without an entry are not."""


def _same(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    if one[0] != "box" or other[0] != "box":
        return one == other
    if one[1] != other[1]:
        return False
    here, there = (np.array([key[2:]], np.float64) for key in (one, other))
    if here.shape[1] == ORIENTED:
        return bool(polygon_iou(here, there)[0, 0] >= MATCH_IOU)
    return bool(pairwise_iou(here, there)[0, 0] >= MATCH_IOU or np.abs(here - there).max() <= NEXT_TO)
