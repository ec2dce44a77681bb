"""Rows of a graph that ends in NMS, compared as sets."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from onnxproof.runtime.readings.adjustable import Array
from onnxproof.runtime.readings.rows import RowReading, Rows, above
from onnxproof.validate.compare.closest import margins_of_boxes
from onnxproof.validate.compare.comparer import Comparison, Finding
from onnxproof.validate.compare.matching import compare_detections
from onnxproof.validate.compare.returned import compare_returned


def row_quantities(rows: Rows) -> Mapping[str, Array]:
    """The numbers that margins are measured in: coordinates in pixels, and scores."""
    return {"box": rows.detections.boxes, "score": rows.detections.scores}


def counting_threshold(reading: RowReading) -> float:
    """The score by which it is decided what is a detection: the graph's own threshold, or a higher one of
    ``predict``. A file with another threshold of its own may return rows below it."""
    return max(reading.score_threshold, reading.graph.score_threshold)


def margins_of_rows(rows: Rows, reading: RowReading) -> Mapping[str, Array]:
    """The margins of what becomes a detection, by quantity. A file's rows show their scores alone."""
    threshold = counting_threshold(reading)
    if rows.candidates is None:
        return {"score": np.abs(rows.detections.scores.astype(np.float64) - threshold)}
    return margins_of_boxes(rows.candidates, above(rows.detections, threshold), reading.graph.cuts(threshold))


def compare_rows(
    reference: Rows, candidate: Rows, reading: RowReading, bounds: Mapping[str, float]
) -> tuple[Comparison, tuple[tuple[int, int], ...]]:
    """Pair the rows above ``reading.score_threshold``, and judge each unpaired one as a tie or a defect.

    Returns the comparison, and the pairs as indices into the reference's and the candidate's rows.

    If ``reference`` is a PyTorch leg's, it has candidates. A file's has none; then only the rows are compared
    (returned.py). A row of ``candidate`` that scores below the graph's own threshold is a defect: the graph
    should have dropped it. Each row with a NaN score that the reference has not is a defect, although NaN is
    above no threshold: otherwise the rows that are missing instead might all be ties.
    """
    wanted, found = (above(rows.detections, reading.score_threshold) for rows in (reference, candidate))
    cuts = reading.graph.cuts(counting_threshold(reading))
    if reference.candidates is None:
        full = cuts.max_detections in (len(reference.detections), len(candidate.detections))
        comparison, pairs = compare_returned(wanted, found, cuts, bounds, full=full)
    else:
        comparison, pairs = compare_detections(
            reference.candidates, wanted, found, cuts, bounds, reference.open_regions.over
        )
    return with_lost_numbers(comparison, reference, candidate), pairs


def with_lost_numbers(comparison: Comparison, reference: Rows, candidate: Rows) -> Comparison:
    """The comparison, with a defect for each of the candidate's rows that scores NaN, beyond the
    reference's."""
    nans = [int(np.isnan(rows.detections.scores).sum()) for rows in (reference, candidate)]
    if nans[1] <= nans[0]:
        return comparison
    lost = Finding("no number: a row that is no detection", f"of {nans[1]} rows the score is NaN")
    return replace(comparison, defects=(*comparison.defects, *[lost] * (nans[1] - nans[0])))
