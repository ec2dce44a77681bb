"""Rows with the last score of a top-k inside the graph.

A file with rows (``RowSet``) returns the best candidates alone. More candidates than fit may have the score
of the last row: on a picture of one value most places score alike. Nothing then decides which of them the
top-k keeps, and the file does not show the others. So of the rows with the last score only the scores are
compared, which are the same whichever candidates are kept.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxproof.contract import Reading
from onnxproof.counted import Kept
from onnxproof.runtime.readings.adjustable import Array
from onnxproof.runtime.readings.boxes import Candidates, Cuts
from onnxproof.runtime.readings.sets import RowSet
from onnxproof.validate.legs.leg import Arrays

ROUNDINGS = 4.0
"""How many float32 roundings may part scores that are equal, beyond what float error is measured to do."""

MOST_APART = 1e-3
"""The largest distance of scores that are taken for equal."""


def decided_rows(exact: Arrays, reference: Arrays, reading: Reading) -> Kept:
    """Where outputs of rows are compared: everywhere but in open rows, and there the scores.

    ``exact`` are the oracle's outputs, ``reference`` those of PyTorch in float32. Empty if no row is open.
    """
    if not isinstance(reading, RowSet):
        return {}
    scores, others = (reading.scores(outputs).astype(np.float64) for outputs in (exact, reference))
    is_open = np.stack([_open(*pair) for pair in zip(scores, others, strict=True)])
    if not is_open.any():
        return {}
    kept: Mapping[str, Array] = reading.spread_over(~is_open, exact)
    return kept


def cuts_of(reading: Any, reference: Candidates) -> Cuts:
    """The reading's cuts. If all rows that a graph has chosen score above the threshold, the last one's score
    is the threshold: what the graph left out is not known, and may score as much."""
    cuts: Cuts = reading.cuts
    if not isinstance(reading, RowSet) or len(reference) != reading.max_detections:
        return cuts
    return replace(cuts, score_threshold=max(cuts.score_threshold, float(reference.scores.min())))


def both(first: Kept, second: Kept) -> Kept:
    """Where both keep an output."""
    shared = {name: first[name] & second[name] for name in first if name in second}
    return {**first, **second, **shared}


def _open(scores: Array, others: Array) -> NDArray[np.bool_]:
    """Which rows of one picture have the last score: bool [n]. ``others`` are the reference's scores [n].

    A row that is alone in its picture is none of them, so that something is compared.
    """
    if len(scores) < 2 or not (np.isfinite(scores).all() and np.isfinite(others).all()):
        return np.zeros(len(scores), bool)
    # The k-th best of several numbers moves by at most as much as the numbers do.
    error = float(np.abs(np.sort(scores) - np.sort(others)).max())
    rounding = ROUNDINGS * float(np.finfo(np.float32).eps) * float(np.abs(scores).max())
    last: NDArray[np.bool_] = scores <= scores.min() + min(2 * error + rounding, MOST_APART)
    return last
