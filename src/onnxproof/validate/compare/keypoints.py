"""Objects with keypoints: boxes are compared as sets, then the points of each pair."""

from collections.abc import Mapping, Sequence

import numpy as np

from onnxproof.runtime.readings.adjustable import Array
from onnxproof.runtime.readings.carried import PaddedPoints, PointRows
from onnxproof.runtime.readings.instances import Chosen
from onnxproof.runtime.readings.points import Poses, poses_of
from onnxproof.runtime.tasks.keypoints import Evidence, Reading, candidates_of
from onnxproof.validate.compare.carried import point_quantities
from onnxproof.validate.compare.closest import margins_of_boxes
from onnxproof.validate.compare.comparer import Comparison, Finding, as_compared, error_bound, exact
from onnxproof.validate.compare.last_place import cuts_of
from onnxproof.validate.compare.matching import compare_detections, same_choice
from onnxproof.validate.compare.nearness import apart
from onnxproof.validate.compare.rows import compare_rows, margins_of_rows, row_quantities

Thinned = Chosen | PointRows


class _Keypoints:
    def quantities(self, evidence: Evidence) -> Mapping[str, Array]:
        """Coordinates of boxes and of points in pixels, scores, and visibilities."""
        if isinstance(evidence, Chosen):
            boxes = evidence.candidates
            return {"box": boxes.boxes, "score": boxes.scores, **point_quantities(evidence.more)}
        points = point_quantities(evidence.points)
        if isinstance(evidence, PointRows):
            return {**row_quantities(evidence.rows), **points}
        return {"box": evidence.rows.boxes, "score": evidence.rows.scores, **points}

    def thin(self, reference: Evidence, candidate: Evidence, reading: Reading) -> tuple[Thinned, Thinned]:
        """The candidates whose score is half the threshold or more, with their points. Rows are few."""
        if isinstance(reference, PointRows) or isinstance(candidate, PointRows):
            assert isinstance(reference, PointRows)
            assert isinstance(candidate, PointRows)
            return reference, candidate
        return candidates_of(reference, reading), candidates_of(candidate, reading)

    def differ(self, reference: Poses, candidate: Poses) -> bool:
        return not (
            same_choice(reference.detections, candidate.detections)
            and np.array_equal(reference.seen(), candidate.seen())
        )

    def compare(
        self, reference: Thinned, candidate: Thinned, reading: Reading, bounds: Mapping[str, float]
    ) -> Comparison:
        """Compare the boxes as for any detector, then which points each matched pair shows, and where."""
        if isinstance(reading, PaddedPoints):
            assert isinstance(reference, PointRows)
            assert isinstance(candidate, PointRows)
            rows, pairs = compare_rows(reference.rows, candidate.rows, reading, bounds)
            return _with_points(rows, pairs, reference.decide(reading), candidate.decide(reading), bounds)
        assert isinstance(reference, Chosen)
        assert isinstance(candidate, Chosen)
        cuts = cuts_of(reading, reference.candidates)
        wanted, found = (poses_of(leg, cuts, reading.point_threshold) for leg in (reference, candidate))
        boxes, pairs = compare_detections(
            reference.candidates,
            wanted.detections,
            found.detections,
            cuts,
            bounds,
            candidate=candidate.candidates,
        )
        return _with_points(boxes, pairs, wanted, found, bounds)

    def margins(self, evidence: Evidence, decisions: Poses, reading: Reading) -> Mapping[str, Array]:
        if isinstance(evidence, PointRows):
            assert isinstance(reading, PaddedPoints)
            boxes = margins_of_rows(evidence.rows, reading)
        else:
            chosen = candidates_of(evidence, reading)
            boxes = margins_of_boxes(chosen.candidates, decisions.detections, reading.cuts)
        points = evidence.more if isinstance(evidence, Chosen) else evidence.points
        if points.shape[-1] == 2:
            return boxes
        visible = decisions.points[..., 2].astype(np.float64)
        return {**boxes, "visibility": np.abs(visible - reading.point_threshold)}

    def count(self, decisions: Poses) -> int:
        return len(decisions)


COMPARER = _Keypoints()


def _with_points(
    boxes: Comparison,
    pairs: Sequence[tuple[int, int]],
    wanted: Poses,
    found: Poses,
    bounds: Mapping[str, float],
) -> Comparison:
    """The comparison of the boxes, and of the points of each pair of them."""
    ties: list[Finding] = []
    defects: list[Finding] = []
    for i, j in pairs:
        told = _differences(wanted, i, found, j, bounds)
        ties += [finding for is_tie, finding in told if is_tie]
        defects += [finding for is_tie, finding in told if not is_tie]
    other = len({finding.what.partition(":")[0] for finding in (*ties, *defects)})
    return Comparison(boxes.matched - other, (*boxes.ties, *ties), (*boxes.defects, *defects))


def _differences(
    wanted: Poses, i: int, found: Poses, j: int, bounds: Mapping[str, float]
) -> list[tuple[bool, Finding]]:
    """How the points of a matched pair differ: whether each difference is a tie, and what it is.

    A point that only one leg shows is a tie if the reference's visibility is within the bound of the
    threshold and moved by no more than the bound. A point that both show lies within the bound, or is a
    defect.
    """
    label, score = wanted.detections.labels[i], exact(wanted.detections.scores[i])
    called = f"object {i} of class {label}, score {score}"
    threshold = as_compared(wanted.threshold, wanted.points)
    bound = bounds.get("visibility", 0.0)
    told = []
    ours, theirs = wanted.seen()[i], found.seen()[j]
    shown = wanted.points[i, :, 2].astype(np.float64)
    moves = apart(wanted.points[i], found.points[j])
    for k in np.flatnonzero(ours != theirs).tolist():
        is_tie = bool(abs(shown[k] - threshold) <= bound and moves[k, 2] <= bound)
        verb = "missing" if ours[k] else "extra"
        cause = (
            f"visibility {exact(shown[k])} against threshold {exact(wanted.threshold)}, moved by "
            f"{moves[k, 2]:.3g}, {error_bound(bound)}"
        )
        told.append((is_tie, Finding(f"{called}: point {k} is {verb}", cause)))
    for k in np.flatnonzero(ours & theirs).tolist():
        shift = float(moves[k, :2].max())
        if not shift <= bounds["point"]:
            cause = f"the point moved by {shift:.3g} px, {error_bound(bounds['point'])}"
            told.append((False, Finding(f"{called}: point {k} moved", cause)))
    return told
