"""Sequences, compared step by step."""

from collections.abc import Mapping

import numpy as np

from onnxproof.runtime.readings.adjustable import Array
from onnxproof.runtime.tasks.sequence import StepLogits, Steps, Transcript, best_classes
from onnxproof.validate.compare.comparer import Comparison, Finding, error_bound, exact, may_swap


class StepComparer:
    """Compares the class of each step. The decisions have it as ``steps``."""

    def quantities(self, evidence: Steps) -> Mapping[str, Array]:
        """The logits. Those of steps that do not count are set to zero."""
        counts = evidence.numbers < evidence.length
        return {"logit": np.where(counts[:, None], evidence.logits, 0)}

    def thin(self, reference: Steps, candidate: Steps, reading: StepLogits) -> tuple[Steps, Steps]:
        """The steps at which the legs differ or only the candidate is NaN, and the number of the others."""
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
        """A step is matched if both legs give it the same class.

        Another class is a tie if the reference's logit of its own class leads that of the candidate's class
        by at most twice the bound b, and the candidate's logits of the two classes moved by no more than b.
        If no logit moves by more than b, the distance of two logits changes by no more than 2 b. A step is a
        defect if one of its logits is NaN only in the candidate. If the legs count different numbers of
        steps, that is a defect too, and the steps that both count are compared.
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

    def margins(self, evidence: Steps, decisions: Transcript, reading: StepLogits) -> Mapping[str, Array]:
        """Half the lead of the class of each step that counts: two logits move towards each other."""
        logits = evidence.logits[: evidence.length].astype(np.float64)
        if logits.shape[-1] < 2:
            return {}
        best = np.partition(logits, -2, axis=-1)
        return {"logit": (best[:, -1] - best[:, -2]) / 2}

    def count(self, decisions: Transcript) -> int:
        return len(decisions.steps)


COMPARER = StepComparer()


def _lost(reference: Array, candidate: Array) -> Array:
    """The steps, bool [n], at which a logit is NaN only in the candidate, from logits [n, C]."""
    lost: Array = np.asarray((np.isnan(candidate) & ~np.isnan(reference)).any(axis=-1))
    return lost


def _cause(reference: Array, candidate: Array, own: int, other: int, bound: float) -> tuple[bool, str]:
    """Whether float error alone may have put the class ``other`` in the place of ``own``, and the cause.

    ``reference`` and ``candidate`` are the logits [C] of one step.
    """
    lead = float(reference[own]) - float(reference[other])
    cause = (
        f"logit {exact(reference[own])} of class {own} leads {exact(reference[other])} of class {other} by "
        f"{lead:.3g}, {error_bound(bound, each=True)}"
    )
    return may_swap(reference, candidate, (own, other), bound, "logit", cause)
