"""Oriented detections, compared as sets of boxes whatever a box's angle is called."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxproof.runtime.oriented import polygon_iou
from onnxproof.runtime.readings.adjustable import Array
from onnxproof.runtime.readings.boxes import Candidates, Cuts, Detections
from onnxproof.runtime.readings.oriented import OrientedNms, decide_oriented
from onnxproof.runtime.readings.rows import Rows, above
from onnxproof.runtime.tasks.oriented_detection import Evidence, Reading, candidates_of
from onnxproof.validate.compare.comparer import Comparison, Finding, as_compared, error_bound, exact
from onnxproof.validate.compare.last_place import cuts_of
from onnxproof.validate.compare.matching import MATCH_IOU, pair_up, same_choice
from onnxproof.validate.compare.returned import OVERLAPS
from onnxproof.validate.compare.rows import counting_threshold, margins_of_rows, with_lost_numbers
from onnxproof.validate.compare.turned import (
    OpenBoxes,
    corner_distances,
    corner_limits,
    oriented_quantities,
)

NOWHERE = "the reference has no candidate with this class, box and score"
DROPPED = "the reference drops it, and no margin lies within the error bound"
NO_TRACE = "the file has no candidate with this box and score, so none that a margin could excuse"

Thinned = Candidates | Rows


class _OrientedDetection:
    def quantities(self, evidence: Evidence) -> Mapping[str, Array]:
        """Centres and sides in pixels, angles in radians, and scores."""
        boxes = evidence.detections if isinstance(evidence, Rows) else evidence
        return {**oriented_quantities(boxes.boxes), "score": boxes.scores}

    def thin(self, reference: Evidence, candidate: Evidence, reading: Reading) -> tuple[Thinned, Thinned]:
        """The candidates whose score is half the threshold or more. Rows are few."""
        if isinstance(reference, Rows) or isinstance(candidate, Rows):
            assert isinstance(reference, Rows)
            assert isinstance(candidate, Rows)
            return reference, candidate
        return candidates_of(reference, reading), candidates_of(candidate, reading)

    def differ(self, reference: Detections, candidate: Detections) -> bool:
        return not same_choice(reference, candidate)

    def compare(
        self,
        reference: Thinned,
        candidate: Thinned,
        reading: Reading,
        bounds: Mapping[str, float],
    ) -> Comparison:
        if isinstance(reading, OrientedNms):
            assert isinstance(reference, Rows)
            assert isinstance(candidate, Rows)
            return _compare_rows(reference, candidate, reading, bounds)
        assert isinstance(reference, Candidates)
        assert isinstance(candidate, Candidates)
        cuts = cuts_of(reading, reference)
        wanted, found = (decide_oriented(leg, cuts) for leg in (reference, candidate))
        return _compare(reference, wanted, found, cuts, bounds, candidate)

    def margins(self, evidence: Evidence, decisions: Detections, reading: Reading) -> Mapping[str, Array]:
        """How far scores are from the threshold, and of the best class from the next; overlaps are left
        out."""
        if isinstance(evidence, Rows):
            assert isinstance(reading, OrientedNms)
            threshold, candidates = counting_threshold(reading), evidence.candidates
            if candidates is None:
                return margins_of_rows(evidence, reading)
        else:
            threshold, candidates = reading.score_threshold, candidates_of(evidence, reading)
        scores = candidates.scores.astype(np.float64)
        margins = [np.abs(scores - threshold)]
        if candidates.gaps is not None:
            margins.append(candidates.gaps[scores > threshold].astype(np.float64) / 2)
        return {"score": np.concatenate(margins)}

    def count(self, decisions: Detections) -> int:
        return len(decisions)


COMPARER = _OrientedDetection()


def _compare(
    reference: Candidates,
    wanted: Detections,
    found: Detections,
    cuts: Cuts,
    bounds: Mapping[str, float],
    candidate: Candidates | None = None,
    *,
    known: int | None = None,
    in_float32: bool = False,
) -> Comparison:
    """Pair detections, and judge each that is unpaired. ``wanted.indices`` point into ``reference``.

    ``candidate`` are what ``found`` was chosen from, or None if the file does not return them. ``known`` is
    how many of ``reference`` are the reference's own, the first ones; None for all. ``in_float32`` says that
    the file itself has compared overlaps, in float32.
    """
    near = _near(wanted, found, bounds)
    same = wanted.labels[:, None] == found.labels
    distances = corner_distances(wanted.boxes, found.boxes)
    pairs = pair_up(distances, near & same)
    if len(pairs) == len(wanted) == len(found):
        return Comparison(len(pairs), (), ())
    open_boxes = OpenBoxes(reference, cuts, bounds, in_float32=in_float32)
    left = near & ~same & open_boxes.may_flip(wanted.indices)[:, None]
    left[[i for i, _ in pairs]] = False
    left[:, [j for _, j in pairs]] = False
    flips = pair_up(distances, left)
    ties = [
        Finding(
            f"{_describe('flipped', wanted, i)}; now class {found.labels[j]}",
            open_boxes.class_open(int(wanted.indices[i])) or "",
        )
        for i, j in flips
    ]
    lost: dict[int, str] = {}
    least = cuts.score_threshold / 2
    foreign: dict[int, str] = {}
    taken = (*pairs, *flips)
    there = None if candidate is None else _near(wanted, candidate, bounds)
    for i in sorted(set(range(len(wanted))) - {i for i, _ in taken}):
        cause = open_boxes.open(int(wanted.indices[i]))
        if cause is None:
            lost[i] = _no_margin(reference, int(wanted.indices[i]), cuts, bounds)
        elif there is not None and not there[i].any() and wanted.scores[i] - bounds["score"] >= least:
            lost[i] = f"{NO_TRACE}: {cause}"
        else:
            ties.append(Finding(_describe("missing", wanted, i), cause))
    used = {int(wanted.indices[i]) for i, _ in taken}
    here = _near(reference, found, bounds)
    for j in sorted(set(range(len(found))) - {j for _, j in taken}):
        origins = [
            k
            for k in np.flatnonzero(here[:, j]).tolist()
            if reference.labels[k] == found.labels[j] or open_boxes.class_open(k) is not None
        ]
        free = [k for k in origins if k not in used and open_boxes.open(k) is not None]
        if known is not None and open_boxes.overlaps_one(known + j, known + np.arange(len(found))):
            foreign[j] = OVERLAPS
        elif free:
            used.add(free[0])
            ties.append(Finding(_describe("extra", found, j), open_boxes.open(free[0]) or ""))
        else:
            foreign[j] = _foreign(found, j, origins, len(reference) if known is None else known, open_boxes)
    return Comparison(len(pairs), tuple(ties), _defects(wanted, found, lost, foreign))


def _foreign(found: Detections, j: int, origins: Sequence[int], known: int, open_boxes: OpenBoxes) -> str:
    """Why ``found[j]`` is in the reference nowhere. ``origins`` are the candidates that it may be."""
    below = open_boxes.below(float(found.scores[j]))
    if below is not None:
        return below
    return DROPPED if any(k < known for k in origins) else NOWHERE


def _compare_rows(
    reference: Rows, candidate: Rows, reading: OrientedNms, bounds: Mapping[str, float]
) -> Comparison:
    """The same for rows that a graph has chosen. A file shows no other candidates than the rows of both."""
    cuts = reading.graph.cuts(counting_threshold(reading))
    wanted, found = (above(rows.detections, reading.score_threshold) for rows in (reference, candidate))
    candidates, known = reference.candidates, None
    if candidates is None:
        known = len(wanted)
        boxes, scores, labels = (
            np.concatenate([getattr(rows, name) for rows in (wanted, found)])
            for name in ("boxes", "scores", "labels")
        )
        candidates = Candidates(boxes, scores, labels, None)
        wanted = replace(wanted, indices=np.arange(len(wanted)))
    comparison = _compare(candidates, wanted, found, cuts, bounds, known=known, in_float32=True)
    return with_lost_numbers(comparison, reference, candidate)


def _near(here: Any, there: Any, bounds: Mapping[str, float]) -> NDArray[np.bool_]:
    """Whether two boxes and their scores are within the bounds of each other, bool [n, m]."""
    changes = np.abs(np.subtract.outer(here.scores.astype(np.float64), there.scores))
    distances = corner_distances(here.boxes, there.boxes)
    near: NDArray[np.bool_] = (distances <= corner_limits(here.boxes, bounds)[:, None]) & (
        changes <= bounds["score"]
    )
    return near


def _no_margin(reference: Candidates, index: int, cuts: Cuts, bounds: Mapping[str, float]) -> str:
    score, threshold = reference.scores[index], as_compared(cuts.score_threshold, reference.scores)
    return (
        f"no margin of the reference lies within the error bound: score {exact(score)} against threshold "
        f"{exact(threshold)}, {error_bound(bounds['score'])}"
    )


def _defects(
    wanted: Detections, found: Detections, lost: Mapping[int, str], foreign: Mapping[int, str]
) -> tuple[Finding, ...]:
    """The differences that no margin excuses. A lost box and one of its class where the reference has none,
    with an exact IoU of MATCH_IOU or more, are one that moved."""
    rows, columns = [*lost], [j for j, cause in foreign.items() if cause == NOWHERE]
    ious = polygon_iou(wanted.boxes[rows], found.boxes[columns])
    same = wanted.labels[rows][:, None] == found.labels[columns]
    moved = {rows[i]: columns[j] for i, j in pair_up(-ious, same & (ious >= MATCH_IOU))}
    return (
        *(_moved(wanted, found, i, j) for i, j in moved.items()),
        *(Finding(_describe("missing", wanted, i), lost[i]) for i in rows if i not in moved),
        *(
            Finding(_describe("extra", found, j), cause)
            for j, cause in foreign.items()
            if j not in moved.values()
        ),
    )


def _moved(wanted: Detections, found: Detections, i: int, j: int) -> Finding:
    shift = float(corner_distances(wanted.boxes[i, None], found.boxes[j, None])[0, 0])
    before, after = exact(wanted.scores[i]), exact(found.scores[j])
    cause = f"a corner moved by {shift:.3g} px, and the score from {before} to {after}"
    return Finding(_describe("moved", wanted, i), cause)


def _describe(verb: str, detections: Detections, i: int) -> str:
    x, y, width, height, angle = detections.boxes[i].tolist()
    return (
        f"{verb}: class {detections.labels[i]}, score {exact(detections.scores[i])}, box at "
        f"[{x:.1f}, {y:.1f}], {width:.1f} by {height:.1f}, {np.degrees(angle):.1f}°"
    )
