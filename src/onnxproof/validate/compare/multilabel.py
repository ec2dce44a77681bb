"""Sets of labels, compared label by label."""

from collections.abc import Mapping

import numpy as np

from onnxproof.runtime.readings.adjustable import Array
from onnxproof.runtime.tasks.multilabel import Labels, LabelScores
from onnxproof.validate.compare.comparer import Comparison, Finding, as_compared, error_bound, exact


class _Multilabel:
    def quantities(self, evidence: Array) -> Mapping[str, Array]:
        return {"probability": evidence}

    def thin(self, reference: Array, candidate: Array, reading: LabelScores) -> tuple[Array, Array]:
        return reference.copy(), candidate.copy()

    def differ(self, reference: Labels, candidate: Labels) -> bool:
        return set(reference.labels.tolist()) != set(candidate.labels.tolist())

    def compare(
        self, reference: Array, candidate: Array, reading: LabelScores, bounds: Mapping[str, float]
    ) -> Comparison:
        """A label is matched if both legs have it.

        If only one has it, it is a tie if the reference's probability is within the bound of the threshold
        and the candidate's moved by no more than the bound; otherwise it is a defect. A probability that is
        NaN only in the candidate is a defect.
        """
        threshold, bound = reading.score_threshold, bounds["probability"]
        wanted, found = reference > threshold, candidate > threshold
        ties: list[Finding] = []
        defects: list[Finding] = []
        broken = np.isnan(candidate) & ~np.isnan(reference) & ~wanted
        defects += (
            Finding(f"no number: class {label}", "its probability is NaN")
            for label in np.flatnonzero(broken).tolist()
        )
        for label in np.flatnonzero(wanted != found).tolist():
            what = f"{'missing' if wanted[label] else 'extra'}: class {label}"
            margin = abs(float(reference[label]) - as_compared(threshold, reference))
            change = abs(float(candidate[label]) - float(reference[label]))
            cause = (
                f"probability {exact(reference[label])} against threshold {exact(threshold)}, "
                f"{error_bound(bound)}"
            )
            if not margin <= bound:
                defects.append(Finding(what, cause))
            elif not change <= bound:
                moved = f"from {exact(reference[label])} to {exact(candidate[label])}"
                cause = f"the probability moved by {change:.3g} {moved}, {error_bound(bound)}"
                defects.append(Finding(what, cause))
            else:
                ties.append(Finding(what, cause))
        return Comparison(int(np.count_nonzero(wanted & found)), tuple(ties), tuple(defects))

    def margins(self, evidence: Array, decisions: Labels, reading: LabelScores) -> Mapping[str, Array]:
        """The distance of each class's probability from the threshold."""
        return {"probability": np.abs(evidence.astype(np.float64) - reading.score_threshold)}

    def count(self, decisions: Labels) -> int:
        return len(decisions.labels)


COMPARER = _Multilabel()
