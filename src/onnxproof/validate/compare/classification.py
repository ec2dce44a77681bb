"""Rankings of classes, compared rank by rank."""

from collections.abc import Mapping

import numpy as np

from onnxproof.runtime.readings.adjustable import Array
from onnxproof.runtime.tasks.classification import RankedScores, Ranking, rank
from onnxproof.validate.compare.comparer import Comparison, Finding, error_bound, exact, may_swap


class _Classification:
    def quantities(self, evidence: Array) -> Mapping[str, Array]:
        return {"score": evidence}

    def thin(self, reference: Array, candidate: Array, reading: RankedScores) -> tuple[Array, Array]:
        return reference.copy(), candidate.copy()

    def differ(self, reference: Ranking, candidate: Ranking) -> bool:
        return not np.array_equal(reference.labels, candidate.labels)

    def compare(
        self, reference: Array, candidate: Array, reading: RankedScores, bounds: Mapping[str, float]
    ) -> Comparison:
        """A rank is matched if both legs put the same class there.

        It is a tie if the reference's scores of the two classes are at most twice the bound b apart, and the
        candidate's scores of both moved by at most b. Float error alone does no more: if no score moves by
        more than b, neither does the i-th best one, so the classes that two legs put at rank i are within 2 b
        of each other in either leg. A score that is NaN only in the candidate is a defect.
        """
        wanted, found = rank(reference, reading.top_k), rank(candidate, reading.top_k)
        ties: list[Finding] = []
        defects: list[Finding] = []
        for place, (ours, theirs) in enumerate(zip(wanted.tolist(), found.tolist(), strict=True), start=1):
            if ours == theirs:
                if np.isnan(candidate[ours]) and not np.isnan(reference[ours]):
                    defects.append(Finding(f"rank {place}: class {ours}", "its score is NaN"))
                continue
            what = f"rank {place}: class {ours}, now class {theirs}"
            if theirs not in wanted:
                what += f", which is not among the reference's best {len(wanted)}"
            is_tie, cause = _cause(reference, candidate, ours, theirs, bounds["score"])
            (ties if is_tie else defects).append(Finding(what, cause))
        return Comparison(len(wanted) - len(ties) - len(defects), tuple(ties), tuple(defects))

    def margins(self, evidence: Array, decisions: Ranking, reading: RankedScores) -> Mapping[str, Array]:
        """Half the lead of each rank over the next: two scores move towards each other."""
        order = rank(evidence, reading.top_k + 1)
        return {"score": -np.diff(evidence[order].astype(np.float64)) / 2}

    def count(self, decisions: Ranking) -> int:
        return len(decisions.labels)


COMPARER = _Classification()


def _cause(reference: Array, candidate: Array, ours: int, theirs: int, bound: float) -> tuple[bool, str]:
    """Whether float error alone may have put the class ``theirs`` in the place of ``ours``, and the cause."""
    lead = abs(float(reference[ours]) - float(reference[theirs]))
    cause = (
        f"score {exact(reference[ours])} of class {ours} against {exact(reference[theirs])} of class "
        f"{theirs}, {lead:.3g} apart, {error_bound(bound, each=True)}"
    )
    return may_swap(reference, candidate, (ours, theirs), bound, "score", cause)
