"""Detectors whose graph ends in NMS: one row for each detection of one picture.

``post`` has "first_label", the label of the first of the classes; "score_threshold", which ``predict``
applies; and "graph", what the graph itself decided by: "score_threshold", "iou_threshold",
"max_detections" and, where it has them, "top_candidates" and "proposals", the same settings of a first
stage, with "levels" where its boxes are looked at on one level of a feature pyramid each.

The file tells the rows alone. The PyTorch legs also tell, among their margins, what they were chosen from:
``candidate_boxes`` [m, 4], ``candidate_scores``, ``candidate_labels`` (and ``candidate_groups``) [m] before
the threshold and NMS, in input pixels, and ``candidate_ids`` [m], by which legs know them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from onnxproof.runtime.nms import pairwise_iou
from onnxproof.runtime.tasks._boxes import Candidates, Detections
from onnxproof.runtime.tasks._matching import compare_detections
from onnxproof.runtime.tasks._returned import compare_returned
from onnxproof.runtime.tasks._task import Array, Comparison, Finding

PROPOSAL_IOU = 0.3
"""The IoU below which a proposal has nothing to do with an object (Ren et al. 2015, arXiv:1506.01497, section
3.1.2), and so a detection nothing with a proposal."""


@dataclass(frozen=True, slots=True)
class OpenRegions:
    """Where a hidden decision may go one way or the other: ``boxes`` float [k, 4] (x0, y0, x1, y1, input
    pixels), and the cause of each."""

    boxes: Array
    causes: tuple[str, ...]

    def over(self, box: Array) -> str | None:
        """The cause of the region that overlaps a box most, None where none does by PROPOSAL_IOU."""
        if not self.causes:
            return None
        ious = pairwise_iou(box[None].astype(np.float64), self.boxes.astype(np.float64))[0]
        best = int(ious.argmax())
        return self.causes[best] if ious[best] >= PROPOSAL_IOU else None


NOWHERE = OpenRegions(np.empty((0, 4)), ())


@dataclass(frozen=True, slots=True)
class Rows:
    """One picture's rows, what they were chosen from (None for a file), and where that choice hangs on an
    earlier one that is open."""

    detections: Detections
    candidates: Candidates | None
    open_regions: OpenRegions = NOWHERE

    def quantities(self) -> Mapping[str, Array]:
        """What margins are measured in: coordinates in pixels, and scores."""
        return {"box": self.detections.boxes, "score": self.detections.scores}

    def thin(self, post: Mapping[str, Any]) -> Self:
        """All: the graph has left few."""
        return self

    def decide(self, post: Mapping[str, Any]) -> Detections:
        """The rows above the threshold."""
        rows = above(self.detections, post["score_threshold"])
        return replace(rows, indices=np.arange(len(rows)))


def rows_from(outputs: Mapping[str, Array], post: Mapping[str, Any], margins: Mapping[str, Array]) -> Rows:
    """The rows of a file's or a leg's outputs; ``margins`` as in the module's documentation.

    The rows' ``indices`` are into the candidates where there are any, otherwise their own numbers.
    """
    boxes, labels, scores = (outputs[name] for name in post["outputs"][:3])
    labels = labels - post["first_label"]
    candidates = candidates_from(margins, post)
    if candidates is None:
        return Rows(Detections(boxes, scores, labels, np.arange(len(scores))), None)
    nearest, _ = nearest_candidates(candidates, boxes, scores, labels)
    regions = NOWHERE
    if "open_boxes" in margins:
        regions = OpenRegions(margins["open_boxes"], tuple(str(cause) for cause in margins["open_causes"]))
    return Rows(Detections(boxes, scores, labels, nearest), candidates, regions)


def candidates_from(margins: Mapping[str, Array], post: Mapping[str, Any]) -> Candidates | None:
    """What a PyTorch leg chose its rows from; None where the margins do not tell."""
    if "candidate_boxes" not in margins:
        return None
    return Candidates(
        margins["candidate_boxes"],
        margins["candidate_scores"],
        margins["candidate_labels"] - post["first_label"],
        None,
        margins.get("candidate_groups"),
    )


def nearest_candidates(
    candidates: Candidates, boxes: Array, scores: Array, labels: Array
) -> tuple[Array, Array]:
    """For each row the index of the candidate of its class that lies nearest in box and score, and how far
    away it is (infinite where the class has none): the farthest coordinate, as a share of the picture's
    extent, plus the scores' difference."""
    indices, distances = np.zeros(len(scores), np.int64), np.full(len(scores), np.inf)
    extent = float(np.nanmax(np.abs(candidates.boxes), initial=1.0))
    for label in np.unique(labels):
        rows, members = np.flatnonzero(labels == label), np.flatnonzero(candidates.labels == label)
        if not len(members):
            continue
        apart = np.zeros((len(rows), len(members)))
        with np.errstate(invalid="ignore"):
            for k in range(4):
                moved = np.abs(
                    np.subtract.outer(boxes[rows, k], candidates.boxes[members, k], dtype=np.float64)
                )
                np.maximum(apart, moved, out=apart)
            apart = apart / extent + np.abs(np.subtract.outer(scores[rows], candidates.scores[members]))
        apart = np.where(np.isnan(apart), np.inf, apart)
        best = apart.argmin(axis=1)
        indices[rows], distances[rows] = members[best], apart[np.arange(len(rows)), best]
    return indices, distances


def above(rows: Detections, threshold: float) -> Detections:
    """The rows whose score is above a threshold."""
    chosen = rows.scores > threshold
    return Detections(rows.boxes[chosen], rows.scores[chosen], rows.labels[chosen], rows.indices[chosen])


def compare_rows(
    reference: Rows, candidate: Rows, post: Mapping[str, Any], bounds: Mapping[str, float]
) -> tuple[Comparison, tuple[tuple[int, int], ...]]:
    """Pair the rows above ``post["score_threshold"]``, and tell ties from defects among what is left over;
    and which of the reference's was paired with which of the file's.

    ``reference`` is a PyTorch leg's, with its candidates; where it is a file's, which tells none, the rows
    alone are compared (_returned.py). A row whose score is NaN is a defect, though no
    threshold lets it pass: what it should have been may be a tie, and NaN excuses nothing.
    """
    graph = post["graph"]
    threshold = max(post["score_threshold"], graph["score_threshold"])
    wanted, found = (above(rows.detections, threshold) for rows in (reference, candidate))
    settings = {**graph, "score_threshold": threshold, "class_agnostic": False}
    if reference.candidates is None:
        full = graph.get("max_detections") in (len(reference.detections), len(candidate.detections))
        comparison, pairs = compare_returned(wanted, found, settings, bounds, full=full)
    else:
        comparison, pairs = compare_detections(
            reference.candidates, wanted, found, settings, bounds, reference.open_regions.over
        )
    nans = [int(np.isnan(rows.detections.scores).sum()) for rows in (reference, candidate)]
    if nans[1] > nans[0]:
        lost = Finding("no number: a row that is no detection", f"of {nans[1]} rows the score is NaN")
        comparison = replace(comparison, defects=(*comparison.defects, lost))
    return comparison, pairs
