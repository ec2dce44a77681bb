"""Any number of classes a picture: those whose probability is above a threshold.

The model has one output [batch, C]. With the decoding "none" it holds logits, and the sigmoid is
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
from onnxproof.runtime.readings.adjustable import Adjustable, Array, output_names, require_form, setting
from onnxproof.runtime.tasks.classification import BAR, DECODES, class_probabilities, rank
from onnxproof.runtime.tasks.task import as_float, class_color, class_name
from onnxproof.tensors import TensorSpec

DEFAULT_THRESHOLD = 0.5
"""The probability above which a label is present, if the job gives none: it is more likely than not."""


@dataclass(frozen=True, slots=True)
class LabelScores(Adjustable):
    """One output [batch, C]: logits (``decode`` "none") or their sigmoid ("probabilities").

    A class is present if its probability is above ``score_threshold``.
    """

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
    """The classes that a picture shows.

    ``labels`` int64 [n] are the classes present, the most probable first. ``probabilities`` float [C] has
    every class, in the classes' order.
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
    decides = True
    needs_all = True
    summary = "Any number of classes a picture: those whose probability is above a threshold."

    def reading(self, entry: Entry) -> LabelScores:
        keys = entry.table(("decode", "outputs", "score_threshold"))
        threshold = setting(keys, "score_threshold")
        return LabelScores(output_names(keys, 1), keys["decode"].text(DECODES), threshold)

    def evidence(
        self,
        outputs: Mapping[str, Array],
        sizes: Mapping[str, int],
        reading: LabelScores,
        margins: Mapping[str, Array],
    ) -> tuple[Array, ...]:
        values = outputs[reading.outputs[0]]
        return tuple(values if reading.decode == "probabilities" else sigmoid(values))

    def decide(self, evidence: Array, reading: LabelScores) -> Labels:
        present = np.count_nonzero(evidence > reading.score_threshold)
        return Labels(rank(evidence, int(present)), evidence)

    def restore(self, decisions: Labels, transform: Transform) -> Labels:
        return decisions

    def to_json(
        self, decisions: Labels, classes: tuple[ClassInfo, ...], width: int | None, height: int | None
    ) -> dict[str, Any]:
        """{"probs", "labels"} with every class, in the classes' order, as Azure AutoML's models answer."""
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
