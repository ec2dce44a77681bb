"""Sequences, compared step by step."""

from collections.abc import Mapping

import numpy as np

from onnxproof.runtime.readings.adjustable import Array
from onnxproof.runtime.tasks.sequence import StepLogits, Steps, Transcript, best_classes
from onnxproof.validate.compare.comparer import Comparison, Finding, error_bound, exact


class _Sequence:
    def quantities(self, evidence: Steps) -> Mapping[str, Array]:
        """The logits, with zeros in place of the steps that do not count."""
        counts = evidence.numbers < evidence.length
        return {"logit": np.where(counts[:, None], evidence.logits, 0)}

    def thin(self, reference: Steps, candidate: Steps, reading: StepLogits) -> tuple[Steps, Steps]:
        """The steps on which the legs differ or the candidate has lost a number, and how many others there
        are."""
        common = min(reference.length, candidate.length)
        ours, theirs = (best_classes(leg.logits[:common]) for leg in (reference, candidate))
        apart = (ours != theirs) | _lost(reference.logits[:common], candidate.logits[:common])
        alike = int(common - apart.sum())
        thinned = (
            Steps(leg.logits[:common][apart], leg.numbers[:common][apart], leg.length, alike)
            for leg in (reference, candidate)
        )
        return next(thinned), next(thinned)

    def differ(self, reference: Transcript, candidate: Transcript) -> bool:
        return not np.array_equal(reference.steps, candidate.steps)

    def compare(
        self, reference: Steps, candidate: Steps, reading: StepLogits, bounds: Mapping[str, float]
    ) -> Comparison:
        """Step by step: a step is matched where both legs give it the same class.

        Another class is a tie where the reference's logit of its own class leads that of the candidate's by
        twice the bound at most, and the candidate's logits of the two moved no further than the bound: where
        no logit moves by more than b, no two come closer than by 2 b. A step with a logit that is NaN in the
        candidate alone is a defect. Where the legs count another number of steps, that is a defect, and the
        steps that both count are compared.
        """
        common = min(reference.length, candidate.length)
        reference_rows, candidate_rows = (
            leg.logits[: len(leg.numbers[leg.numbers < common])] for leg in (reference, candidate)
        )
        ours, theirs = best_classes(reference_rows), best_classes(candidate_rows)
        lost = _lost(reference_rows, candidate_rows)
        ties: list[Finding] = []
        defects: list[Finding] = []
        for at in np.flatnonzero((ours != theirs) | lost).tolist():
            own, other = int(ours[at]), int(theirs[at])
            what = f"step {reference.numbers[at]}: class {own}, now class {other}"
            is_tie, cause = False, f"{int(np.isnan(candidate_rows[at]).sum())} of its logits are NaN"
            if not lost[at]:
                is_tie, cause = _cause(reference_rows[at], candidate_rows[at], own, other, bounds["logit"])
            (ties if is_tie else defects).append(Finding(what, cause))
        matched = reference.alike + len(ours) - len(ties) - len(defects)
        if reference.length != candidate.length:
            what = f"{reference.length} steps count, now {candidate.length}"
            defects.append(Finding(what, "lengths are whole numbers: no float error moves them"))
        return Comparison(matched, tuple(ties), tuple(defects))

    def count(self, decisions: Transcript) -> int:
        return len(decisions.steps)


COMPARER = _Sequence()


def _lost(reference: Array, candidate: Array) -> Array:
    """The steps, bool [n], at which the candidate alone has a NaN, from logits [n, C]."""
    lost: Array = np.asarray((np.isnan(candidate) & ~np.isnan(reference)).any(axis=-1))
    return lost


def _cause(reference: Array, candidate: Array, own: int, other: int, bound: float) -> tuple[bool, str]:
    """Whether float error alone may have put the class ``other`` in the place of ``own``, from a step's
    logits [C] in both legs; and why."""
    lead = float(reference[own]) - float(reference[other])
    cause = (
        f"logit {exact(reference[own])} of class {own} leads {exact(reference[other])} of class {other} by "
        f"{lead:.3g}, {error_bound(bound, each=True)}"
    )
    if not lead <= 2 * bound:
        return False, cause
    for label in (own, other):
        change = abs(float(candidate[label]) - float(reference[label]))
        if not change <= bound:
            moved = f"from {exact(reference[label])} to {exact(candidate[label])}"
            return False, f"the logit of class {label} moved by {change:.3g} {moved}, {error_bound(bound)}"
    return True, cause
