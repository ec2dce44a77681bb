"""Boxes with scores and classes: what is kept of them, and how two legs' detections are compared."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxproof.runtime.nms import nms, pairwise_iou
from onnxproof.runtime.tasks._task import Array, Comparison, Finding

MATCH_IOU = 0.5
"""The least IoU at which two boxes are taken to mean the same object (PASCAL VOC's criterion)."""

IOU_ROUNDINGS = 8
"""How many units of relative precision computing an IoU can cost: at most 15 roundings of half a unit
(3 each in the intersection and the areas, 4 in the union at its largest, 1 in the division), rounded up."""

CHAINED = "hangs on an overlapping box that is open itself: "
NO_CANDIDATE = "the reference has no candidate with this class, box and score"


@dataclass(frozen=True, slots=True)
class Candidates:
    """All boxes of one picture before the threshold and NMS.

    ``boxes`` float [n, 4] (x0, y0, x1, y1, input pixels), ``scores`` float [n] in [0, 1], ``labels``
    int64 [n], ``gaps`` float [n]: the score's lead over the next class (infinite with one class),
    None where the layout does not tell it. ``groups`` int64 [n]: within which of them the best are
    chosen before NMS (a level of the feature pyramid, say), None where all take part.
    """

    boxes: Array
    scores: Array
    labels: NDArray[np.int64]
    gaps: Array | None
    groups: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, indices: Array) -> "Candidates":
        """The candidates at the given indices (or under a mask)."""
        gaps, groups = (None if of is None else of[indices] for of in (self.gaps, self.groups))
        return Candidates(self.boxes[indices], self.scores[indices], self.labels[indices], gaps, groups)

    def quantities(self) -> Mapping[str, Array]:
        """What margins are measured in: coordinates in pixels, and scores."""
        return {"box": self.boxes, "score": self.scores}

    def thin(self, post: Mapping[str, Any]) -> "Candidates":
        """Those that a comparison can need: half the threshold is far below any bound."""
        # ">=" so that a threshold of 0 keeps what scores 0 here and a trifle more in another leg.
        return self.take(self.scores >= post["score_threshold"] / 2)

    def decide(self, post: Mapping[str, Any]) -> "Detections":
        """The detections; see ``decide``."""
        return decide(self, post)

    def compare(
        self, candidate: "Candidates", post: Mapping[str, Any], bounds: Mapping[str, float]
    ) -> Comparison:
        """Hold the candidate's detections against these; see ``compare_detections``."""
        wanted, found = decide(self, post), decide(candidate, post)
        comparison, _ = compare_detections(self, wanted, found, post, bounds)
        return comparison


@dataclass(frozen=True, slots=True)
class Detections:
    """What is left after the threshold and NMS, best score first.

    ``boxes`` float [n, 4] (x0, y0, x1, y1, pixels), ``scores`` float [n], ``labels`` int64 [n],
    ``indices`` int64 [n]: which candidates they were.
    """

    boxes: Array
    scores: Array
    labels: NDArray[np.int64]
    indices: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.scores)


def decide(candidates: Candidates, post: Mapping[str, Any]) -> Detections:
    """The candidates whose score is above ``post["score_threshold"]``, less what NMS suppresses at
    ``post["iou_threshold"]``, over all classes where ``post["class_agnostic"]``.

    Where ``post`` has them, ``top_candidates`` is how many of each group enter NMS, the best first, and
    ``max_detections`` how many of all leave it.
    """
    above = np.flatnonzero(candidates.scores > post["score_threshold"])
    if candidates.groups is not None and "top_candidates" in post:
        above = _best_of_groups(candidates, above, post["top_candidates"])
    classes = None if post["class_agnostic"] else candidates.labels[above]
    kept = above[nms(candidates.boxes[above], candidates.scores[above], post["iou_threshold"], classes)]
    kept = kept[: post.get("max_detections")]
    return Detections(candidates.boxes[kept], candidates.scores[kept], candidates.labels[kept], kept)


def _best_of_groups(candidates: Candidates, indices: Array, count: int) -> Array:
    """The ``count`` best of each group among ``indices``, in the order of ``indices``."""
    assert candidates.groups is not None
    groups = candidates.groups[indices]
    order = np.lexsort((-candidates.scores[indices], groups))
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    ranks = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    return indices[np.sort(order[ranks < count])]


Excuse = Callable[[Array], str | None]
"""Why a detection with the given box may be there or not, for a reason that its candidates do not
show; None where there is none."""


def no_excuse(box: Array) -> None:
    """Nothing is hidden."""


def compare_detections(
    reference: Candidates,
    wanted: Detections,
    found: Detections,
    post: Mapping[str, Any],
    bounds: Mapping[str, float],
    hidden: Excuse = no_excuse,
) -> tuple[Comparison, tuple[tuple[int, int], ...]]:
    """Pair the detections of two legs, and tell ties from defects among what is left over; and which of
    ``wanted`` was paired with which of ``found``.

    ``wanted.indices`` are indices into ``reference``, what the wanted ones were chosen from. ``bounds``
    gives how far float error alone can have moved a "box" coordinate (px) and a "score". ``hidden`` is
    asked about what would be a defect otherwise.
    """
    # Pairing the closest first is right as long as boxes are larger than the bounds by far: two that
    # lie within the bounds of each other then overlap so much that no leg keeps both.
    shifts, near = _nearness(wanted, found, bounds)
    pairs = _pair_up(shifts, near & (wanted.labels[:, None] == found.labels))
    if len(pairs) == len(wanted) == len(found):
        return Comparison(len(pairs), (), ()), pairs
    margins = Margins(reference, post, bounds)
    flips = _pair_up(shifts, _without(near & margins.may_flip(wanted.indices)[:, None], pairs))
    missing = sorted(set(range(len(wanted))) - {i for i, _ in (*pairs, *flips)})
    extra = sorted(set(range(len(found))) - {j for _, j in (*pairs, *flips)})
    settled = {int(wanted.indices[i]) for i, _ in (*pairs, *flips)}
    ties = [_flip(wanted, found, i, j, margins) for i, j in flips]
    lost: dict[int, str] = {}
    foreign: dict[int, str] = {}
    gone: dict[int, str] = {}
    come: dict[int, str] = {}
    for i in missing:
        is_tie, cause = margins.excuse(int(wanted.indices[i]), found)
        outside = None if is_tie else hidden(wanted.boxes[i])
        if is_tie:
            ties.append(Finding(_describe("missing", wanted, i), cause))
        elif outside is not None:
            gone[i] = outside
        else:
            lost[i] = cause
    for j in extra:
        index, cause = _behind(found, j, reference, margins, settled, bounds)
        outside = hidden(found.boxes[j]) if index is None else None
        if index is not None:
            ties.append(Finding(_describe("extra", found, j), cause))
            settled.add(index)
        elif outside is not None:
            come[j] = outside
        else:
            foreign[j] = cause
    _spread(wanted, lost, gone, found, foreign, come, margins)
    ties += [Finding(_describe("missing", wanted, i), cause) for i, cause in gone.items()]
    ties += [Finding(_describe("extra", found, j), cause) for j, cause in come.items()]
    return Comparison(len(pairs), tuple(ties), _defects(wanted, found, lost, foreign, bounds)), pairs


def _apart(a: Array, b: Array) -> Array:
    """|a - b| in float64; 0 where both are the same infinity, or both NaN."""
    with np.errstate(invalid="ignore"):
        distance = np.abs(np.subtract(a, b, dtype=np.float64))
    return np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0, distance)


def _nearness(wanted: Detections, found: Detections, bounds: Mapping[str, float]) -> tuple[Array, Array]:
    """How far boxes lie apart (the farthest coordinate, px), and whether boxes and scores lie within the
    bounds: both [len(wanted), len(found)]."""
    shifts = np.zeros((len(wanted), len(found)))
    for k in range(4):
        np.maximum(shifts, _apart(wanted.boxes[:, k, None], found.boxes[:, k]), out=shifts)
    changes = _apart(wanted.scores[:, None], found.scores)
    return shifts, (shifts <= bounds["box"]) & (changes <= bounds["score"])


def _pair_up(costs: Array, allowed: Array) -> tuple[tuple[int, int], ...]:
    """Pair rows with columns where that is allowed, one to one, the least cost first."""
    rows, columns = np.nonzero(allowed)
    order = np.argsort(costs[rows, columns], kind="stable")
    pairs: list[tuple[int, int]] = []
    taken_rows: set[int] = set()
    taken_columns: set[int] = set()
    for i, j in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if i not in taken_rows and j not in taken_columns:
            taken_rows.add(i)
            taken_columns.add(j)
            pairs.append((i, j))
    return tuple(pairs)


def _without(allowed: Array, pairs: tuple[tuple[int, int], ...]) -> Array:
    """``allowed`` less the rows and columns that are paired already."""
    left = allowed.copy()
    left[[i for i, _ in pairs]] = False
    left[:, [j for _, j in pairs]] = False
    return left


def _spread(
    wanted: Detections,
    lost: dict[int, str],
    gone: dict[int, str],
    found: Detections,
    foreign: dict[int, str],
    come: dict[int, str],
    margins: "Margins",
) -> None:
    """Follow what a hidden choice does to NMS: a detection that came in by it suppresses others or pushes
    them out of the best, and one that went lets others in. What it did moves from ``lost`` to ``gone``, and
    from ``foreign`` to ``come``."""
    changed = True
    while changed:
        changed = False
        for here, certain, excused, there, others in (
            (wanted, lost, gone, found, come),
            (found, foreign, come, wanted, gone),
        ):
            for i in list(certain):
                if certain[i] == NO_CANDIDATE:
                    continue
                cause = margins.displaced(here, i, there, others)
                if cause is not None:
                    excused[i] = cause
                    del certain[i]
                    changed = True


def _flip(wanted: Detections, found: Detections, i: int, j: int, margins: "Margins") -> Finding:
    """A tie: both legs have the detection, each with a class of its own."""
    what = f"{_describe('flipped', wanted, i)}; now class {found.labels[j]}"
    return Finding(what, margins.class_open(int(wanted.indices[i])) or "")


def _defects(
    wanted: Detections,
    found: Detections,
    lost: Mapping[int, str],
    foreign: Mapping[int, str],
    bounds: Mapping[str, float],
) -> tuple[Finding, ...]:
    """What no margin excuses, and why. A ``lost`` detection, and a ``foreign`` one of its class that the
    reference knows nothing of and that overlaps it by MATCH_IOU, are one that moved."""
    rows, columns = [*lost], [j for j, cause in foreign.items() if cause == NO_CANDIDATE]
    ious = pairwise_iou(wanted.boxes[rows].astype(np.float64), found.boxes[columns].astype(np.float64))
    same_class = wanted.labels[rows][:, None] == found.labels[columns]
    moved = [(rows[i], columns[j]) for i, j in _pair_up(-ious, same_class & (ious >= MATCH_IOU))]
    return (
        *(_moved(wanted, found, i, j, bounds) for i, j in moved),
        *(Finding(_describe("missing", wanted, i), lost[i]) for i in rows if i not in dict(moved)),
        *(
            Finding(_describe("extra", found, j), cause)
            for j, cause in foreign.items()
            if j not in {column for _, column in moved}
        ),
    )


def _moved(wanted: Detections, found: Detections, i: int, j: int, bounds: Mapping[str, float]) -> Finding:
    shift = float(_apart(wanted.boxes[i], found.boxes[j]).max())
    change = float(_apart(wanted.scores[i], found.scores[j]))
    cause = f"the score moved by {change:.3g}, error bound {bounds['score']:.1e}"
    if not shift <= bounds["box"]:
        cause = f"the box moved by {shift:.3g} px, error bound {bounds['box']:.1e}"
    return Finding(_describe("moved", wanted, i), cause)


def _describe(verb: str, detections: Detections, i: int) -> str:
    box = ", ".join(f"{value:.1f}" for value in detections.boxes[i])
    return f"{verb}: class {detections.labels[i]}, score {detections.scores[i]:.9g}, box [{box}]"


def _behind(
    found: Detections,
    j: int,
    reference: Candidates,
    margins: "Margins",
    settled: set[int],
    bounds: Mapping[str, float],
) -> tuple[int | None, str]:
    """The open candidate of the reference that an extra detection is, and the cause; None, and the reason
    why the detection is a defect, where there is none. ``settled`` candidates are spoken for."""
    shifts = _apart(reference.boxes, found.boxes[j]).max(axis=-1, initial=0)
    changes = _apart(reference.scores, found.scores[j])
    alike = np.flatnonzero((shifts <= bounds["box"]) & (changes <= bounds["score"]))
    same_class = alike[reference.labels[alike] == found.labels[j]].tolist()
    may_flip = [index for index in alike.tolist() if index not in same_class and margins.class_open(index)]
    for index in (*same_class, *may_flip):
        cause = margins.open(index)
        if cause is not None and index not in settled:
            return index, cause
    if not same_class:
        return None, NO_CANDIDATE
    if settled.issuperset(same_class):
        return None, "a duplicate of a detection that is matched already"
    return None, "the reference drops it, and no margin lies within the error bound"


class Margins:
    """Which decisions on the reference's candidates float error leaves open, and why.

    A greedy NMS in three values. A candidate is certain to be kept, certain to be dropped, or open:
    because its score, an IoU with a rival, the order of two scores, its rank, or a class lies within the
    bounds of its threshold, or because it hangs on a candidate that is open itself.
    """

    def __init__(self, reference: Candidates, post: Mapping[str, Any], bounds: Mapping[str, float]) -> None:
        self.reference = reference
        self.score_threshold: float = post["score_threshold"]
        self.iou_threshold: float = post["iou_threshold"]
        self.class_agnostic: bool = post["class_agnostic"]
        self.top_candidates: int | None = post.get("top_candidates")
        self.max_detections: int | None = post.get("max_detections")
        self.score_bound, self.box_bound = bounds["score"], bounds["box"]
        self.rounding = IOU_ROUNDINGS * float(np.finfo(reference.boxes.dtype).eps)
        self._cut: set[int] = set()
        self._causes = self._run()

    def open_indices(self) -> NDArray[np.int64]:
        """The candidates that may or may not be kept."""
        return np.array(sorted(self._causes), np.int64)

    def open(self, index: int) -> str | None:
        """Why the candidate may or may not be kept; None where that is certain."""
        return self._causes.get(index)

    def excuse(self, index: int, found: Detections) -> tuple[bool, str]:
        """Whether it is a tie that a candidate that the reference keeps is not among ``found``; and why.

        It must be open; and if neither its score nor its rank is, then something found must overlap it,
        for whatever order the boxes are taken in, one suppresses the other.
        """
        cause = self.open(index)
        if cause is None:
            return False, "no margin of the reference lies within the error bound"
        score = float(self.reference.scores[index])
        if score <= self.score_threshold + self.score_bound or index in self._cut:
            return True, cause
        label = self.reference.labels[index]
        may_share = self.class_agnostic or self.class_open(index) is not None
        boxes = np.concatenate((self.reference.boxes[index, None], found.boxes)).astype(np.float64)
        ious, slack = _iou_with_slack(boxes[0], boxes[1:], self.box_bound, self.rounding)
        overlaps = ious > self.iou_threshold - slack
        replaces = (
            overlaps & (may_share | (found.labels == label)) & (found.scores >= score - self.score_bound)
        )
        if replaces.any():
            return True, cause
        return False, f"nothing that overlaps it takes its place, though it is open: {cause}"

    def displaced(self, here: Detections, i: int, there: Detections, others: Mapping[int, str]) -> str | None:
        """Why the i-th detection of one leg may be missing in the other: since one of ``others``, detections
        there by a hidden choice, suppresses it or takes the last place. None where none does."""
        score, lowest = float(here.scores[i]), float(there.scores.min(initial=np.inf))
        if others and len(there) == self.max_detections and score <= lowest + self.score_bound:
            return f"pushed out of the best {self.max_detections}: {next(iter(others.values()))}"
        rivals = [
            j
            for j in others
            if (self.class_agnostic or there.labels[j] == here.labels[i])
            and there.scores[j] >= score - self.score_bound
        ]
        box = here.boxes[i].astype(np.float64)
        ious, slack = _iou_with_slack(
            box, there.boxes[rivals].astype(np.float64), self.box_bound, self.rounding
        )
        overlapping = np.flatnonzero(ious > self.iou_threshold - slack)
        return None if not len(overlapping) else f"{CHAINED}{others[rivals[int(overlapping[0])]]}"

    def class_open(self, index: int) -> str | None:
        """Why the candidate's class is open; None where it is certain."""
        gaps = self.reference.gaps
        if gaps is not None and gaps[index] <= 2 * self.score_bound:
            return (
                f"class {self.reference.labels[index]} leads the runner-up by {gaps[index]:.3g}, "
                f"error bound {self.score_bound:.1e}"
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
        # 1: certainly kept, 0: open, -1: certainly dropped; those not yet reached count as open.
        status = np.zeros(len(order), np.int8)
        entry = self._entry(order, ranked)
        status[entry < 0] = -1
        causes: dict[int, str] = {}
        # How many come before each one's score, less twice the bound: all that may be ahead of it.
        reach = np.searchsorted(-ranked, 2 * self.score_bound - ranked, side="right")
        peers = self._peers(order)
        for i in np.flatnonzero(entry >= 0).tolist():
            index = int(order[i])
            rivals = peers[i][: np.searchsorted(peers[i], reach[i])]
            rivals = rivals[(status[rivals] >= 0) & (rivals != i)]
            ious, slack = _iou_with_slack(boxes[i], boxes[rivals], self.box_bound, self.rounding)
            shares, surely_shares = self._share_class(index, order[rivals])
            may = shares & (ious > self.iou_threshold - slack)
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
                    f"score {ranked[i]:.9g} against threshold {self.score_threshold:g}, "
                    f"error bound {self.score_bound:.1e}"
                )
            elif entry[i] == 0:
                cause = self._cut_cause(index, self.top_candidates)
            if entry[i] == 0:
                self._cut.add(index)
            if cause is None:
                status[i] = 1
            else:
                causes[index] = cause
        if self.max_detections is not None:
            left = np.flatnonzero(status >= 0)
            places = self._places(ranked[left], status[left] == 1, self.max_detections)
            for i, place in zip(left.tolist(), places.tolist(), strict=True):
                if place == 0:
                    self._cut.add(int(order[i]))
                    causes.setdefault(int(order[i]), self._cut_cause(int(order[i]), self.max_detections))
                elif place < 0:
                    causes.pop(int(order[i]), None)
        return causes

    def _peers(self, order: Array) -> list[Array]:
        """For each of the candidates in ``order`` the positions of those that may be of its class."""
        if self.class_agnostic or self.reference.gaps is not None:
            return [np.arange(len(order))] * len(order)
        labels = self.reference.labels[order]
        members = {label: np.flatnonzero(labels == label) for label in np.unique(labels).tolist()}
        return [members[label] for label in labels.tolist()]

    def _entry(self, order: Array, ranked: Array) -> NDArray[np.int8]:
        """Whether each candidate is among the best of its group: 1 certain, 0 open, -1 certainly not."""
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
        """Whether each is among the ``count`` first of ``ranked`` scores, of which only the certain ones are
        sure to be there at all: 1 certain, 0 open, -1 certainly not."""
        reach = 2 * self.score_bound
        may_precede = np.searchsorted(-ranked, reach - ranked, side="right") - 1
        surely = np.concatenate(([0], np.cumsum(certain)))
        precede = surely[np.searchsorted(-ranked, -ranked - reach, side="left")]
        return np.where(precede >= count, -1, np.where(may_precede < count, 1, 0)).astype(np.int8)

    def _cut_cause(self, index: int, count: int | None) -> str:
        score = float(self.reference.scores[index])
        return f"score {score:.9g} at the cut after the best {count}, error bound {self.score_bound:.1e}"

    def _share_class(self, index: int, rivals: Array) -> tuple[Array, Array]:
        """Whether each rival may, and whether it must, have the candidate's class."""
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
            return f"IoU {iou:.9g} against threshold {self.iou_threshold:g}, error bound {slack:.1e}"
        if rival_cause is not None:
            return f"{CHAINED}{rival_cause.removeprefix(CHAINED)}"
        class_cause = self.class_open(index) or self.class_open(rival)
        if class_cause is not None and not self.class_agnostic:
            return f"overlapping boxes may be of one class or of two: {class_cause}"
        scores = self.reference.scores
        return (
            f"scores {scores[index]:.9g} and {scores[rival]:.9g} of overlapping boxes may change "
            f"order, error bound {self.score_bound:.1e}"
        )


def _iou_with_slack(box: Array, boxes: Array, shift: float, rounding: float) -> tuple[Array, Array]:
    """IoU of a box with others, and how far it can move when every coordinate moves by up to ``shift`` px.

    With d = 2 * shift, a side changes by at most d, so the intersection I of w by h by at most
    d * (w + h + d), an area A of W by H by at most d * (W + H + d), and I / (A + B - I) by at most
    (change of I + IoU * change of the union) / (union less its change). Computing the IoU adds its own
    ``rounding``, relative to it. Boxes further apart than d, and boxes with NaN or infinite corners,
    which suppress nothing, have an IoU of 0 and no slack; boxes too small to tell have an infinite one.
    """
    d = 2 * shift
    with np.errstate(all="ignore"):
        ious = pairwise_iou(box[None], boxes)[0]
        inner = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
        side, sides = box[2:] - box[:2], boxes[:, 2:] - boxes[:, :2]
        apart = (inner <= -d).any(axis=1) | ~np.isfinite(sides + side).all(axis=1)
        inner = np.maximum(inner, 0)
        union = side.prod() + sides.prod(axis=1) - inner.prod(axis=1)
        inner_change = d * (inner.sum(axis=1) + d)
        union_change = d * (np.abs(side).sum() + d) + d * (np.abs(sides).sum(axis=1) + d) + inner_change
        slack = (inner_change + ious * union_change) / np.maximum(union - union_change, 0) + rounding * ious
    ious, slack = np.nan_to_num(ious, nan=0), np.where(np.isnan(slack), np.inf, slack)
    return np.where(apart, 0, ious), np.where(apart, 0, slack)
