"""Integers that a model chose: the place of the best score, the places of the k best, or what it rounds a
float to.

Such an integer is no class. If two scores are equal within float error, their places in another order are as
right. What was chosen from is not among the outputs, so only a leg that sees how they are computed has it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxproof.tensors import Field

Array = NDArray[Any]

PARTED = 1e-3
"""Scores that differ by more than this share of the largest score differ by more than float error."""

CHUNK = 2**22
"""How many numbers are compared at once."""


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """How the integers of one output were chosen.

    Each was chosen from a row of ``scores`` [b, n]. ``rows`` has the output's shape and names each integer's
    row; ``places``, of the same shape, is where in its row it was found. ``values`` [b, n] is what the output
    holds if a place is chosen: the place itself, or what the model computes from it. ``distinct`` says that
    no two integers of a row are equal. ``rounded`` says that no scores were ranked: a float was rounded or
    compared, and the row has it beside the numbers that it would be next. ``compared`` is the largest
    magnitude of floats that were compared: their scores are how far they are apart, which float error does
    not grow with.
    """

    scores: Array
    rows: Array
    places: Array
    values: Array
    distinct: bool
    rounded: bool = False
    compared: float = 0.0

    def gaps(self, found: Array) -> Array:
        """How far the score of what was ``found`` is from the score of what was chosen, for each integer.

        0 where both are the same. Infinite where nothing in the row leads to what was found, and where
        ``found`` repeats an integer of a row although places are distinct.
        """
        chosen = self.values[self.rows, self.places]
        gaps = np.zeros(found.shape)
        flipped = found != chosen
        rows, places, wanted = self.rows[flipped], self.places[flipped], found[flipped]
        parts = []
        step = max(CHUNK // max(self.scores.shape[1], 1), 1)
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            scores = self.scores[rows[part]].astype(np.float64)
            own = np.take_along_axis(scores, places[part, None], axis=1)
            same = (scores == own) | (np.isnan(scores) & np.isnan(own))
            leads = self.values[rows[part]] == wanted[part, None]
            with np.errstate(invalid="ignore"):
                apart = np.where(same, 0, np.nan_to_num(np.abs(scores - own), nan=np.inf))
            parts.append(np.min(np.where(leads, apart, np.inf), axis=1, initial=np.inf))
        gaps[flipped] = np.concatenate(parts) if parts else 0
        if self.distinct and flipped.any():
            concerned = np.isin(self.rows, np.unique(rows))
            told = np.stack((self.rows[concerned], found[concerned]), axis=1)
            _, inverse, counts = np.unique(told, axis=0, return_inverse=True, return_counts=True)
            gaps[concerned] = np.where(counts[inverse.reshape(-1)] > 1, np.inf, gaps[concerned])
        return gaps


@dataclass(frozen=True, slots=True, eq=False)
class InPlay:
    """How the scores that two legs chose differ: the largest difference, and the largest score.

    ``parted`` bool [b] are the rows in which they differ by more than float error, because the model decides
    something before it chooses (a peak is kept if it equals the maximum around it). These are left out of
    ``error``: what is chosen from them is as open as that decision.
    """

    error: float
    scale: float
    parted: NDArray[np.bool_]


def may_be_chosen(entry: Field) -> bool:
    """Whether a field may be a whole output of integers that were chosen."""
    return entry.kind == "label" and entry.ranks is None and (entry.start, entry.stop) == (0, None)


def compare_scores(oracle: Choice, reference: Choice) -> InPlay:
    """Compare the scores that either of two legs chose, row by row.

    Scores that neither chose are left out: a model may set them to another value by a choice of its own.
    """
    parted = np.zeros(len(oracle.scores), bool)
    if oracle.scores.shape != reference.scores.shape:
        return InPlay(0.0, 0.0, ~parted)
    rows = np.concatenate((oracle.rows.reshape(-1), reference.rows.reshape(-1)))
    places = np.concatenate((oracle.places.reshape(-1), reference.places.reshape(-1)))
    here, there = (scores[rows, places].astype(np.float64) for scores in (oracle.scores, reference.scores))
    with np.errstate(invalid="ignore"):
        apart = np.where(here == there, 0, np.nan_to_num(np.abs(here - there), nan=0.0, posinf=np.inf))
    scale = float(np.max(np.abs(here), initial=0, where=np.isfinite(here)))
    parted[rows[apart > PARTED * max(scale, oracle.compared)]] = True
    return InPlay(float(np.max(apart, initial=0, where=~parted[rows])), scale, parted)
