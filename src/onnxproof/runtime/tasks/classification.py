"""One class a picture: class scores, ranked.

The model has one output [batch, C]. With the decoding "none" it holds logits, and the softmax is
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
from onnxproof.runtime.readings.adjustable import Adjustable, Array, output_names, require_form, setting
from onnxproof.runtime.tasks.task import as_float, class_color, class_name
from onnxproof.tensors import TensorSpec

BAR = 16
"""Width of a class name in a printed line, in characters."""


DECODES = ("none", "probabilities")
"""What the output holds: logits, or probabilities."""


@dataclass(frozen=True, slots=True)
class RankedScores(Adjustable):
    """One output [batch, C]: logits (``decode`` "none") or their softmax ("probabilities").

    ``top_k`` is how many of the best classes are reported.
    """

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
    """The best classes of a picture.

    ``labels`` int64 [k] are the best classes, the best first. ``probabilities`` float [C] has every class, in
    the classes' order.
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
    """The ``top_k`` classes with the highest ``scores`` [C], the highest first: int64 [top_k].

    Among equal scores the lower index comes first. NaN comes last.
    """
    return np.argsort(-as_float(scores), kind="stable")[:top_k].astype(np.int64)


class _Classification:
    name = "classification"
    decides = True
    needs_all = True
    summary = "One class a picture: class scores, ranked."

    def reading(self, entry: Entry) -> RankedScores:
        keys = entry.table(("decode", "outputs", "top_k"))
        return RankedScores(output_names(keys, 1), keys["decode"].text(DECODES), setting(keys, "top_k"))

    def evidence(
        self,
        outputs: Mapping[str, Array],
        sizes: Mapping[str, int],
        reading: RankedScores,
        margins: Mapping[str, Array],
    ) -> tuple[Array, ...]:
        return tuple(outputs[reading.outputs[0]])

    def decide(self, evidence: Array, reading: RankedScores) -> Ranking:
        probabilities = evidence if reading.decode == "probabilities" else softmax(evidence)
        return Ranking(rank(evidence, reading.top_k), probabilities)

    def restore(self, decisions: Ranking, transform: Transform) -> Ranking:
        return decisions

    def to_json(
        self, decisions: Ranking, classes: tuple[ClassInfo, ...], width: int | None, height: int | None
    ) -> dict[str, Any]:
        """{"probs", "labels"} with every class, in the classes' order, as Azure AutoML's models answer."""
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
    """{"probs", "labels"} with every class, in the classes' order."""
    return {
        "probs": [float(value) for value in probabilities],
        "labels": [class_name(label, classes) for label in range(len(probabilities))],
    }
