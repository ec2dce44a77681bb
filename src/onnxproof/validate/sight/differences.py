"""The decisions that two pipelines take otherwise on one picture, as people would tell them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxproof.runtime.nms import pairwise_iou
from onnxproof.runtime.readings.boxes import Detections
from onnxproof.runtime.readings.masks import Instances, Patch
from onnxproof.runtime.tasks.classification import Ranking
from onnxproof.runtime.tasks.multilabel import Labels
from onnxproof.runtime.tasks.segmentation import Segments
from onnxproof.validate.compare.matching import MATCH_IOU, pair_up

MASK_SHARE = 0.01
"""The share of two masks' union that may differ: pixels at their edges, whose probability is near the
threshold."""

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
    "ranked": ("picture ranked otherwise", "pictures ranked otherwise"),
    "unlabelled": ("label missing", "labels missing"),
    "labelled": ("label too many", "labels too many"),
    "pixels": ("picture segmented otherwise", "pictures segmented otherwise"),
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
    """How far float error alone may part two decisions: boxes in pixels of the picture, and scores."""

    box: float
    score: float


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
    missing = set(range(len(wanted))) - {i for i, _ in pairs}
    extra = set(range(len(found))) - {j for _, j in pairs}
    return (
        *differences,
        *(Difference("missing", ("own", i)) for i in sorted(missing)),
        *(
            Difference("extra", ("box", int(found.labels[j]), *found.boxes[j].tolist()))
            for j in sorted(extra)
        ),
    )


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
        share = _apart(theirs[i], ours[j])
        if ("own", i) not in told and not share <= MASK_SHARE:
            masks.append(Difference("mask", ("own", i), share, "of their pixels"))
    return (*boxes, *masks)


def _apart(one: Patch, other: Patch) -> float:
    """The share of two regions' union that is in one of them only."""
    (rows, columns), (others, across) = one.pixels.shape, other.pixels.shape
    top, left = min(one.top, other.top), min(one.left, other.left)
    bottom = max(one.top + rows, other.top + others)
    right = max(one.left + columns, other.left + across)
    whole = np.zeros((2, bottom - top, right - left), bool)
    for canvas, region in zip(whole, (one, other), strict=True):
        height, width = region.pixels.shape
        canvas[region.top - top :, region.left - left :][:height, :width] = region.pixels
    union = np.count_nonzero(whole.any(axis=0))
    return float(np.count_nonzero(whole[0] != whole[1]) / union) if union else 0.0


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
}
"""How the decisions of a task are compared. Tasks without an entry are not."""


def _same(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    if one[0] != "box" or other[0] != "box":
        return one == other
    if one[1] != other[1]:
        return False
    boxes = (np.array([key[2:]], np.float64) for key in (one, other))
    return bool(pairwise_iou(*boxes)[0, 0] >= MATCH_IOU)
