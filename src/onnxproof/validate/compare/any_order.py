"""Put the rows of one leg into the order of another's, where a network returns them as a set.

A top-k puts rows into the order of their scores, and float error swaps rows whose scores are nearly equal. So
each row is measured against the row that it is nearest to. No row is left out, and none is used twice: a
wrong value stays wrong.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from onnxproof.contract import Reading
from onnxproof.runtime.readings.adjustable import Array
from onnxproof.runtime.readings.sets import SetReading
from onnxproof.validate.compare.matching import pair_up
from onnxproof.validate.legs.leg import Answer, Arrays


def in_order_of(first: Answer, other: Answer, reading: Reading) -> Answer:
    """``other`` with its rows in the order of ``first``; unchanged if the reading has rows with places."""
    return replace(other, outputs=arrays_in_order_of(first.outputs, other.outputs, reading))


def arrays_in_order_of(first: Arrays, other: Arrays, reading: Reading) -> Arrays:
    """The same for outputs by name. Outputs that the reading does not read stay as they are."""
    if not isinstance(reading, SetReading) or not reading.any_order:
        return other
    names = reading.row_outputs
    if not all(name in first and name in other and first[name].shape == other[name].shape for name in names):
        return other
    wanted, found = (reading.row_keys(outputs).astype(np.float64) for outputs in (first, other))
    orders = [_order(*pair) for pair in zip(wanted, found, strict=True)]
    if all(np.array_equal(order, np.arange(len(order))) for order in orders):
        return other
    moved: Mapping[str, Array] = {
        name: np.stack([rows[order] for rows, order in zip(other[name], orders, strict=True)])
        for name in names
    }
    return {**other, **moved}


def _order(wanted: Array, found: Array) -> NDArray[np.int64]:
    """For each row of ``wanted`` [n, k], the row of ``found`` [n, k] that is paired with it."""
    scale = np.abs(np.where(np.isfinite(wanted), wanted, 0)).max(axis=0, initial=0)
    scale[scale == 0] = 1  # such as the label, if all rows are of class 0
    apart = np.zeros((len(wanted), len(found)))
    with np.errstate(invalid="ignore"):
        for k in range(wanted.shape[1]):
            distance = np.abs(wanted[:, k, None] - found[:, k]) / scale[k]
            np.maximum(apart, np.where(np.isnan(distance), np.inf, distance), out=apart)
    order = np.arange(len(wanted))
    # Most rows are in their place: each is the other's nearest.
    places = apart[order, order]
    nearer = (apart.min(axis=axis, initial=np.inf) < places for axis in (0, 1))
    away = np.flatnonzero(np.logical_or(*nearer))
    if len(away):
        pairs = pair_up(apart[np.ix_(away, away)], np.ones((len(away), len(away)), bool))
        rows, columns = np.array(pairs).T
        order[away[rows]] = away[columns]
    return order
