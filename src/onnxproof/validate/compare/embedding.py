"""Embeddings, compared by the neighbour that is nearest to each row."""

from collections.abc import Mapping

import numpy as np

from onnxproof.runtime.readings.adjustable import Array
from onnxproof.runtime.tasks.embedding import Nearness, Neighbours, Pairs, Vectors, nearest_first
from onnxproof.validate.compare.comparer import Comparison, Finding, error_bound, exact


class _Embedding:
    def quantities(self, evidence: Nearness) -> Mapping[str, Array]:
        return {"similarity": evidence.similarity}

    def thin(
        self, reference: Nearness, candidate: Nearness, reading: Vectors | Pairs
    ) -> tuple[Nearness, Nearness]:
        ours, theirs = (Nearness(leg.similarity.copy(), leg.numbers, None) for leg in (reference, candidate))
        return ours, theirs

    def differ(self, reference: Neighbours, candidate: Neighbours) -> bool:
        return not np.array_equal(reference.numbers[:1], candidate.numbers[:1])

    def compare(
        self,
        reference: Nearness,
        candidate: Nearness,
        reading: Vectors | Pairs,
        bounds: Mapping[str, float],
    ) -> Comparison:
        """A row is matched if both legs have the same nearest neighbour.

        Another neighbour is a tie if the reference's similarities of the two are at most twice the bound
        apart, and the candidate's of both moved by at most the bound. One that is NaN only in the candidate
        is a defect.
        """
        if not len(reference.similarity):
            return Comparison(0, (), ())
        ours, theirs = (int(nearest_first(leg.similarity)[0]) for leg in (reference, candidate))
        lost = np.isnan(candidate.similarity) & ~np.isnan(reference.similarity)
        what = f"nearest is {reference.numbers[ours]}, now {candidate.numbers[theirs]}"
        if lost[[ours, theirs]].any():
            return Comparison(0, (), (Finding(what, "a similarity is NaN"),))
        if ours == theirs:
            return Comparison(1, (), ())
        bound = bounds["similarity"]
        lead = float(reference.similarity[ours]) - float(reference.similarity[theirs])
        cause = (
            f"similarity {exact(reference.similarity[ours])} leads {exact(reference.similarity[theirs])} by "
            f"{lead:.3g}, {error_bound(bound, each=True)}"
        )
        moves = np.abs(np.subtract(candidate.similarity, reference.similarity, dtype=np.float64))
        moved = float(moves[[ours, theirs]].max())
        if lead <= 2 * bound and moved <= bound:
            return Comparison(0, (Finding(what, cause),), ())
        if lead <= 2 * bound:
            cause = f"a similarity moved by {moved:.3g}, {error_bound(bound)}"
        return Comparison(0, (), (Finding(what, cause),))

    def margins(
        self, evidence: Nearness, decisions: Neighbours, reading: Vectors | Pairs
    ) -> Mapping[str, Array]:
        """Half the lead of the nearest neighbour over the next: two similarities move towards each other."""
        best = decisions.similarity[:2].astype(np.float64)
        return {"similarity": -np.diff(best) / 2}

    def count(self, decisions: Neighbours) -> int:
        """One, the nearest neighbour; none if there is no other row."""
        return min(len(decisions.numbers), 1)


COMPARER = _Embedding()
