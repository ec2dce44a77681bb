"""Instances whose masks are sums of prototypes: boxes are compared as sets, masks pixel by pixel."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from onnxproof.runtime.readings.adjustable import Array
from onnxproof.runtime.readings.boxes import Detections
from onnxproof.runtime.readings.carried import PaddedMasks, PrototypeRows
from onnxproof.runtime.readings.chosen_rows import MaskRows
from onnxproof.runtime.readings.masks import Patch
from onnxproof.runtime.readings.prototypes import (
    MaskedCandidates,
    Masking,
    PrototypeEvidence,
    PrototypeReading,
)
from onnxproof.validate.compare.carried import mask_quantities
from onnxproof.validate.compare.comparer import Comparison, Finding, error_bound, exact
from onnxproof.validate.compare.last_place import cuts_of
from onnxproof.validate.compare.masks import overlaid
from onnxproof.validate.compare.matching import compare_detections, describe
from onnxproof.validate.compare.rows import compare_rows, row_quantities


def prototype_quantities(
    evidence: PrototypeEvidence | PrototypeRows | MaskedCandidates,
) -> Mapping[str, Array]:
    """The numbers that margins are measured in: coordinates in pixels, scores, and what masks are made of."""
    masks = mask_quantities(evidence.coefficients, evidence.prototypes)
    if isinstance(evidence, PrototypeRows):
        return {**row_quantities(evidence.rows), **masks}
    if isinstance(evidence, MaskedCandidates):
        return {"box": evidence.candidates.boxes, "score": evidence.candidates.scores, **masks}
    return {"box": evidence.rows.boxes, "score": evidence.rows.scores, **masks}


def compare_prototypes(
    reference: MaskedCandidates,
    candidate: MaskedCandidates,
    reading: PrototypeReading | MaskRows,
    bounds: Mapping[str, float],
) -> Comparison:
    """Compare the boxes as for any detector, then the masks of each pair that matches."""
    cuts = cuts_of(reading, reference.candidates)
    wanted, found = (leg.candidates.decide(cuts) for leg in (reference, candidate))
    boxes, pairs = compare_detections(
        reference.candidates, wanted, found, cuts, bounds, candidate=candidate.candidates
    )
    return _with_masks(boxes, pairs, (wanted, found), (reference, candidate), reading, bounds)


def compare_prototype_rows(
    reference: PrototypeRows, candidate: PrototypeRows, reading: PaddedMasks, bounds: Mapping[str, float]
) -> Comparison:
    """The same for rows that the graph has chosen."""
    boxes, pairs = compare_rows(reference.rows, candidate.rows, reading, bounds)
    legs = reference.above(reading.score_threshold), candidate.above(reading.score_threshold)
    wanted, found = (leg.rows.decide(reading.cuts) for leg in (reference, candidate))
    return _with_masks(boxes, pairs, (wanted, found), legs, reading, bounds)


def _with_masks(
    boxes: Comparison,
    pairs: Sequence[tuple[int, int]],
    found: tuple[Detections, Detections],
    legs: tuple[MaskedCandidates, MaskedCandidates],
    reading: Masking,
    bounds: Mapping[str, float],
) -> Comparison:
    """The comparison of the boxes, and of the masks of each pair of them."""
    reference, candidate = legs
    ties: list[Finding] = []
    defects: list[Finding] = []
    for i, j in pairs:
        here, there = (int(leg.indices[at]) for leg, at in zip(found, (i, j), strict=True))
        difference = _compare(
            reference.logits(here, reading.stride),
            candidate.logits(there, reading.stride),
            reading.mask_threshold,
            _logit_bound(reference.coefficients[here], reference.prototypes, bounds),
        )
        if difference is not None:
            is_tie, finding = difference
            told = Finding(f"{describe('mask', found[0], i)}: {finding.what}", finding.cause)
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
