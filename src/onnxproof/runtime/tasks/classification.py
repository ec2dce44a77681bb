"""One class a picture: class scores, ranked.

The model has one output [batch, C]. With ``post["decode"]`` "none" it holds logits, and the softmax is
taken here; with "probabilities" it holds the softmax's result.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onnxproof.contract import ClassInfo
from onnxproof.document import Entry
from onnxproof.runtime.drawing import draw_captions
from onnxproof.runtime.preprocess import Transform
from onnxproof.runtime.readings.adjustable import Adjustable, output_names, require_form, setting
from onnxproof.runtime.tasks._task import (
    Array,
    Comparison,
    Finding,
    as_float,
    class_color,
    class_name,
    error_bound,
    exact,
)
from onnxproof.tensors import TensorSpec

BAR = 16
"""Width of a class name in a printed line, in characters."""


DECODES = ("none", "probabilities")
"""What the output holds: logits, or probabilities."""


@dataclass(frozen=True, slots=True)
class RankedScores(Adjustable):
    """One output [batch, C]: logits (``decode`` "none") or the softmax of them ("probabilities"). The
    ``top_k`` best classes are told."""

    decode: str
    top_k: int

    def require(self, outputs: Mapping[str, TensorSpec]) -> None:
        """See ``Reading``."""
        require_form(outputs[self.outputs[0]], "float", None, None)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"decode": self.decode, "outputs": list(self.outputs), "top_k": self.top_k}


@dataclass(frozen=True, slots=True)
class Ranking:
    """The best classes of a picture, best first.

    ``labels`` int64 [k]; ``probabilities`` float [C], of every class, in the classes' order.
    """

    labels: NDArray[np.int64]
    probabilities: Array


def softmax(logits: Array) -> Array:
    """exp(x) / sum(exp(x)) over the last axis, in the logits' own float dtype.

    The largest logit is subtracted first, so that no exponential overflows (Higham, "Accurately
    computing the log-sum-exp and softmax functions", 2021). A row with NaN or +infinity in it is NaN.
    """
    values = as_float(logits)
    with np.errstate(invalid="ignore", under="ignore"):
        powers = np.exp(values - values.max(axis=-1, keepdims=True))
        result: Array = powers / powers.sum(axis=-1, keepdims=True)
    return result


def rank(scores: Array, top_k: int) -> NDArray[np.int64]:
    """The ``top_k`` classes with the best ``scores`` [C], best first; of equals the lower index first, NaN
    last."""
    return np.argsort(-as_float(scores), kind="stable")[:top_k].astype(np.int64)


class _Classification:
    name = "classification"
    summary = "One class a picture: class scores, ranked."

    def reading(self, entry: Entry) -> RankedScores:
        keys = entry.table(("decode", "outputs", "top_k"))
        return RankedScores(output_names(keys, 1), keys["decode"].text(DECODES), setting(keys, "top_k"))

    def evidence(
        self,
        outputs: Mapping[str, Array],
        sizes: Mapping[str, int],
        post: Mapping[str, Any],
        margins: Mapping[str, Array],
    ) -> tuple[Array, ...]:
        return tuple(outputs[post["outputs"][0]])

    def quantities(self, evidence: Array) -> Mapping[str, Array]:
        return {"score": evidence}

    def thin(self, reference: Array, candidate: Array, post: Mapping[str, Any]) -> tuple[Array, Array]:
        return reference.copy(), candidate.copy()

    def decide(self, evidence: Array, post: Mapping[str, Any]) -> Ranking:
        probabilities = evidence if post["decode"] == "probabilities" else softmax(evidence)
        return Ranking(rank(evidence, post["top_k"]), probabilities)

    def differ(self, reference: Ranking, candidate: Ranking) -> bool:
        return not np.array_equal(reference.labels, candidate.labels)

    def compare(
        self, reference: Array, candidate: Array, post: Mapping[str, Any], bounds: Mapping[str, float]
    ) -> Comparison:
        """Rank by rank: a rank is matched where both legs put the same class there.

        Two classes may have changed places where the reference's scores of them lie within twice the
        bound. That no healthy file does more follows from sorting: where no score moves by more than b,
        nor does the i-th best, so the classes that two legs put at rank i lie within 2 b in either. A score
        that is NaN in the candidate alone matches nothing.
        """
        wanted, found = rank(reference, post["top_k"]), rank(candidate, post["top_k"])
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

    def count(self, decisions: Ranking) -> int:
        return len(decisions.labels)

    def restore(self, decisions: Ranking, transform: Transform) -> Ranking:
        return decisions

    def to_json(
        self, decisions: Ranking, classes: tuple[ClassInfo, ...], width: int | None, height: int | None
    ) -> dict[str, Any]:
        """{"probs", "labels"} of every class, in the classes' order: the answer of Azure AutoML's models."""
        return class_probabilities(decisions.probabilities, classes)

    def lines(self, decisions: Ranking, classes: tuple[ClassInfo, ...]) -> tuple[str, ...]:
        best = [
            f"{class_name(label, classes):<{BAR}} {decisions.probabilities[label]:.3f}"
            for label in decisions.labels.tolist()
        ]
        return (class_name(int(decisions.labels[0]), classes), *best)

    def draw(self, picture: Image.Image, decisions: Ranking, classes: tuple[ClassInfo, ...]) -> Image.Image:
        best = int(decisions.labels[0])
        caption = f"{class_name(best, classes)}: {decisions.probabilities[best]:.0%}"
        return draw_captions(picture, [caption], [class_color(best, classes)])


TASK = _Classification()


def class_probabilities(probabilities: Array, classes: tuple[ClassInfo, ...]) -> dict[str, Any]:
    """{"probs", "labels"}: of every class, in the classes' order."""
    return {
        "probs": [float(value) for value in probabilities],
        "labels": [class_name(label, classes) for label in range(len(probabilities))],
    }


def _cause(reference: Array, candidate: Array, ours: int, theirs: int, bound: float) -> tuple[bool, str]:
    """Whether float error alone may have put the class ``theirs`` in the place of ``ours``; and why."""
    lead = abs(float(reference[ours]) - float(reference[theirs]))
    cause = (
        f"score {exact(reference[ours])} of class {ours} against {exact(reference[theirs])} of class "
        f"{theirs}, {lead:.3g} apart, {error_bound(bound, each=True)}"
    )
    if not lead <= 2 * bound:
        return False, cause
    for label in (ours, theirs):
        change = abs(float(candidate[label]) - float(reference[label]))
        if not change <= bound:
            moved = f"from {exact(reference[label])} to {exact(candidate[label])}"
            return False, f"the score of class {label} moved by {change:.3g} {moved}, {error_bound(bound)}"
    return True, cause
