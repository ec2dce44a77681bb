"""Which decisions on oriented boxes float error leaves open, and how far two such boxes are apart."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from onnxproof.runtime.oriented import corners_of, pairwise_probiou
from onnxproof.runtime.readings.adjustable import Array
from onnxproof.runtime.readings.boxes import Candidates, Cuts
from onnxproof.validate.compare.comparer import as_compared, error_bound, exact
from onnxproof.validate.compare.margins import below_threshold

SAFETY = 2.0
"""How many times the first-order move of an overlap is allowed for, since overlaps are no straight lines."""

NUDGE = 1e-5
"""px and radians. How fast an overlap moves with a box is taken from a move of this size."""


OVERLAP_ROUNDINGS = 32
"""The largest rounding error of a probabilistic IoU in float32, in units of half a relative precision by
2 (1 - IoU), which is how steep the IoU is in the distance. Measured to be 13 at most where determinants are
summed (tests/unit/export/test_oriented_suppression.py)."""

CANCELLED = 4
"""The same where determinants are differences, as in Ultralytics' export: in units of half a relative
precision by the square of the boxes' longest side in shares of the shortest."""


def oriented_quantities(boxes: Array) -> Mapping[str, Array]:
    """The numbers of boxes [n, 5] that errors are measured in: centres and sides in pixels, and angles."""
    return {"box": boxes[:, :4], "angle": boxes[:, 4]}


def corner_distances(first: Array, second: Array) -> Array:
    """How far the corners of every two boxes are apart, px [n, m]: the largest difference of a coordinate.

    A box turned by pi, or by pi / 2 with its sides exchanged, is the same: of the ways to pair the corners in
    their order the best counts.
    """
    here, there = corners_of(first.astype(np.float64)), corners_of(second.astype(np.float64))
    best = np.full((len(here), len(there)), np.inf)
    for turn in range(4):
        shifted = np.roll(there, turn, axis=1)
        worst = np.zeros_like(best)
        for corner in range(4):
            for axis in range(2):
                moved = np.abs(np.subtract.outer(here[:, corner, axis], shifted[:, corner, axis]))
                np.maximum(worst, np.where(np.isnan(moved), np.inf, moved), out=worst)
        np.minimum(best, worst, out=best)
    return best


def corner_limits(boxes: Array, bounds: Mapping[str, float]) -> Array:
    """How far float error can have moved a corner of each box, px [n].

    The centre moves by up to the bound of "box" along each axis, half a side by half of it, along both sides;
    a turn by the bound of "angle" moves a corner by that much of half the diagonal.
    """
    reach = np.hypot(boxes[:, 2].astype(np.float64), boxes[:, 3]) / 2
    limits: Array = 2 * bounds["box"] + bounds["angle"] * reach
    return limits


class OpenBoxes:
    """Which of the reference's candidates may be kept or dropped within float error, and why.

    A candidate is dropped by any better one that overlaps it enough, kept or not. So each is decided alone.
    ``in_float32`` says that a file has compared overlaps that it computed in float32, and not NumPy.
    """

    def __init__(
        self, reference: Candidates, cuts: Cuts, bounds: Mapping[str, float], *, in_float32: bool = False
    ) -> None:
        self._reference, self._cuts, self._bounds = reference, cuts, bounds
        self._in_float32 = in_float32
        self._scores = reference.scores.astype(np.float64)
        self._boxes = reference.boxes.astype(np.float64)
        self._threshold = as_compared(cuts.score_threshold, reference.scores)
        self._score = bounds["score"]
        self._causes: dict[int, str] = {}
        self._run()

    def open(self, index: int) -> str | None:
        """Why the candidate is open. Returns None if it is certain to be kept or to be dropped."""
        return self._causes.get(index)

    def below(self, score: float) -> str | None:
        """Why a row of this score should not be there. Returns None if it may."""
        return below_threshold(score, self._cuts.score_threshold, self._threshold, self._score)

    def overlaps_one(self, index: int, others: NDArray[np.int64]) -> bool:
        """Whether one of the ``others`` that scores no less surely suppresses the candidate."""
        threshold = self._cuts.iou_threshold
        if threshold is None:
            return False
        labels = self._reference.labels
        others = others[(self._scores[others] >= self._scores[index]) & (others != index)]
        others = others[self._cuts.class_agnostic | (labels[others] == labels[index])]
        overlaps, slack = self._overlaps(index, others)
        return bool((overlaps > threshold + slack).any())

    def class_open(self, index: int) -> str | None:
        """Why the candidate's class is open. Returns None if it is certain."""
        gaps = self._reference.gaps
        if gaps is None or gaps[index] > 2 * self._score:
            return None
        return (
            f"score {exact(self._scores[index])} of class {self._reference.labels[index]} leads the "
            f"runner-up by {gaps[index]:.3g}, {error_bound(self._score, each=True)}"
        )

    def may_flip(self, indices: Array) -> NDArray[np.bool_]:
        """Whether the class of each of the candidates is open, bool [len(indices)]."""
        return np.array([self.class_open(index) is not None for index in indices.tolist()], bool)

    def _run(self) -> None:
        possible = np.flatnonzero(self._scores > self._threshold - self._score)
        order = possible[np.argsort(-self._scores[possible], kind="stable")]
        kept: list[int] = []
        for index in order.tolist():
            dropped, cause = self._suppressed(index, order)
            if dropped:
                continue
            if cause is None and not self._scores[index] > self._threshold + self._score:
                cause = (
                    f"score {exact(self._scores[index])} against threshold "
                    f"{exact(self._cuts.score_threshold)}, {error_bound(self._score)}"
                )
            if cause is not None:
                self._causes[index] = cause
            kept.append(index)
        self._cut(kept)

    def _suppressed(self, index: int, order: NDArray[np.int64]) -> tuple[bool, str | None]:
        """Whether the candidate is certainly suppressed; if not, why that is open, or None."""
        threshold = self._cuts.iou_threshold
        if threshold is None:
            return False, None
        scores = self._scores
        rivals = order[(scores[order] >= scores[index] - 2 * self._score) & (order != index)]
        same = self._reference.labels[rivals] == self._reference.labels[index]
        surely = same.copy()
        gaps = self._reference.gaps
        if self._cuts.class_agnostic:
            same, surely = np.ones_like(same), np.ones_like(same)
        elif gaps is not None:
            unsure = (gaps[rivals] <= 2 * self._score) | (gaps[index] <= 2 * self._score)
            same, surely = same | unsure, surely & ~unsure
        rivals, surely = rivals[same], surely[same]
        if not len(rivals):
            return False, None
        overlaps, slack = self._overlaps(index, rivals)
        ahead = scores[rivals] > scores[index] + 2 * self._score
        if (surely & ahead & (overlaps > threshold + slack)).any():
            return True, None
        may = np.flatnonzero(overlaps > threshold - slack)
        if not len(may):
            return False, None
        k = int(may[0])
        if abs(overlaps[k] - threshold) <= slack[k]:
            return False, (
                f"overlap {exact(overlaps[k])} against threshold {exact(threshold)}, {error_bound(slack[k])}"
            )
        if not ahead[k]:
            return False, (
                f"scores {exact(scores[index])} and {exact(scores[rivals[k]])} of overlapping boxes may "
                f"change order, {error_bound(self._score, each=True)}"
            )
        flips = self.class_open(index) or self.class_open(int(rivals[k])) or ""
        return False, f"overlapping boxes may be of one class or of two: {flips}"

    def _overlaps(self, index: int, rivals: NDArray[np.int64]) -> tuple[Array, Array]:
        """The probabilistic IoU of a candidate with others, and how far float error can move it."""
        box, others = self._boxes[index, None], self._boxes[rivals]
        overlaps = pairwise_probiou(box, others)[0]
        slack = np.zeros(len(rivals))
        for k in range(5):
            bound = self._bounds["box"] if k < 4 else self._bounds["angle"]
            step = np.zeros(5)
            step[k] = NUDGE
            for low, high in (
                (pairwise_probiou(box - step, others)[0], pairwise_probiou(box + step, others)[0]),
                (pairwise_probiou(box, others - step)[0], pairwise_probiou(box, others + step)[0]),
            ):
                slack += np.abs(high - low) / (2 * NUDGE) * bound
        slack *= SAFETY
        if self._in_float32:
            slack += _rounding(box, others, overlaps)
        return np.nan_to_num(overlaps, nan=0.0), np.nan_to_num(slack, nan=np.inf)

    def _cut(self, kept: list[int]) -> None:
        """Take into account that only the best count. ``kept`` may be kept, the best score first."""
        most = self._cuts.max_detections
        if most is None or len(kept) <= most:
            return
        scores = self._scores[kept]
        certain = np.array([index not in self._causes for index in kept])
        edge = scores[most - 1]
        for place, index in enumerate(kept):
            ahead = int(np.count_nonzero(certain & (scores > scores[place] + 2 * self._score)))
            may = int(np.count_nonzero(scores >= scores[place] - 2 * self._score)) - 1
            if ahead >= most:
                self._causes.pop(index, None)
            elif may >= most and index not in self._causes:
                self._causes[index] = (
                    f"score {exact(scores[place])} against {exact(edge)} at the cut after the best {most}, "
                    f"{error_bound(self._score, each=True)}"
                )


def _rounding(box: Array, others: Array, overlaps: Array) -> Array:
    """How far float32's rounding can move the overlaps of a box [1, 5] with others [n, 5]."""
    half = float(np.finfo(np.float32).eps) / 2
    sides = [np.abs(boxes[:, 2:4]) for boxes in (box, others)]
    with np.errstate(divide="ignore", invalid="ignore"):
        slender = np.maximum(*(of.max(axis=1) / of.min(axis=1) for of in sides))
        rounding: Array = half * (OVERLAP_ROUNDINGS / (2 * (1 - overlaps)) + CANCELLED * slender**2)
    return rounding
