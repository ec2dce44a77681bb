"""Compare the detections of two legs: which are paired, which are ties, and which are defects."""

from collections.abc import Callable, Mapping
from functools import cache, partial

import numpy as np

from onnxproof.runtime.nms import pairwise_iou
from onnxproof.runtime.readings.adjustable import Array
from onnxproof.runtime.readings.boxes import Candidates, Cuts, Detections
from onnxproof.validate.compare.comparer import Comparison, Finding, error_bound, exact
from onnxproof.validate.compare.margins import BELOW, Margins
from onnxproof.validate.compare.nearness import apart, candidates_near, nearness
from onnxproof.validate.compare.origins import DUPLICATE, NO_CANDIDATE, Origins

MATCH_IOU = 0.5
"""The least IoU at which two boxes are taken to mean the same object (PASCAL VOC's criterion)."""

NO_TRACE = "the file has no candidate with this box and score, so none that a margin could excuse"

Excuse = Callable[[Array], str | None]
"""Gives the reason why a detection with a given box may be in one leg alone, if the candidates do not show
it, as with the choice of proposals. Returns None if there is no such reason."""


def no_excuse(box: Array) -> None:
    """An ``Excuse`` that knows no reason."""


def compare_detections(
    reference: Candidates,
    wanted: Detections,
    found: Detections,
    cuts: Cuts,
    bounds: Mapping[str, float],
    hidden: Excuse = no_excuse,
    candidate: Candidates | None = None,
) -> tuple[Comparison, tuple[tuple[int, int], ...]]:
    """Pair the detections of two legs, and judge each unpaired one as a tie or a defect.

    Returns the comparison, and the pairs as indices into ``wanted`` and ``found``.

    ``reference`` are the candidates that ``wanted`` was chosen from; ``wanted.indices`` point into it.
    ``candidate`` are those that ``found`` was chosen from, or None if the file does not return them. If it is
    given, a missing detection is a tie only if it is among them. ``bounds`` gives how far float error alone
    can have moved a "box" coordinate (px) and a "score". ``hidden`` is asked before a detection becomes a
    defect.
    """
    # The closest are paired first. Origins changes a pair only if that explains one more detection.
    shifts, near = nearness(wanted, found, bounds)
    pairs = pair_up(shifts, near & (wanted.labels[:, None] == found.labels))
    if len(pairs) == len(wanted) == len(found):
        return Comparison(len(pairs), (), ()), pairs
    margins = Margins(reference, cuts, bounds)
    flips = pair_up(shifts, _without(near & margins.may_flip(wanted.indices)[:, None], pairs))
    origins = Origins(reference, wanted, found, margins, bounds, near, (*pairs, *flips))
    origins.explain()
    excuse = cache(partial(_excuse, candidate, wanted, found, margins, bounds))
    origins.keep(lambda i: excuse(i)[0] or hidden(wanted.boxes[i]) is not None)
    pairs = tuple((i, j) for i, j in origins.pairs() if wanted.labels[i] == found.labels[j])
    flips = tuple((i, j) for i, j in origins.pairs() if wanted.labels[i] != found.labels[j])
    dropped = origins.dropped()
    ties = [_flip(wanted, found, i, j, margins) for i, j in flips]
    lost: dict[int, str] = {}
    foreign: dict[int, str] = {}
    gone: dict[int, str] = {}
    come: dict[int, str] = {}
    for i in sorted(set(range(len(wanted))) - {i for i, _ in (*pairs, *flips)}):
        is_tie, cause = excuse(i)
        outside = None if is_tie else hidden(wanted.boxes[i])
        if is_tie:
            ties.append(Finding(describe("missing", wanted, i), cause))
        elif outside is not None:
            gone[i] = outside
        else:
            lost[i] = cause
    for j in sorted(set(range(len(found))) - {j for _, j in (*pairs, *flips)}):
        if j in dropped:
            ties.append(Finding(describe("extra", found, j), margins.open(dropped[j]) or ""))
            continue
        cause = origins.why_none(j)
        # A hidden choice excuses no duplicate, which NMS would have suppressed, and no score that is too low.
        outside = None if cause.startswith((DUPLICATE, BELOW)) else hidden(found.boxes[j])
        if outside is not None:
            come[j] = outside
        else:
            foreign[j] = cause
    _spread(wanted, lost, gone, found, foreign, come, margins)
    ties += [Finding(describe("missing", wanted, i), cause) for i, cause in gone.items()]
    ties += [Finding(describe("extra", found, j), cause) for j, cause in come.items()]
    return Comparison(len(pairs), tuple(ties), _defects(wanted, found, lost, foreign, bounds)), pairs


def pair_up(costs: Array, allowed: Array) -> tuple[tuple[int, int], ...]:
    """Pair rows with columns one to one, the lowest cost first, only if ``allowed``."""
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
    """``allowed``, but False in the rows and columns that are already paired."""
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
    margins: Margins,
) -> None:
    """Excuse the differences that follow from a hidden choice, through NMS.

    ``lost`` and ``gone`` are detections of ``wanted`` that are missing; ``foreign`` and ``come`` are extra
    detections of ``found``. A hidden choice excuses ``gone`` and ``come``. An extra detection may suppress
    others or push them out of the best; without a missing one, others may come in. Those are moved from
    ``lost`` to ``gone``, and from ``foreign`` to ``come``.
    """
    changed = True
    while changed:
        changed = False
        for here, certain, excused, there, others in (
            (wanted, lost, gone, found, come),
            (found, foreign, come, wanted, gone),
        ):
            for i in list(certain):
                if certain[i].startswith((NO_CANDIDATE, DUPLICATE, BELOW)):
                    continue
                cause = margins.displaced(here, i, there, others)
                if cause is not None:
                    excused[i] = cause
                    del certain[i]
                    changed = True


def _flip(wanted: Detections, found: Detections, i: int, j: int, margins: Margins) -> Finding:
    """A tie: both legs have the detection, with different classes."""
    what = f"{describe('flipped', wanted, i)}; now class {found.labels[j]}"
    return Finding(what, margins.class_open(int(wanted.indices[i])) or "")


def _defects(
    wanted: Detections,
    found: Detections,
    lost: Mapping[int, str],
    foreign: Mapping[int, str],
    bounds: Mapping[str, float],
) -> tuple[Finding, ...]:
    """The differences that no margin excuses, with their causes.

    A ``lost`` detection and a ``foreign`` one are reported as one that moved, if they have the same class and
    an IoU of MATCH_IOU or more, and the reference has no candidate like the foreign one.
    """
    rows, columns = [*lost], [j for j, cause in foreign.items() if cause == NO_CANDIDATE]
    ious = pairwise_iou(wanted.boxes[rows].astype(np.float64), found.boxes[columns].astype(np.float64))
    same_class = wanted.labels[rows][:, None] == found.labels[columns]
    moved = [(rows[i], columns[j]) for i, j in pair_up(-ious, same_class & (ious >= MATCH_IOU))]
    return (
        *(_moved(wanted, found, i, j, bounds) for i, j in moved),
        *(Finding(describe("missing", wanted, i), lost[i]) for i in rows if i not in dict(moved)),
        *(
            Finding(describe("extra", found, j), cause)
            for j, cause in foreign.items()
            if j not in {column for _, column in moved}
        ),
    )


def _moved(wanted: Detections, found: Detections, i: int, j: int, bounds: Mapping[str, float]) -> Finding:
    shift = float(apart(wanted.boxes[i], found.boxes[j]).max())
    change = float(apart(wanted.scores[i], found.scores[j]))
    before, after = exact(wanted.scores[i]), exact(found.scores[j])
    cause = f"the score moved by {change:.3g} from {before} to {after}, {error_bound(bounds['score'])}"
    if not shift <= bounds["box"]:
        cause = f"the box moved by {shift:.3g} px, {error_bound(bounds['box'])}"
    return Finding(describe("moved", wanted, i), cause)


def describe(verb: str, detections: Detections, i: int) -> str:
    box = ", ".join(f"{value:.1f}" for value in detections.boxes[i])
    return f"{verb}: class {detections.labels[i]}, score {exact(detections.scores[i])}, box [{box}]"


def _excuse(
    candidate: Candidates | None,
    wanted: Detections,
    found: Detections,
    margins: Margins,
    bounds: Mapping[str, float],
    i: int,
) -> tuple[bool, str]:
    """Whether it is a tie that ``found`` lacks detection ``i`` of ``wanted``, and the cause."""
    is_tie, cause = margins.excuse(int(wanted.indices[i]), found)
    if is_tie and candidate is not None and not _is_among(candidate, wanted, i, margins, bounds):
        return False, f"{NO_TRACE}: {cause}"
    return is_tie, cause


def _is_among(
    candidate: Candidates, wanted: Detections, i: int, margins: Margins, bounds: Mapping[str, float]
) -> bool:
    """Whether the file has, within the bounds, the candidate of a wanted detection.

    Returns True if its score is too low to tell: candidates below half the threshold may have been dropped.
    """
    if not wanted.scores[i] - bounds["score"] >= margins.score_threshold / 2:
        return True
    near = candidates_near(candidate, wanted, i, bounds)
    if margins.class_open(int(wanted.indices[i])) is None:
        near &= candidate.labels == wanted.labels[i]
    return bool(near.any())


def same_choice(reference: Detections, candidate: Detections) -> bool:
    """Whether two legs keep the same candidates in the same order, with the same classes."""
    return np.array_equal(reference.indices, candidate.indices) and np.array_equal(
        reference.labels, candidate.labels
    )
