"""Any number of classes a picture: those whose probability is above a threshold.

The model has one output [batch, C]. With ``post["decode"]`` "none" it holds logits, and the sigmoid is
taken here; with "probabilities" it holds the sigmoid's result.
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
from onnxproof.runtime.tasks.classification import BAR, DECODES, class_probabilities, rank
from onnxproof.tensors import TensorSpec

DEFAULT_THRESHOLD = 0.5
"""Where a label counts as present unless the job says otherwise: it is then likelier there than not."""


@dataclass(frozen=True, slots=True)
class LabelScores(Adjustable):
    """One output [batch, C]: logits (``decode`` "none") or the sigmoid of them ("probabilities"). A class is
    there if its probability is above ``score_threshold``."""

    decode: str
    score_threshold: float

    def require(self, outputs: Mapping[str, TensorSpec]) -> None:
        """See ``Reading``."""
        require_form(outputs[self.outputs[0]], "float", None, None)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "decode": self.decode,
            "outputs": list(self.outputs),
            "score_threshold": self.score_threshold,
        }


@dataclass(frozen=True, slots=True)
class Labels:
    """The classes that a picture shows, the most probable first.

    ``labels`` int64 [n]; ``probabilities`` float [C], of every class, in the classes' order.
    """

    labels: NDArray[np.int64]
    probabilities: Array


def sigmoid(logits: Array) -> Array:
    """1 / (1 + exp(-x)), element by element, in the logits' own float dtype; no exponential overflows."""
    values = as_float(logits)
    with np.errstate(under="ignore"):
        powers = np.exp(-np.abs(values))  # in (0, 1]
    one = values.dtype.type(1)
    result: Array = np.where(values >= 0, one, powers) / (one + powers)
    return result


class _Multilabel:
    name = "multilabel"
    summary = "Any number of classes a picture: those whose probability is above a threshold."

    def reading(self, entry: Entry) -> LabelScores:
        keys = entry.table(("decode", "outputs", "score_threshold"))
        threshold = setting(keys, "score_threshold")
        return LabelScores(output_names(keys, 1), keys["decode"].text(DECODES), threshold)

    def evidence(
        self,
        outputs: Mapping[str, Array],
        sizes: Mapping[str, int],
        post: Mapping[str, Any],
        margins: Mapping[str, Array],
    ) -> tuple[Array, ...]:
        values = outputs[post["outputs"][0]]
        return tuple(values if post["decode"] == "probabilities" else sigmoid(values))

    def quantities(self, evidence: Array) -> Mapping[str, Array]:
        return {"probability": evidence}

    def thin(self, reference: Array, candidate: Array, post: Mapping[str, Any]) -> tuple[Array, Array]:
        return reference.copy(), candidate.copy()

    def decide(self, evidence: Array, post: Mapping[str, Any]) -> Labels:
        present = np.count_nonzero(evidence > post["score_threshold"])
        return Labels(rank(evidence, int(present)), evidence)

    def differ(self, reference: Labels, candidate: Labels) -> bool:
        return set(reference.labels.tolist()) != set(candidate.labels.tolist())

    def compare(
        self, reference: Array, candidate: Array, post: Mapping[str, Any], bounds: Mapping[str, float]
    ) -> Comparison:
        """Label by label: matched where both legs have it, a tie where one alone has it and the
        reference's probability lies within the bound of the threshold. A probability that is NaN in the
        candidate alone is a defect."""
        threshold, bound = post["score_threshold"], bounds["probability"]
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
            margin = abs(float(reference[label]) - threshold)
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

    def count(self, decisions: Labels) -> int:
        return len(decisions.labels)

    def restore(self, decisions: Labels, transform: Transform) -> Labels:
        return decisions

    def to_json(
        self, decisions: Labels, classes: tuple[ClassInfo, ...], width: int | None, height: int | None
    ) -> dict[str, Any]:
        """{"probs", "labels"} of every class, in the classes' order: the answer of Azure AutoML's models."""
        return class_probabilities(decisions.probabilities, classes)

    def lines(self, decisions: Labels, classes: tuple[ClassInfo, ...]) -> tuple[str, ...]:
        count = len(decisions.labels)
        rows = [
            f"{class_name(label, classes):<{BAR}} {decisions.probabilities[label]:.3f}"
            for label in decisions.labels.tolist()
        ]
        return (f"{count} label{'' if count == 1 else 's'}", *rows)

    def draw(self, picture: Image.Image, decisions: Labels, classes: tuple[ClassInfo, ...]) -> Image.Image:
        labels = decisions.labels.tolist()
        captions = [f"{class_name(label, classes)}: {decisions.probabilities[label]:.0%}" for label in labels]
        return draw_captions(picture, captions, [class_color(label, classes) for label in labels])


TASK = _Multilabel()
