"""Pair the rows of two files, so that errors can be measured.

Neither file returns the candidates that its rows were chosen from. So each row is measured against the
nearest row of the same class in both runs of the first file. A row without a counterpart is not measured; the
decisions show it.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxproof.runtime.nms import pairwise_iou
from onnxproof.runtime.oriented import polygon_iou
from onnxproof.runtime.readings.boxes import Detections
from onnxproof.runtime.readings.carried import CarriedReading
from onnxproof.runtime.readings.oriented import OrientedNms
from onnxproof.runtime.readings.rows import MaskReading, RowReading, rows_from
from onnxproof.validate.compare.masks import mask_rows_comparable
from onnxproof.validate.compare.matching import MATCH_IOU
from onnxproof.validate.compare.row_pairs import MASKS, Paired, add_carried, by_output, with_angles
from onnxproof.validate.legs.leg import Answer

Array = NDArray[Any]

ORIENTED = 5
"""Numbers of a box that is turned."""


def pair_returned(oracle: Answer, reference: Answer, candidate: Answer, reading: RowReading) -> Paired:
    """The outputs of three runs, with only the rows that all three return, in the same order. The candidate's
    other rows are held back."""
    names = reading.outputs
    answers = tuple(answer.outputs for answer in (oracle, reference, candidate))
    truth, wanted, found = (rows_from(outputs, reading, {}).detections for outputs in answers)
    in_truth, in_found = dict(nearest_rows(wanted, truth)), dict(nearest_rows(wanted, found))
    shared = sorted(in_truth.keys() & in_found.keys())
    rows = [
        np.array(chosen, np.int64)
        for chosen in ([in_truth[i] for i in shared], shared, [in_found[i] for i in shared])
    ]
    legs: list[dict[str, Array]] = [
        {"box": leg.boxes[chosen], "score": leg.scores[chosen]}
        for leg, chosen in zip((truth, wanted, found), rows, strict=True)
    ]
    if isinstance(reading, MaskReading):
        alike = mask_rows_comparable([leg["box"] for leg in legs], reading.mask_side)
        for leg, answer, chosen in zip(legs, answers, rows, strict=True):
            leg["mask"] = answer[names[MASKS]][chosen[alike]]
    outputs = by_output(legs, names)
    if isinstance(reading, OrientedNms):
        with_angles(legs)
    if isinstance(reading, CarriedReading):
        carried = [answer[reading.carried][chosen] for answer, chosen in zip(answers, rows, strict=True)]
        add_carried(outputs, legs, (oracle, reference, candidate), carried, reading)
    return Paired(
        (outputs[0], outputs[1], outputs[2]),
        (legs[0], legs[1], legs[2]),
        rows=len(found),
        held_back=len(found) - len(shared),
    )


def nearest_rows(a: Detections, b: Detections) -> tuple[tuple[int, int], ...]:
    """Pair rows of ``a`` with rows of ``b`` of the same class, one to one, the nearest first.

    Paired rows have an IoU of MATCH_IOU or more. Their distance is the largest difference of a coordinate, as
    a share of the largest coordinate of all, plus the difference of the scores.
    """
    overlap_of = polygon_iou if a.boxes.shape[1] == ORIENTED else pairwise_iou
    extent = float(np.nanmax(np.abs(np.concatenate((a.boxes, b.boxes))), initial=1.0))
    with np.errstate(invalid="ignore"):
        moved = np.abs(np.subtract(a.boxes[:, None], b.boxes[None], dtype=np.float64)).max(axis=2, initial=0)
        changed = np.abs(np.subtract.outer(a.scores.astype(np.float64), b.scores))
        overlap = overlap_of(a.boxes.astype(np.float64), b.boxes.astype(np.float64))
    distances = moved / extent + changed
    allowed = (a.labels[:, None] == b.labels) & ~(overlap < MATCH_IOU)
    i, j = np.nonzero(allowed)
    order = np.argsort(distances[i, j], kind="stable")
    pairs, taken_a, taken_b = [], set(), set()
    for row, column in zip(i[order].tolist(), j[order].tolist(), strict=True):
        if row not in taken_a and column not in taken_b:
            pairs.append((row, column))
            taken_a.add(row)
            taken_b.add(column)
    return tuple(pairs)
