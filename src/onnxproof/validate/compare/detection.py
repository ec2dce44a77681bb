"""Detections, compared as sets."""

from collections.abc import Mapping

from onnxproof.runtime.readings.adjustable import Array
from onnxproof.runtime.readings.boxes import Candidates, Detections
from onnxproof.runtime.readings.layouts import Evidence, Reading
from onnxproof.runtime.readings.rows import RowReading, Rows
from onnxproof.runtime.readings.scored_anchors import ScoredAnchors
from onnxproof.validate.compare.closest import margins_of_boxes
from onnxproof.validate.compare.comparer import Comparison
from onnxproof.validate.compare.last_place import cuts_of
from onnxproof.validate.compare.matching import compare_detections, same_choice
from onnxproof.validate.compare.rows import compare_rows, margins_of_rows, row_quantities


class _Detection:
    def quantities(self, evidence: Evidence) -> Mapping[str, Array]:
        """The numbers that margins are measured in: coordinates in pixels, and scores."""
        if isinstance(evidence, Rows):
            return row_quantities(evidence)
        return {"box": evidence.boxes, "score": evidence.scores}

    def thin(self, reference: Evidence, candidate: Evidence, reading: Reading) -> tuple[Evidence, Evidence]:
        """The candidates whose score is half the threshold or more. No error bound reaches down to the
        rest."""
        return _thinned(reference, reading), _thinned(candidate, reading)

    def differ(self, reference: Detections, candidate: Detections) -> bool:
        return not same_choice(reference, candidate)

    def compare(
        self,
        reference: Evidence,
        candidate: Evidence,
        reading: Reading,
        bounds: Mapping[str, float],
    ) -> Comparison:
        if isinstance(reference, Rows):
            assert isinstance(candidate, Rows)
            assert isinstance(reading, RowReading)
            comparison, _ = compare_rows(reference, candidate, reading, bounds)
            return comparison
        assert isinstance(reference, Candidates)
        assert isinstance(candidate, Candidates)
        cuts = cuts_of(reading, reference)
        wanted, found = reference.decide(cuts), candidate.decide(cuts)
        comparison, _ = compare_detections(reference, wanted, found, cuts, bounds, candidate=candidate)
        return comparison

    def margins(self, evidence: Evidence, decisions: Detections, reading: Reading) -> Mapping[str, Array]:
        if isinstance(evidence, Rows):
            assert isinstance(reading, RowReading)
            return margins_of_rows(evidence, reading)
        if isinstance(evidence, ScoredAnchors):
            evidence = evidence.candidates(reading.cuts)
            decisions = evidence.decide(reading.cuts)
        return margins_of_boxes(evidence, decisions, reading.cuts)

    def count(self, decisions: Detections) -> int:
        return len(decisions)


COMPARER = _Detection()


def _thinned(evidence: Evidence, reading: Reading) -> Evidence:
    if isinstance(evidence, Rows):
        return evidence  # the graph returns only a few
    if isinstance(evidence, ScoredAnchors):
        return evidence.candidates(reading.cuts)
    # ">=": with a threshold of 0, a box that scores 0 here may score slightly more in another leg.
    return evidence.take(evidence.scores >= reading.cuts.score_threshold / 2)
