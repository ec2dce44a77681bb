"""Token classification: a class for each token of a text.

The model has an output of logits [batch, time, C]. It may have a second output int [batch, time], which is
not 0 where a token counts: padding does not. Without it, all tokens count.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onnxproof.contract import ClassInfo
from onnxproof.document import Entry
from onnxproof.runtime.drawing import draw_captions
from onnxproof.runtime.preprocess import Transform
from onnxproof.runtime.readings.adjustable import Adjustable, Array, output_names, require_form
from onnxproof.runtime.tasks.classification import softmax
from onnxproof.runtime.tasks.sequence import Steps, best_classes
from onnxproof.runtime.tasks.task import class_color, class_name
from onnxproof.tensors import TensorSpec

OUTSIDE = "O"
"""The class of tokens that belong to no span, in the tagging scheme of Ramshaw and Marcus 1995."""


@dataclass(frozen=True, slots=True)
class TokenLogits(Adjustable):
    """Logits [batch, time, C] and, if there is a second output, which tokens count: integers [batch,
    time]."""

    def require(self, outputs: Mapping[str, TensorSpec]) -> None:
        """See ``Reading``."""
        logits, *masks = (outputs[name] for name in self.outputs)
        require_form(logits, "float", None, None, None)
        for spec in masks:
            require_form(spec, "int", None, None)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"decode": "none", "outputs": list(self.outputs)}


@dataclass(frozen=True, slots=True)
class TokenSteps(Steps):
    """The logits of the tokens that count. ``places`` int64 [n] are their places in the text."""

    places: NDArray[np.int64] | None = None


@dataclass(frozen=True, slots=True)
class Tokens:
    """The class of each token that counts.

    ``steps`` int64 [n] are the classes, ``confidence`` float [n] their probabilities, and ``places`` int64
    [n] the tokens' places in the text, from 0.
    """

    steps: NDArray[np.int64]
    confidence: Array
    places: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Span:
    """Tokens one after another that belong together: those from ``first`` to ``last``, by their places."""

    name: str
    first: int
    last: int
    confidence: float


class _Tokens:
    name = "tokens"
    decides = True
    needs_all = True
    summary = "Token classification: a class for each token of a text."

    def reading(self, entry: Entry) -> TokenLogits:
        keys = entry.table(("decode", "outputs"))
        keys["decode"].text(("none",))
        return TokenLogits(output_names(keys, 1, 2))

    def evidence(
        self,
        outputs: Mapping[str, Array],
        sizes: Mapping[str, int],
        reading: TokenLogits,
        margins: Mapping[str, Array],
    ) -> tuple[TokenSteps, ...]:
        logits, *masks = (outputs[name] for name in reading.outputs)
        counted = masks[0] != 0 if masks else np.ones(logits.shape[:2], bool)
        found = []
        for rows, counts in zip(logits, counted, strict=True):
            places = np.flatnonzero(counts)
            found.append(TokenSteps(rows[places], np.arange(len(places)), len(places), places=places))
        return tuple(found)

    def decide(self, evidence: TokenSteps, reading: TokenLogits) -> Tokens:
        assert evidence.places is not None
        labels = best_classes(evidence.logits)
        probabilities = softmax(evidence.logits)
        return Tokens(labels, probabilities[np.arange(len(labels)), labels], evidence.places)

    def restore(self, decisions: Tokens, transform: Transform) -> Tokens:
        return decisions

    def to_json(
        self, decisions: Tokens, classes: tuple[ClassInfo, ...], width: int | None, height: int | None
    ) -> dict[str, Any]:
        """{"tokens", "spans"}: each token that counts, and if the classes are named as B-X, I-X and O, the
        spans that they mark."""
        tokens = [
            {"token": place, "label": class_name(label, classes), "score": score}
            for place, label, score in zip(
                decisions.places.tolist(),
                decisions.steps.tolist(),
                decisions.confidence.tolist(),
                strict=True,
            )
        ]
        spans = [
            {"label": span.name, "first": span.first, "last": span.last, "score": span.confidence}
            for span in spans_of(decisions, classes)
        ]
        return {"tokens": tokens, **({"spans": spans} if _has_spans(classes) else {})}

    def lines(self, decisions: Tokens, classes: tuple[ClassInfo, ...]) -> tuple[str, ...]:
        count = len(decisions.steps)
        rows = (
            f"token {place:<6} {class_name(label, classes):<16} {score:.3f}"
            for place, label, score in zip(
                decisions.places.tolist(),
                decisions.steps.tolist(),
                decisions.confidence.tolist(),
                strict=True,
            )
        )
        return (f"{count} token{'' if count == 1 else 's'}", *rows)

    def draw(self, picture: Image.Image, decisions: Tokens, classes: tuple[ClassInfo, ...]) -> Image.Image:
        """The spans as captions, or the classes if there are none."""
        spans = tuple(spans_of(decisions, classes))
        captions = [f"{span.name}: {span.first} to {span.last}" for span in spans]
        labels = [] if spans else decisions.steps.tolist()
        colors = [class_color(label, classes) for label in labels]
        return draw_captions(
            picture,
            captions or [class_name(label, classes) for label in labels],
            colors or [class_color(number, classes) for number in range(len(spans))],
        )


TASK = _Tokens()


def _has_spans(classes: tuple[ClassInfo, ...]) -> bool:
    """Whether the classes are named as B-X, I-X and O."""
    names = [entry.name for entry in classes]
    return OUTSIDE in names and all(name == OUTSIDE or name[:2] in ("B-", "I-") for name in names)


def spans_of(tokens: Tokens, classes: tuple[ClassInfo, ...]) -> Iterator[Span]:
    """The spans that classes B-X, I-X and O mark: a span starts at a B, or where X changes.

    A span's confidence is the mean of its tokens'. Yields nothing if the classes have other names.
    """
    if not _has_spans(classes):
        return
    opened: list[int] = []
    kind = ""
    for at, label in enumerate((*tokens.steps.tolist(), None)):
        name = OUTSIDE if label is None else classes[label].name
        goes_on = name.startswith("I-") and name[2:] == kind and bool(opened)
        if opened and not goes_on:
            first, last = (int(tokens.places[opened[end]]) for end in (0, -1))
            yield Span(kind, first, last, float(tokens.confidence[opened].mean()))
            opened = []
        if name != OUTSIDE:
            opened.append(at)
            kind = name[2:]
