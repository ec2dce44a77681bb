"""Which decisions on boxes float error leaves open, and why."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxproof.runtime.readings.adjustable import Array
from onnxproof.runtime.readings.boxes import Candidates, Cuts, Detections
from onnxproof.validate.compare.comparer import as_compared, error_bound, exact

IOU_ROUNDINGS = 8
"""The largest rounding error of an IoU, in units of relative precision: at most 15 roundings of half a unit
(3 each in the intersection and the areas, 4 in the union at its largest, 1 in the division), rounded up."""

BLOCK = 2**18
"""Pairs of boxes that are looked at at once, to see which are near each other."""

BELOW = "it scores below the threshold by which the graph should decide: "
CHAINED = "depends on an overlapping box that is itself open: "
MOVES_UP = "its rank depends on a better box that is itself open: "


@dataclass(frozen=True, slots=True)
class Overlaps:
    """The rivals of a candidate that may overlap it enough for one to suppress the other.

    ``rivals`` are their positions, ascending, ``ious`` and ``slack`` what ``iou_with_slack`` says of each.
    """

    rivals: Array
    ious: Array
    slack: Array

    def of(self, chosen: Array) -> "Overlaps":
        """Those of the rivals that ``chosen``, bool [rivals], has."""
        return Overlaps(self.rivals[chosen], self.ious[chosen], self.slack[chosen])


class Margins:
    """Which decisions on the reference's candidates float error leaves open, and why.

    This is a greedy NMS in three values: a candidate is certain to be kept, certain to be dropped, or open.
    It is open if one of these holds:

    - its score, or its IoU with a rival, is within the error bound of its threshold;
    - the order of two scores, its rank, or a class may change within the error bounds;
    - it depends on a candidate that is itself open.
    """

    def __init__(self, reference: Candidates, cuts: Cuts, bounds: Mapping[str, float]) -> None:
        self.reference = reference
        self._told_threshold = cuts.score_threshold
        self.score_threshold = as_compared(cuts.score_threshold, reference.scores)
        # Without NMS nothing suppresses anything: no overlap is above infinity.
        self.suppresses = cuts.iou_threshold is not None
        self.iou_threshold = np.inf if cuts.iou_threshold is None else cuts.iou_threshold
        self.class_agnostic = cuts.class_agnostic
        self.top_candidates = cuts.top_candidates
        self.max_detections = cuts.max_detections
        self.score_bound, self.box_bound = bounds["score"], bounds["box"]
        self.rounding = IOU_ROUNDINGS * float(np.finfo(reference.boxes.dtype).eps)
        self._cut: set[int] = set()
        self._causes = self._run()

    def open_indices(self) -> NDArray[np.int64]:
        """The indices of the open candidates."""
        return np.array(sorted(self._causes), np.int64)

    def open(self, index: int) -> str | None:
        """Why the candidate is open. Returns None if it is certain to be kept or to be dropped."""
        return self._causes.get(index)

    def below(self, score: float) -> str | None:
        """Why a row of this score should not be there. Returns None if it may."""
        return below_threshold(score, self._told_threshold, self.score_threshold, self.score_bound)

    def excuse(self, index: int, found: Detections) -> tuple[bool, str]:
        """Whether it is a tie that ``found`` lacks a candidate that the reference keeps, and the cause.

        The candidate must be open. If it is open neither by its score nor by its rank, a box of ``found``
        must also overlap it and take its place: of two such boxes NMS keeps one, in whichever order it takes
        them.
        """
        cause = self.open(index)
        score = float(self.reference.scores[index])
        if cause is None:
            return False, (
                f"no margin of the reference lies within the error bound: score {exact(score)} against "
                f"threshold {exact(self._told_threshold)}, {error_bound(self.score_bound)}"
            )
        if score <= self.score_threshold + self.score_bound or index in self._cut:
            return True, cause
        label = self.reference.labels[index]
        may_share = self.class_agnostic or self.class_open(index) is not None
        boxes = np.concatenate((self.reference.boxes[index, None], found.boxes)).astype(np.float64)
        ious, slack = iou_with_slack(boxes[0], boxes[1:], self.box_bound, self.rounding)
        overlaps = ious > self.iou_threshold - slack
        replaces = (
            overlaps & (may_share | (found.labels == label)) & (found.scores >= score - self.score_bound)
        )
        if replaces.any():
            return True, cause
        return False, f"nothing that overlaps it takes its place, though it is open: {cause}"

    def displaced(self, here: Detections, i: int, there: Detections, others: Mapping[int, str]) -> str | None:
        """Why detection ``i`` of one leg may be missing from the other.

        ``others`` are the detections of the other leg that a hidden choice brought in, with their causes. One
        of them may suppress ``i``, or push it out of the best. Returns None if none does.
        """
        score, lowest = float(here.scores[i]), float(there.scores.min(initial=np.inf))
        if others and len(there) == self.max_detections and score <= lowest + self.score_bound:
            return f"pushed out of the best {self.max_detections}: {next(iter(others.values()))}"
        rivals = [
            j
            for j in others
            if self.suppresses
            and (self.class_agnostic or there.labels[j] == here.labels[i])
            and there.scores[j] >= score - self.score_bound
        ]
        box = here.boxes[i].astype(np.float64)
        ious, slack = iou_with_slack(
            box, there.boxes[rivals].astype(np.float64), self.box_bound, self.rounding
        )
        overlapping = np.flatnonzero(ious > self.iou_threshold - slack)
        return None if not len(overlapping) else f"{CHAINED}{others[rivals[int(overlapping[0])]]}"

    def class_open(self, index: int) -> str | None:
        """Why the candidate's class is open. Returns None if it is certain."""
        gaps = self.reference.gaps
        if gaps is not None and gaps[index] <= 2 * self.score_bound:
            return (
                f"score {exact(self.reference.scores[index])} of class {self.reference.labels[index]} leads "
                f"the runner-up by {gaps[index]:.3g}, {error_bound(self.score_bound, each=True)}"
            )
        return None

    def may_flip(self, indices: Array) -> NDArray[np.bool_]:
        """Whether the class of each of the candidates is open, bool [len(indices)]."""
        return np.array([self.class_open(index) is not None for index in indices.tolist()], bool)

    def _run(self) -> dict[int, str]:
        scores = self.reference.scores.astype(np.float64)
        possible = np.flatnonzero(scores > self.score_threshold - self.score_bound)
        order = possible[np.argsort(-scores[possible], kind="stable")]
        boxes = self.reference.boxes.astype(np.float64)[order]
        ranked = scores[order]
        # 1: certainly kept, 0: open, -1: certainly dropped. Candidates not yet reached are 0.
        status = np.zeros(len(order), np.int8)
        entry = self._entry(order, ranked)
        status[entry < 0] = -1
        causes: dict[int, str] = {}
        # For each candidate, how many may be ahead of it: those scoring above its score minus twice the
        # bound.
        reach = np.searchsorted(-ranked, 2 * self.score_bound - ranked, side="right")
        for i, found in self._overlaps(np.flatnonzero(entry >= 0), boxes, order, reach, status):
            index = int(order[i])
            found = found.of(status[found.rivals] >= 0)
            rivals, ious, slack = found.rivals, found.ious, found.slack
            may, surely_shares = self._share_class(index, order[rivals])
            ahead = ranked[rivals] > ranked[i] + 2 * self.score_bound
            overlaps = ious > self.iou_threshold + slack
            if (may & surely_shares & ahead & overlaps & (status[rivals] == 1)).any():
                status[i] = -1
                continue
            cause = None
            if may.any():
                k = int(np.flatnonzero(may)[0])
                rival = int(order[rivals[k]])
                cause = self._rival_cause(index, rival, float(ious[k]), float(slack[k]), causes.get(rival))
            elif not ranked[i] > self.score_threshold + self.score_bound:
                cause = (
                    f"score {exact(ranked[i])} against threshold {exact(self._told_threshold)}, "
                    f"{error_bound(self.score_bound)}"
                )
            elif entry[i] == 0:
                cause = self._cut_cause(index, self._group(order, index), self.top_candidates, causes)
            if entry[i] == 0:
                self._cut.add(index)
            if cause is None:
                status[i] = 1
            else:
                causes[index] = cause
        if self.max_detections is not None:
            left = np.flatnonzero(status >= 0)
            places = self._places(ranked[left], status[left] == 1, self.max_detections)
            own = dict(causes)
            for index, place in zip(order[left].tolist(), places.tolist(), strict=True):
                if place == 0:
                    self._cut.add(index)
                    if index not in own:
                        causes[index] = self._cut_cause(index, order[left], self.max_detections, own)
                elif place < 0:
                    causes.pop(index, None)
        return causes

    def _group(self, order: Array, index: int) -> Array:
        """The candidates in ``order`` that compete with candidate ``index`` to enter NMS."""
        groups = self.reference.groups
        assert groups is not None
        members: Array = order[groups[order] == groups[index]]
        return members

    def _overlaps(
        self, places: Array, boxes: Array, order: Array, reach: Array, status: Array
    ) -> Iterator[tuple[int, Overlaps]]:
        """Each of the ``places`` in ``order``, ascending, and its rivals that may not be dropped before it.

        ``reach[i]`` is the number of candidates that may be ahead of the i-th. ``status`` is read when a
        block of places begins: candidates that are dropped by then are left out.
        """
        nobody = np.zeros(0, np.int64)
        if not self.suppresses:
            yield from ((i, Overlaps(nobody, nobody, nobody)) for i in places.tolist())
            return
        one_class = not (self.class_agnostic or self.reference.gaps is not None)
        labels = self.reference.labels[order] if one_class else np.zeros(len(order), np.int64)
        rows = max(1, BLOCK // max(len(order), 1))
        for start in range(0, len(places), rows):
            block = places[start : start + rows]
            rivals = np.flatnonzero(status[: reach[block[-1]]] >= 0)
            here, there = block[:, None], rivals[None]
            near = (there < reach[here]) & (there != here) & (labels[here] == labels[there])
            with np.errstate(all="ignore"):
                for low, high in ((0, 2), (1, 3)):
                    first = np.minimum(boxes[here, high], boxes[there, high])
                    near &= ~(first - np.maximum(boxes[here, low], boxes[there, low]) <= -2 * self.box_bound)
            row, column = np.nonzero(near)
            ious, slack = iou_with_slack(
                boxes[block[row]], boxes[rivals[column]], self.box_bound, self.rounding
            )
            may = ious > self.iou_threshold - slack
            row, found = row[may], Overlaps(rivals[column[may]], ious[may], slack[may])
            ends = np.searchsorted(row, np.arange(len(block) + 1)).tolist()
            for i, begin, end in zip(block.tolist(), ends[:-1], ends[1:], strict=True):
                part = slice(begin, end)
                yield i, Overlaps(found.rivals[part], found.ious[part], found.slack[part])

    def _entry(self, order: Array, ranked: Array) -> NDArray[np.int8]:
        """Whether each candidate is among the best of its group: 1 certainly, 0 open, -1 certainly not."""
        entry = np.ones(len(order), np.int8)
        if self.top_candidates is None or self.reference.groups is None:
            return entry
        groups = self.reference.groups[order]
        for group in np.unique(groups):
            members = np.flatnonzero(groups == group)
            everyone = np.ones(len(members), bool)
            entry[members] = self._places(ranked[members], everyone, self.top_candidates)
        return entry

    def _places(self, ranked: Array, certain: NDArray[np.bool_], count: int) -> NDArray[np.int8]:
        """Whether each of the ``ranked`` scores is among the first ``count``: 1 certainly, 0 open, -1
        certainly not. Only those that are ``certain`` are sure to be in the ranking at all."""
        reach = 2 * self.score_bound
        may_precede = np.searchsorted(-ranked, reach - ranked, side="right") - 1
        surely = np.concatenate(([0], np.cumsum(certain)))
        precede = surely[np.searchsorted(-ranked, -ranked - reach, side="left")]
        return np.where(precede >= count, -1, np.where(may_precede < count, 1, 0)).astype(np.int8)

    def _cut_cause(self, index: int, rivals: Array, count: int | None, causes: Mapping[int, str]) -> str:
        """Why it is open whether a candidate is among the best ``count`` of ``rivals``, the best first.

        Either its score is close to one on the other side of the cut, or a rival ahead of it is open itself.
        ``causes`` say why rivals are open.
        """
        assert count is not None
        place = int(np.flatnonzero(rivals == index)[0])
        other = int(rivals[count] if place < count else rivals[count - 1])
        score, against = (float(self.reference.scores[at]) for at in (index, other))
        ahead = [causes[at] for at in rivals[:place].tolist() if at in causes]
        if abs(score - against) > 2 * self.score_bound and ahead:
            return f"{MOVES_UP}{ahead[0].removeprefix(MOVES_UP)}"
        return (
            f"score {exact(score)} against {exact(against)} at the cut after the best {count}, "
            f"{error_bound(self.score_bound, each=True)}"
        )

    def _share_class(self, index: int, rivals: Array) -> tuple[Array, Array]:
        """Whether each rival may have the candidate's class, and whether it certainly has."""
        if self.class_agnostic:
            everywhere = np.ones(len(rivals), bool)
            return everywhere, everywhere
        same = self.reference.labels[rivals] == self.reference.labels[index]
        gaps = self.reference.gaps
        if gaps is None:
            return same, same
        uncertain = (gaps[rivals] <= 2 * self.score_bound) | (gaps[index] <= 2 * self.score_bound)
        return same | uncertain, same & ~uncertain

    def _rival_cause(self, index: int, rival: int, iou: float, slack: float, rival_cause: str | None) -> str:
        if abs(iou - self.iou_threshold) <= slack:
            return f"IoU {exact(iou)} against threshold {exact(self.iou_threshold)}, {error_bound(slack)}"
        if rival_cause is not None:
            return f"{CHAINED}{rival_cause.removeprefix(CHAINED)}"
        class_cause = self.class_open(index) or self.class_open(rival)
        if class_cause is not None and not self.class_agnostic:
            return f"overlapping boxes may be of one class or of two: {class_cause}"
        scores = self.reference.scores
        return (
            f"scores {exact(scores[index])} and {exact(scores[rival])} of overlapping boxes may change "
            f"order, {error_bound(self.score_bound, each=True)}"
        )


def below_threshold(score: float, told: float, threshold: float, bound: float) -> str | None:
    """The cause of a row whose score is below the threshold by more than the error bound; None if it is not.

    ``threshold`` is what scores are compared with, and ``told`` what the reading says.
    """
    if not score < threshold - bound:
        return None
    return f"{BELOW}{exact(told)}, {error_bound(bound)}"


def iou_with_slack(boxes: Array, others: Array, shift: float, rounding: float) -> tuple[Array, Array]:
    """IoU of boxes with others, and how far it can move if every coordinate moves by up to ``shift`` px.

    ``boxes`` and ``others`` are [..., 4] and broadcast. With d = 2 * shift, a side changes by at most d, so
    the intersection I of w by h by at most d * (w + h + d), an area A of W by H by at most d * (W + H + d),
    and I / (A + B - I) by at most (change of I + IoU * change of the union) / (union - its change). Computing
    the IoU, in the arithmetic of ``runtime.nms``, adds ``rounding``, relative to the IoU. The IoU and the
    slack are 0 for boxes further apart than d, and for boxes with NaN or infinite corners, which suppress
    nothing. The slack is infinite for boxes too small to decide.
    """
    d = 2 * shift
    (left, top, right, bottom), (left_, top_, right_, bottom_) = (
        np.moveaxis(one, -1, 0) for one in (boxes, others)
    )
    with np.errstate(all="ignore"):
        w = np.minimum(right, right_) - np.maximum(left, left_)
        h = np.minimum(bottom, bottom_) - np.maximum(top, top_)
        width, height, width_, height_ = right - left, bottom - top, right_ - left_, bottom_ - top_
        apart = (w <= -d) | (h <= -d) | ~(np.isfinite(width + width_) & np.isfinite(height + height_))
        w, h = np.maximum(w, 0), np.maximum(h, 0)
        inner = w * h
        union = width * height + width_ * height_ - inner
        ious = inner / union
        inner_change = d * (w + h + d)
        union_change = d * (np.abs(width) + np.abs(height) + d)
        union_change = union_change + d * (np.abs(width_) + np.abs(height_) + d) + inner_change
        slack = (inner_change + ious * union_change) / np.maximum(union - union_change, 0) + rounding * ious
    ious, slack = np.nan_to_num(ious, nan=0), np.where(np.isnan(slack), np.inf, slack)
    return np.where(apart, 0, ious), np.where(apart, 0, slack)
