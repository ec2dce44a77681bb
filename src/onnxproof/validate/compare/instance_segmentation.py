"""Instances: boxes are compared as sets, masks pixel by pixel."""

from collections.abc import Mapping

import numpy as np

from onnxproof.runtime.readings.adjustable import Array
from onnxproof.runtime.readings.boxes import Detections
from onnxproof.runtime.readings.carried import PaddedMasks, PrototypeRows
from onnxproof.runtime.readings.chosen_rows import MaskRows
from onnxproof.runtime.readings.chosen_rows import above as above_half
from onnxproof.runtime.readings.masks import Instances, Patch
from onnxproof.runtime.readings.prototypes import (
    MaskedCandidates,
    PrototypeEvidence,
    PrototypeReading,
    chosen_masks,
)
from onnxproof.runtime.readings.query_masks import MaskedQueries, QueryMaskReading
from onnxproof.runtime.readings.rows import MaskReading, above
from onnxproof.runtime.tasks.instance_segmentation import AnyEvidence as Whole
from onnxproof.runtime.tasks.instance_segmentation import Evidence, Reading, masks_above
from onnxproof.validate.compare.closest import margins_of_boxes
from onnxproof.validate.compare.comparer import Comparison, Finding
from onnxproof.validate.compare.masks import compare_masks, overlaid
from onnxproof.validate.compare.prototypes import (
    compare_prototype_rows,
    compare_prototypes,
    prototype_quantities,
)
from onnxproof.validate.compare.query_masks import (
    compare_queries,
    copy_queries,
    margins_of_queries,
    query_quantities,
)
from onnxproof.validate.compare.rows import compare_rows, margins_of_rows, row_quantities


class _InstanceSegmentation:
    def quantities(self, evidence: Whole) -> Mapping[str, Array]:
        if isinstance(evidence, MaskedQueries):
            return query_quantities(evidence)
        if isinstance(evidence, PrototypeEvidence | PrototypeRows | MaskedCandidates):
            return prototype_quantities(evidence)
        return row_quantities(evidence.rows)

    def thin(
        self,
        reference: Whole,
        candidate: Whole,
        reading: Reading,
    ) -> tuple[Whole, Whole]:
        """The evidence without the masks of rows that are not detected. The other masks are copied, so that
        the output arrays can be freed."""
        if isinstance(reading, QueryMaskReading):
            assert isinstance(reference, MaskedQueries)
            assert isinstance(candidate, MaskedQueries)
            return copy_queries(reference), copy_queries(candidate)
        if isinstance(reading, PrototypeReading):
            assert isinstance(reference, PrototypeEvidence)
            assert isinstance(candidate, PrototypeEvidence)
            return chosen_masks(reference, reading), chosen_masks(candidate, reading)
        if isinstance(reading, PaddedMasks):
            return reference, candidate
        if isinstance(reading, MaskRows):
            assert isinstance(reference, MaskedCandidates)
            assert isinstance(candidate, MaskedCandidates)
            least = reading.score_threshold / 2
            return above_half(reference, least), above_half(candidate, least)
        assert isinstance(reference, Evidence)
        assert isinstance(candidate, Evidence)
        return _thinned(reference, reading), _thinned(candidate, reading)

    def differ(self, reference: Instances, candidate: Instances) -> bool:
        return not (
            np.array_equal(reference.detections.labels, candidate.detections.labels)
            and all(
                _alike(*regions) for regions in zip(reference.regions(), candidate.regions(), strict=True)
            )
        )

    def compare(
        self, reference: Whole, candidate: Whole, reading: Reading, bounds: Mapping[str, float]
    ) -> Comparison:
        """Compare the boxes as for any detector, then the masks of each pair that matches. Queries have
        masks alone."""
        if isinstance(reading, QueryMaskReading):
            assert isinstance(reference, MaskedQueries)
            assert isinstance(candidate, MaskedQueries)
            return compare_queries(reference, candidate, reading, bounds)
        if isinstance(reading, PrototypeReading | MaskRows):
            assert isinstance(reference, MaskedCandidates)
            assert isinstance(candidate, MaskedCandidates)
            return compare_prototypes(reference, candidate, reading, bounds)
        if isinstance(reading, PaddedMasks):
            assert isinstance(reference, PrototypeRows)
            assert isinstance(candidate, PrototypeRows)
            return compare_prototype_rows(reference, candidate, reading, bounds)
        assert isinstance(reference, Evidence)
        assert isinstance(candidate, Evidence)
        boxes, pairs = compare_rows(reference.rows, candidate.rows, reading, bounds)
        threshold = reading.score_threshold
        wanted, found = (above(evidence.rows.detections, threshold) for evidence in (reference, candidate))
        masks = [masks_above(evidence, threshold) for evidence in (reference, candidate)]
        ties: list[Finding] = []
        defects: list[Finding] = []
        for i, j in pairs:
            wanted_mask, found_mask = overlaid((masks[0][i], masks[1][j]))
            difference = compare_masks(
                wanted_mask,
                found_mask,
                wanted.boxes[i],
                found.boxes[j],
                reading.mask_threshold,
                bounds,
                reading.mask_side,
            )
            if difference is not None:
                is_tie, finding = difference
                told = Finding(f"{_describe(wanted, i)}: {finding.what}", finding.cause)
                (ties if is_tie else defects).append(told)
        matched = boxes.matched - len(ties) - len(defects)
        return Comparison(matched, (*boxes.ties, *ties), (*boxes.defects, *defects))

    def margins(self, evidence: Whole, decisions: Instances, reading: Reading) -> Mapping[str, Array]:
        """Those of the boxes. Pixels are left out: of each mask some are on its edge."""
        if isinstance(reading, QueryMaskReading):
            assert isinstance(evidence, MaskedQueries)
            return margins_of_queries(evidence, reading)
        if isinstance(reading, PrototypeReading):
            assert isinstance(evidence, PrototypeEvidence)
            candidates, _ = evidence.rows.candidates(reading.cuts)
            return margins_of_boxes(candidates, candidates.decide(reading.cuts), reading.cuts)
        if isinstance(evidence, MaskedCandidates):
            assert isinstance(reading, MaskRows)
            thinned = above_half(evidence, reading.score_threshold / 2).candidates
            return margins_of_boxes(thinned, thinned.decide(reading.cuts), reading.cuts)
        assert isinstance(evidence, Evidence | PrototypeRows)
        assert isinstance(reading, MaskReading | PaddedMasks)
        return margins_of_rows(evidence.rows, reading)

    def count(self, decisions: Instances) -> int:
        return len(decisions)


COMPARER = _InstanceSegmentation()


def _alike(a: Patch, b: Patch) -> bool:
    first, second = overlaid((a, b))
    return np.array_equal(first, second)


def _thinned(evidence: Evidence, reading: MaskReading) -> Evidence:
    nothing = Patch(0, 0, np.zeros((0, 0), np.float32))
    masks = (
        Patch(mask.left, mask.top, mask.pixels.copy()) if score > reading.score_threshold else nothing
        for mask, score in zip(evidence.masks, evidence.rows.detections.scores, strict=True)
    )
    return Evidence(evidence.rows, tuple(masks), evidence.height, evidence.width)


def _describe(detections: Detections, i: int) -> str:
    box = ", ".join(f"{value:.1f}" for value in detections.boxes[i])
    return f"mask: class {detections.labels[i]}, score {detections.scores[i]:.9g}, box [{box}]"
