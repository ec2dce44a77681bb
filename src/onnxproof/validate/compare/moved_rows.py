"""The rows that a leg returns alike before and after its numbers are moved by a rounding.

Where candidates score alike, a rounding decides which of them NMS keeps, and in which order rows come. So a
row is not held against the row at its place but against the one that comes from the same candidate. A row
that only one of the two runs returns is left out.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from onnxproof.runtime.readings.adjustable import Array
from onnxproof.runtime.readings.boxes import Detections
from onnxproof.runtime.readings.carried import CarriedReading
from onnxproof.runtime.readings.rows import MaskReading, RowReading, rows_from
from onnxproof.validate.compare.masks import mask_rows_comparable
from onnxproof.validate.compare.matching import pair_up
from onnxproof.validate.compare.returned_pairs import nearest_rows
from onnxproof.validate.compare.row_pairs import MASKS
from onnxproof.validate.legs.leg import Answer, Arrays


def same_rows(
    oracle: Answer, still: Arrays, moved: Arrays, reading: RowReading, sizes: Mapping[str, int]
) -> tuple[Arrays, Arrays]:
    """The outputs of both runs with only the rows of the same candidates, in the same order.

    The candidates are the ``oracle``'s. If it has none, rows of the same class that overlap are paired. Both
    results are empty if a run lacks an output, or has a row of a picture that is not there.
    """
    runs = (still, moved)
    if any(name not in outputs for outputs in runs for name in reading.outputs):
        return {}, {}
    if any(reading.refuse(outputs, sizes) is not None for outputs in runs):
        return {}, {}
    told = [own for _, own in reading.by_picture(oracle.outputs, sizes, oracle.margins)]
    a, b = ([own for own, _ in reading.by_picture(outputs, sizes, {})] for outputs in runs)
    parts = [_of_picture(*part, reading) for part in zip(told, a, b, strict=True)]
    first, second = ([part[leg] for part in parts] for leg in range(len(runs)))
    return _together(first), _together(second)


def _of_picture(margins: Arrays, still: Arrays, moved: Arrays, reading: RowReading) -> tuple[Arrays, Arrays]:
    runs = (still, moved)
    a, b = (rows_from(outputs, reading, margins).detections for outputs in runs)
    pairs = _same_candidates(a, b) if "candidate_boxes" in margins else nearest_rows(a, b)
    chosen = np.array(pairs, np.int64).reshape(-1, len(runs)).T
    shared = reading.shared if isinstance(reading, CarriedReading) else ()
    # The first axis of what all rows share is turned into that of one row, so that pictures can be joined.
    first, second = (
        {name: array[None] if name in shared else array[rows] for name, array in outputs.items()}
        for outputs, rows in zip(runs, chosen, strict=True)
    )
    if isinstance(reading, MaskReading):
        boxes, masks = reading.outputs[0], reading.outputs[MASKS]
        alike = mask_rows_comparable([first[boxes], second[boxes]], reading.mask_side)
        first[masks], second[masks] = first[masks][alike], second[masks][alike]
    return first, second


def _same_candidates(a: Detections, b: Detections) -> tuple[tuple[int, int], ...]:
    """The pairs of rows that come from the same candidate and are of the same class, the nearest first."""
    alike = (a.indices[:, None] == b.indices) & (a.labels[:, None] == b.labels)
    with np.errstate(invalid="ignore"):
        moved = np.abs(np.subtract(a.boxes[:, None], b.boxes[None], dtype=np.float64)).max(axis=2, initial=0)
        changed = np.abs(np.subtract.outer(a.scores.astype(np.float64), b.scores))
    return pair_up(moved + changed, alike)


def _together(parts: Sequence[Mapping[str, Array]]) -> Arrays:
    """The outputs of all pictures, one after another."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}
