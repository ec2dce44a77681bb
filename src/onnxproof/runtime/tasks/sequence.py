"""Sequences: the class of every step, and the text that the classes spell.

The model has an output of logits [batch, time, C]. It may have a second output int64 [batch], the length of
each sequence in steps: the steps after it do not count. Without it, all steps count.

The reading may name the blank of connectionist temporal classification (Graves et al. 2006). Then a run of
equal classes is read as one class, and blanks are left out. Without a blank, every step's class is read.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onnxproof.contract import ClassInfo
from onnxproof.document import Entry
from onnxproof.errors import RequestError
from onnxproof.runtime.drawing import draw_captions
from onnxproof.runtime.preprocess import Transform
from onnxproof.runtime.readings.adjustable import Adjustable, Array, output_names, require_form
from onnxproof.runtime.tasks.classification import softmax
from onnxproof.runtime.tasks.task import as_float, class_color, class_name
from onnxproof.tensors import TensorSpec

NOTHING = "(nothing)"
"""The caption if no class was read."""


@dataclass(frozen=True, slots=True)
class StepLogits(Adjustable):
    """Logits [batch, time, C] and, if there is a second output, the number of steps of each sequence that
    count: integers [batch].

    ``blank`` is the index of the blank of connectionist temporal classification, or None.
    """

    blank: int | None

    def require(self, outputs: Mapping[str, TensorSpec]) -> None:
        """See ``Reading``."""
        logits, *lengths = (outputs[name] for name in self.outputs)
        require_form(logits, "float", None, None, None)
        for spec in lengths:
            require_form(spec, "int", None)
        count = logits.shape[-1]
        if self.blank is not None and isinstance(count, int) and self.blank >= count:
            raise RequestError(f"the blank is class {self.blank}, and {logits.name} is {logits}")

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"decode": "none", "outputs": list(self.outputs), "blank": self.blank}


@dataclass(frozen=True, slots=True)
class Steps:
    """The logits [n, C] of one sequence, of which the first ``length`` steps count.

    ``numbers`` int64 [n] are the steps' numbers, counted from 0. ``alike`` counts steps that were left out
    because both legs agree on them.
    """

    logits: Array
    numbers: NDArray[np.int64]
    length: int
    alike: int = 0


@dataclass(frozen=True, slots=True)
class Transcript:
    """What one sequence says.

    ``steps`` int64 [time] is the class of each step that counts. ``labels`` int64 [n] are the classes read.
    A label is read from one or more steps: ``confidence`` float [n] is its largest probability among them,
    and ``places`` int64 [n] is the number of the step that has it. ``blank`` is the blank's class, or None.
    """

    steps: NDArray[np.int64]
    labels: NDArray[np.int64]
    confidence: Array
    places: NDArray[np.int64]
    blank: int | None


def best_classes(logits: Array) -> NDArray[np.int64]:
    """The class [n] with the largest logit in each row of [n, C]. Among equal logits the lowest class is
    chosen. NaN counts as minus infinity."""
    values = as_float(logits)
    found: NDArray[np.int64] = np.where(np.isnan(values), -np.inf, values).argmax(axis=-1).astype(np.int64)
    return found


def runs(classes: NDArray[np.int64]) -> NDArray[np.int64]:
    """The indices at which runs of equal ``classes`` [n] start, followed by n: int64 [m + 1] for m runs."""
    starts = np.flatnonzero(np.diff(classes)) + 1
    return np.concatenate(([0], starts, [len(classes)])) if len(classes) else np.zeros(1, np.int64)


class _Sequence:
    name = "sequence"
    decides = True
    needs_all = True
    summary = "Sequences: the class of every step, and the text that the classes spell."

    def reading(self, entry: Entry) -> StepLogits:
        keys = entry.table(("decode", "outputs", "blank"))
        keys["decode"].text(("none",))
        blank = None if keys["blank"].value is None else keys["blank"].whole()
        return StepLogits(output_names(keys, 1, 2), blank)

    def evidence(
        self,
        outputs: Mapping[str, Array],
        sizes: Mapping[str, int],
        reading: StepLogits,
        margins: Mapping[str, Array],
    ) -> tuple[Steps, ...]:
        logits, *lengths = (outputs[name] for name in reading.outputs)
        time = logits.shape[1]
        numbers = np.arange(time)
        counted = np.clip(lengths[0], 0, time).tolist() if lengths else [time] * len(logits)
        return tuple(Steps(rows, numbers, int(length)) for rows, length in zip(logits, counted, strict=True))

    def decide(self, evidence: Steps, reading: StepLogits) -> Transcript:
        probabilities = softmax(evidence.logits[: evidence.length])
        steps = best_classes(evidence.logits[: evidence.length])
        blank = reading.blank
        bounds = np.arange(len(steps) + 1) if blank is None else runs(steps)
        sure = probabilities[np.arange(len(steps)), steps]
        spans = [
            slice(start, stop)
            for start, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
            if steps[start] != blank
        ]
        places = np.array([span.start + int(sure[span].argmax()) for span in spans], np.int64)
        return Transcript(steps, steps[places], sure[places], places, blank)

    def restore(self, decisions: Transcript, transform: Transform) -> Transcript:
        return decisions

    def to_json(
        self, decisions: Transcript, classes: tuple[ClassInfo, ...], width: int | None, height: int | None
    ) -> dict[str, Any]:
        """{"text", "labels", "confidence", "steps"}: the text; and for each class read its name, its largest
        probability and the number of the step that has it."""
        return {
            "text": text_of(decisions, classes),
            "labels": [class_name(label, classes) for label in decisions.labels.tolist()],
            "confidence": [float(value) for value in decisions.confidence],
            "steps": decisions.places.tolist(),
        }

    def lines(self, decisions: Transcript, classes: tuple[ClassInfo, ...]) -> tuple[str, ...]:
        return (text_of(decisions, classes) or NOTHING, *_rows(decisions, classes))

    def draw(
        self, picture: Image.Image, decisions: Transcript, classes: tuple[ClassInfo, ...]
    ) -> Image.Image:
        """The text as a caption, in the colour of its first class."""
        first = int(decisions.labels[0]) if len(decisions.labels) else -1
        caption = text_of(decisions, classes) or NOTHING
        return draw_captions(picture, [caption], [class_color(first, classes)])


TASK = _Sequence()


def text_of(transcript: Transcript, classes: tuple[ClassInfo, ...]) -> str:
    """The names of the classes read, joined. There are spaces between them, unless the name of every class
    but the blank is a single character."""
    letters = bool(classes) and all(
        len(entry.name) == 1 for label, entry in enumerate(classes) if label != transcript.blank
    )
    return ("" if letters else " ").join(class_name(label, classes) for label in transcript.labels.tolist())


def _rows(transcript: Transcript, classes: tuple[ClassInfo, ...]) -> Iterator[str]:
    for label, share, place in zip(
        transcript.labels.tolist(), transcript.confidence.tolist(), transcript.places.tolist(), strict=True
    ):
        yield f"step {place:<6} {class_name(label, classes):<16} {share:.3f}"
