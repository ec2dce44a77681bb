"""Instances by queries: paired by their query and class, masks compared pixel by pixel.

A file's queries stand in the order of the reference's. So an instance's counterpart is that of the same query
and class.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

import numpy as np

from onnxproof.runtime.readings.adjustable import Array
from onnxproof.runtime.readings.boxes import Detections
from onnxproof.runtime.readings.query_masks import (
    MaskedQueries,
    QueryEvidence,
    QueryMaskReading,
    decide_queries,
    mask_score,
)
from onnxproof.validate.compare.comparer import Comparison, Finding, error_bound, exact

STEEPEST = 0.25
"""The steepest slope of the sigmoid: a probability moves by no more than this share of its logit's move."""

AT_THE_EDGE = 0.5
"""How far the probability of a pixel that joins or leaves a mask may lie from the mean of the others."""

Key = tuple[int, int]
"""A query and a class."""

Evidence = TypeVar("Evidence", bound=QueryEvidence)


def query_quantities(evidence: MaskedQueries) -> Mapping[str, Array]:
    """The numbers that margins are measured in."""
    return {"probability": evidence.probabilities, "mask": evidence.masks}


def copy_queries(evidence: Evidence) -> Evidence:
    """The same evidence in arrays of its own: what is open is known only with the error bounds."""
    return replace(evidence, probabilities=evidence.probabilities.copy(), masks=evidence.masks.copy())


def compare_queries(
    reference: MaskedQueries,
    candidate: MaskedQueries,
    reading: QueryMaskReading,
    bounds: Mapping[str, float],
) -> Comparison:
    """Compare the instances, then the masks of each pair.

    With p the bound of a probability and m that of a mask's logit, an instance that only one leg has is a tie
    if one of these holds, and the candidate's numbers of it moved by no more than the bounds:

    - its score is as near to the threshold as p and the mask's mean may move it: by p, by m / 4, and by half
      of the share of its pixels whose logits are within m of 0;
    - its probability is within 2 p of the last one that counts;
    - its mask is as good as empty: no logit is above m.

    A pixel that flips is a tie if the reference's logit is within m of 0, and the candidate's moved by no
    more than m.
    """
    legs = [decide_queries(leg, reading).detections for leg in (reference, candidate)]
    ours, theirs = (_keys(found) for found in legs)
    ties: list[Finding] = []
    defects: list[Finding] = []
    for key in sorted({*ours} ^ {*theirs}):
        is_tie, cause = _explain(key, reference, candidate, reading, bounds)
        verb = "missing" if key in ours else "extra"
        score = ours.get(key, theirs.get(key, 0.0))
        (ties if is_tie else defects).append(Finding(f"{verb}: {_told(key)}, score {exact(score)}", cause))
    matched = 0
    for key in sorted({*ours} & {*theirs}):
        difference = _pixels(key, reference, candidate, reading, bounds["mask"])
        if difference is None:
            matched += 1
        else:
            (ties if difference[0] else defects).append(difference[1])
    return Comparison(matched, tuple(ties), tuple(defects))


def margins_of_queries(evidence: MaskedQueries, reading: QueryMaskReading) -> Mapping[str, Array]:
    """How far the scores of the candidates lie from the threshold. Pixels are left out: of each mask some are
    on its edge."""
    queries, labels = evidence.best()
    probabilities = evidence.probabilities[queries, labels].astype(np.float64)
    means = {int(query): mask_score(evidence.logits(int(query), reading)) for query in np.unique(queries)}
    scores = probabilities * [means[query] for query in queries.tolist()]
    return {"probability": np.abs(scores - reading.score_threshold)}


def _keys(found: Detections) -> dict[Key, float]:
    """The scores of instances by query and class."""
    keys = zip(found.indices.tolist(), found.labels.tolist(), strict=True)
    return dict(zip(keys, found.scores.tolist(), strict=True))


def _told(key: Key) -> str:
    return f"query {key[0]}, class {key[1]}"


def _explain(
    key: Key,
    reference: MaskedQueries,
    candidate: MaskedQueries,
    reading: QueryMaskReading,
    bounds: Mapping[str, float],
) -> tuple[bool, str]:
    """Whether float error may have made or removed an instance, and the cause."""
    query, label = key
    p, m = bounds["probability"], bounds["mask"]
    before, after = (float(leg.probabilities[query, label]) for leg in (reference, candidate))
    ours, theirs = (leg.logits(query, reading).astype(np.float64) for leg in (reference, candidate))
    moved = float(np.abs(theirs - ours).max(initial=0))
    if not (abs(after - before) <= p and moved <= m):
        return False, (
            f"its probability moved by {abs(after - before):.3g}, {error_bound(p)}; "
            f"its logits by {moved:.3g}, {error_bound(m)}"
        )
    score = before * mask_score(ours)
    inside, near = int((ours > 0).sum()), int((np.abs(ours) <= m).sum())
    reach = p + STEEPEST * m + AT_THE_EDGE * near / max(inside - near, 1)
    last = float(np.sort(reference.probabilities[:, :-1], axis=None)[::-1][len(reference.probabilities) - 1])
    told = f"score {exact(score)} against threshold {exact(reading.score_threshold)}, {error_bound(reach)}"
    if abs(score - reading.score_threshold) <= reach:
        return True, told
    if abs(before - last) <= 2 * p:
        return True, (
            f"probability {exact(before)} against {exact(last)} in the last place, "
            f"{error_bound(p, each=True)}"
        )
    if float(ours.max(initial=-np.inf)) <= m and inside <= near:
        return True, f"no logit of its mask is above {exact(m)}, {error_bound(m)}"
    return False, told


def _pixels(
    key: Key,
    reference: MaskedQueries,
    candidate: MaskedQueries,
    reading: QueryMaskReading,
    bound: float,
) -> tuple[bool, Finding] | None:
    """Compare the masks of a pair. Returns None if no pixel flips."""
    ours, theirs = (leg.logits(key[0], reading).astype(np.float64) for leg in (reference, candidate))
    flipped = (ours > 0) != (theirs > 0)
    lost = int((np.isnan(theirs) & ~np.isnan(ours)).sum())
    if not flipped.any() and not lost:
        return None
    count = int(flipped.sum())
    what = f"mask: {_told(key)}: {count} pixel{'' if count == 1 else 's'} flipped"
    if lost:
        return False, Finding(what, f"{lost} logit{' is' if lost == 1 else 's are'} NaN")
    margin = float(np.abs(ours[flipped]).max())
    moved = float(np.abs(ours[flipped] - theirs[flipped]).max())
    cause = f"logits are {margin:.3g} from 0 at most, moved by {moved:.3g} at most, {error_bound(bound)}"
    return margin <= bound and moved <= bound, Finding(what, cause)
