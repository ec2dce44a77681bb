"""Instances whose masks are sums of prototypes: boxes are compared as sets, masks pixel by pixel."""

import math
from collections.abc import Mapping

import numpy as np

from onnxproof.runtime.readings.adjustable import Array
from onnxproof.runtime.readings.masks import Patch
from onnxproof.runtime.readings.prototypes import MaskedCandidates, PrototypeEvidence, PrototypeReading
from onnxproof.validate.compare.comparer import Comparison, Finding, error_bound, exact
from onnxproof.validate.compare.masks import overlaid
from onnxproof.validate.compare.matching import compare_detections, describe


def prototype_quantities(evidence: PrototypeEvidence) -> Mapping[str, Array]:
    """The numbers that margins are measured in: coordinates in pixels, scores, and what masks are made of."""
    return {
        "box": evidence.rows.boxes,
        "score": evidence.rows.scores,
        "coefficient": evidence.coefficients,
        "prototype": evidence.prototypes,
    }


def compare_prototypes(
    reference: MaskedCandidates,
    candidate: MaskedCandidates,
    reading: PrototypeReading,
    bounds: Mapping[str, float],
) -> Comparison:
    """Compare the boxes as for any detector, then the masks of each pair that matches."""
    wanted, found = (leg.candidates.decide(reading.cuts) for leg in (reference, candidate))
    boxes, pairs = compare_detections(
        reference.candidates, wanted, found, reading.cuts, bounds, candidate=candidate.candidates
    )
    ties: list[Finding] = []
    defects: list[Finding] = []
    for i, j in pairs:
        here, there = int(wanted.indices[i]), int(found.indices[j])
        difference = _compare(
            reference.logits(here, reading.stride),
            candidate.logits(there, reading.stride),
            reading.mask_threshold,
            _logit_bound(reference.coefficients[here], reference.prototypes, bounds),
        )
        if difference is not None:
            is_tie, finding = difference
            told = Finding(f"{describe('mask', wanted, i)}: {finding.what}", finding.cause)
            (ties if is_tie else defects).append(told)
    matched = boxes.matched - len(ties) - len(defects)
    return Comparison(matched, (*boxes.ties, *ties), (*boxes.defects, *defects))


def _logit_bound(coefficients: Array, prototypes: Array, bounds: Mapping[str, float]) -> float:
    """How far float error can have moved a logit, the sum of c p: |c| times p's bound, |p| times c's, and
    both."""
    weights = np.abs(coefficients.astype(np.float64))
    largest = np.abs(prototypes).max(axis=(1, 2)).astype(np.float64)
    own, shared = bounds["coefficient"], bounds["prototype"]
    return float((weights * shared + largest * own + own * shared).sum())


def _compare(wanted: Patch, found: Patch, threshold: float, bound: float) -> tuple[bool, Finding] | None:
    """Compare the masks of a matched pair, as logits. Returns None if no pixel flips.

    Pixels that only one leg's box holds are a tie: the boxes lie within their bounds of each other, or they
    were no pair. Any other pixel is a tie if the reference's logit is within the bound of the threshold, and
    the candidate's moved by no more than the bound.
    """
    limit = -math.inf if threshold <= 0 else math.inf if threshold >= 1 else -math.log(1 / threshold - 1)
    ours, theirs = overlaid((wanted, found))
    inside = [
        canvas > 0
        for canvas in overlaid(
            [Patch(of.left, of.top, np.ones(of.pixels.shape, np.uint8)) for of in (wanted, found)]
        )
    ]
    flipped = (inside[0] & (ours > limit)) != (inside[1] & (theirs > limit))
    lost = int((np.isnan(theirs) & ~np.isnan(ours)).sum())
    if not flipped.any() and not lost:
        return None
    count = int(flipped.sum())
    what = f"{count} pixel{'' if count == 1 else 's'} flipped"
    if lost:
        return False, Finding(what, f"{lost} logit{' is' if lost == 1 else 's are'} NaN")
    both = flipped & inside[0] & inside[1]
    if not both.any():
        return True, Finding(what, "they lie at the edge of the box, which float error moved across them")
    margins = np.abs(ours[both].astype(np.float64) - limit)
    moves = np.abs(ours[both].astype(np.float64) - theirs[both])
    cause = (
        f"logit {exact(ours[both][int(margins.argmax())])} against {exact(limit)}, moved by "
        f"{moves.max():.3g}, {error_bound(bound)}"
    )
    return bool(margins.max() <= bound and moves.max() <= bound), Finding(what, cause)
