"""How close the reference's decisions were: the least margin, and how many margins are small.

A margin is how far every number of a quantity (a score, a coordinate) has to move before a decision flips.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from onnxproof.runtime.nms import pairwise_iou
from onnxproof.runtime.readings.adjustable import Array
from onnxproof.runtime.readings.boxes import Candidates, Cuts, Detections
from onnxproof.validate.compare.margins import BLOCK, iou_with_slack
from onnxproof.validate.facts import NEAR, Closest

BINS_PER_OCTAVE = 4
"""Margins are counted in bins of this many a factor of two, so that the share of small ones can be told when
the unit is known."""

ZERO = -(10**6)
"""The bin of margins that are 0."""

NUDGE = 1e-6
"""px. How fast an IoU moves with the corners is taken from a move of this size."""

Place = tuple[str, int]
"""The name of a case and the index of the picture in its batch."""


@dataclass(slots=True)
class MarginPool:
    """The margins of one quantity over all pictures. Adding and merging commute.

    ``least`` is the least margin that is not 0, and ``places`` are where it is. Where two numbers are equal
    the margin is 0: these are counted in their bin.
    """

    count: int = 0
    bins: dict[int, int] = field(default_factory=dict)
    least: float = math.inf
    places: set[Place] = field(default_factory=set)

    def add(self, place: Place, margins: Array) -> None:
        """Add one picture's margins. Those that no move can reach are infinite, and are left out."""
        values = np.abs(np.asarray(margins, np.float64).reshape(-1))
        values = values[np.isfinite(values)]
        if not len(values):
            return
        with np.errstate(divide="ignore"):
            numbers = np.where(values > 0, np.floor(BINS_PER_OCTAVE * np.log2(values)), ZERO).astype(np.int64)
        for number, count in zip(*np.unique(numbers, return_counts=True), strict=True):
            self.bins[int(number)] = self.bins.get(int(number), 0) + int(count)
        self.count += len(values)
        self._least(float(values.min(where=values > 0, initial=math.inf)), {place})

    def merge(self, other: Self) -> None:
        """Add another pool of the same quantity."""
        self.count += other.count
        for number, count in other.bins.items():
            self.bins[number] = self.bins.get(number, 0) + count
        self._least(other.least, other.places)

    def condense(self) -> None:
        """Of the places with the least margin, keep the first by name."""
        self.places = set(sorted(self.places)[:1])

    @property
    def equal(self) -> int:
        """How many margins are 0."""
        return self.bins.get(ZERO, 0)

    def within(self, limit: float) -> int:
        """How many margins are at most ``limit``, to the width of a bin."""
        if not limit > 0:
            return self.equal
        last = BINS_PER_OCTAVE * math.log2(limit)
        return sum(count for number, count in self.bins.items() if number <= last)

    def _least(self, margin: float, places: Iterable[Place]) -> None:
        if math.isinf(margin):
            return
        if margin < self.least:
            self.least, self.places = margin, set(places)
        elif margin == self.least:
            self.places |= set(places)


def closest_of(
    pools: Mapping[str, MarginPool], units: Mapping[str, float], order: Sequence[str]
) -> Closest | None:
    """The closest call among the quantities, in units of each one's float error. None if there is no margin.

    ``order`` are the cases' names as planned; of equally close calls the first is named. No case is named if
    all calls were between equal numbers.
    """
    known = {name: pool for name, pool in pools.items() if pool.count and units.get(name, 0.0) > 0}
    if not known:
        return None
    name = min(known, key=lambda name: (known[name].least / units[name], name))
    rank = {case: number for number, case in enumerate(order)}
    places = known[name].places or {("", 0)}
    case, picture = min(places, key=lambda place: (rank.get(place[0], len(rank)), place))
    least = known[name].least if known[name].places else 0.0
    return Closest(
        quantity=name,
        margin=least,
        units=least / units[name],
        case=case,
        picture=picture,
        decisions=sum(pool.count for pool in known.values()),
        near=sum(pool.within(NEAR * units[name]) for name, pool in known.items()),
        equal=sum(pool.equal for pool in known.values()),
    )


def margins_of_boxes(candidates: Candidates, kept: Detections, cuts: Cuts) -> Mapping[str, Array]:
    """The margins of what becomes a detection, for each quantity.

    These decisions count:

    - a score against the threshold, if it is at least half of it;
    - the class of a candidate above the threshold against the runner-up;
    - two detections that do not overlap enough to suppress each other;
    - a candidate above the threshold that is suppressed: its overlap with its best suppressor, and that one's
      lead. Another suppressor may be left if that one is lost, so a flip may lie further away than told.

    Cuts to the best few are left out. Without NMS the scores and the classes are all.
    """
    scores = candidates.scores.astype(np.float64)
    margins = [np.abs(scores[scores >= cuts.score_threshold / 2] - cuts.score_threshold)]
    above = scores > cuts.score_threshold
    if candidates.gaps is not None:
        margins.append(candidates.gaps[above].astype(np.float64) / 2)
    if cuts.iou_threshold is None:
        return {"score": np.concatenate(margins)}
    overlaps: list[Array] = []
    above[kept.indices] = False
    lost = np.flatnonzero(above)
    boxes = kept.boxes.astype(np.float64)
    rivals = _may_meet(kept.labels, kept.labels, cuts) & ~np.eye(len(kept), dtype=bool)
    if rivals.any():
        apart = _moves(boxes, boxes, cuts)
        overlaps.append(np.where(rivals, -apart, np.inf).min(axis=1))
    if len(lost) and len(kept):
        apart = _moves(candidates.boxes[lost].astype(np.float64), boxes, cuts)
        ahead = (kept.scores.astype(np.float64)[None] - scores[lost, None]) / 2
        suppresses = _may_meet(candidates.labels[lost], kept.labels, cuts) & (apart > 0) & (ahead >= 0)
        found = np.flatnonzero(suppresses.any(axis=1))
        best = np.where(suppresses, ahead, -np.inf)[found].argmax(axis=1)
        overlaps.append(apart[found, best])
        margins.append(ahead[found, best])
    return {"score": np.concatenate(margins), "box": np.concatenate(overlaps) if overlaps else np.zeros(0)}


def _may_meet(labels: Array, others: Array, cuts: Cuts) -> Array:
    """Whether NMS compares each pair of boxes, bool [n, m]."""
    same: Array = labels[:, None] == others[None]
    return np.ones_like(same) if cuts.class_agnostic else same


def _moves(boxes: Array, others: Array, cuts: Cuts) -> Array:
    """How many px the corners have to move until the IoU is at the threshold, [n, m]. Positive where the IoU
    is above it."""
    threshold = np.inf if cuts.iou_threshold is None else cuts.iou_threshold
    ious = pairwise_iou(boxes, others)
    rows = max(1, BLOCK // max(len(others), 1))
    slack = np.concatenate(
        [
            iou_with_slack(boxes[start : start + rows, None], others[None], NUDGE, 0.0)[1]
            for start in range(0, len(boxes), rows)
        ]
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        moves: Array = np.nan_to_num(
            (ious - threshold) / slack * NUDGE, nan=-np.inf, posinf=np.inf, neginf=-np.inf
        )
    return moves
