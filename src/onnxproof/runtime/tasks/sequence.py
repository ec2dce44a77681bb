"""Sequences: the class of every step, and the text that the classes spell.

The model has an output of logits [batch, time, C] (``post["decode"]`` "none"), of a batch of sequences that
need not be equally long: where it has a second output ``lengths`` int64 [batch], only so many of a sequence's
steps count, from the first on. ``post["outputs"]`` names both, or the first alone; then every step counts.

``post["blank"]`` is the index of the blank of connectionist temporal classification (Graves et al. 2006):
of equal classes that follow one another one is read, then blanks are left out. Where it is None, every
step's class is read.
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
from onnxproof.runtime.readings.adjustable import Adjustable, output_names, require_form
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
from onnxproof.runtime.tasks.classification import softmax
from onnxproof.tensors import TensorSpec

NOTHING = "(nothing)"
"""What a caption says where no class was read."""


@dataclass(frozen=True, slots=True)
class StepLogits(Adjustable):
    """Logits [batch, time, C] and, if there is a second output, how many steps of each sequence count,
    integers [batch].

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

    ``numbers`` int64 [n] are the steps' numbers from 0 on. ``alike`` counts steps that were left out since
    both legs agree on them.
    """

    logits: Array
    numbers: NDArray[np.int64]
    length: int
    alike: int = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """What one sequence says.

    ``steps`` int64 [time], the class of each step that counts. ``labels`` int64 [n], the classes read;
    ``confidence`` float [n], the largest probability of each among the steps that it was read from, and
    ``places`` int64 [n], the number of that step. ``blank`` is the blank's class, or None.
    """

    steps: NDArray[np.int64]
    labels: NDArray[np.int64]
    confidence: Array
    places: NDArray[np.int64]
    blank: int | None


def best_classes(logits: Array) -> NDArray[np.int64]:
    """The class [n] with the largest logit of each row [n, C]; of equals the lowest, NaN last."""
    values = as_float(logits)
    found: NDArray[np.int64] = np.where(np.isnan(values), -np.inf, values).argmax(axis=-1).astype(np.int64)
    return found


def runs(classes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where runs of equal ``classes`` [n] start: indices [m], and n behind the last."""
    starts = np.flatnonzero(np.diff(classes)) + 1
    return np.concatenate(([0], starts, [len(classes)])) if len(classes) else np.zeros(1, np.int64)


class _Sequence:
    name = "sequence"
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
        post: Mapping[str, Any],
        margins: Mapping[str, Array],
    ) -> tuple[Steps, ...]:
        logits, *lengths = (outputs[name] for name in post["outputs"])
        time = logits.shape[1]
        numbers = np.arange(time)
        counted = np.clip(lengths[0], 0, time).tolist() if lengths else [time] * len(logits)
        return tuple(Steps(rows, numbers, int(length)) for rows, length in zip(logits, counted, strict=True))

    def quantities(self, evidence: Steps) -> Mapping[str, Array]:
        """The logits, with zeros in place of the steps that do not count."""
        counts = evidence.numbers < evidence.length
        return {"logit": np.where(counts[:, None], evidence.logits, 0)}

    def thin(self, reference: Steps, candidate: Steps, post: Mapping[str, Any]) -> tuple[Steps, Steps]:
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

    def decide(self, evidence: Steps, post: Mapping[str, Any]) -> Reading:
        probabilities = softmax(evidence.logits[: evidence.length])
        steps = best_classes(evidence.logits[: evidence.length])
        blank = post["blank"]
        bounds = np.arange(len(steps) + 1) if blank is None else runs(steps)
        sure = probabilities[np.arange(len(steps)), steps]
        spans = [
            slice(start, stop)
            for start, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
            if steps[start] != blank
        ]
        places = np.array([span.start + int(sure[span].argmax()) for span in spans], np.int64)
        return Reading(steps, steps[places], sure[places], places, blank)

    def differ(self, reference: Reading, candidate: Reading) -> bool:
        return not np.array_equal(reference.steps, candidate.steps)

    def compare(
        self, reference: Steps, candidate: Steps, post: Mapping[str, Any], bounds: Mapping[str, float]
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

    def count(self, decisions: Reading) -> int:
        return len(decisions.steps)

    def restore(self, decisions: Reading, transform: Transform) -> Reading:
        return decisions

    def to_json(
        self, decisions: Reading, classes: tuple[ClassInfo, ...], width: int | None, height: int | None
    ) -> dict[str, Any]:
        """{"text", "labels", "confidence", "steps"}: what is read, and of each class its name, its
        probability and the step that is surest of it."""
        return {
            "text": text_of(decisions, classes),
            "labels": [class_name(label, classes) for label in decisions.labels.tolist()],
            "confidence": [float(value) for value in decisions.confidence],
            "steps": decisions.places.tolist(),
        }

    def lines(self, decisions: Reading, classes: tuple[ClassInfo, ...]) -> tuple[str, ...]:
        return (text_of(decisions, classes) or NOTHING, *_rows(decisions, classes))

    def draw(self, picture: Image.Image, decisions: Reading, classes: tuple[ClassInfo, ...]) -> Image.Image:
        """The text as a caption, in the colour of its first class."""
        first = int(decisions.labels[0]) if len(decisions.labels) else -1
        caption = text_of(decisions, classes) or NOTHING
        return draw_captions(picture, [caption], [class_color(first, classes)])


TASK = _Sequence()


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


def text_of(reading: Reading, classes: tuple[ClassInfo, ...]) -> str:
    """The names of the classes read: one behind the other where every class but the blank is named by a
    single character, else with spaces between."""
    letters = bool(classes) and all(
        len(entry.name) == 1 for label, entry in enumerate(classes) if label != reading.blank
    )
    return ("" if letters else " ").join(class_name(label, classes) for label in reading.labels.tolist())


def _rows(reading: Reading, classes: tuple[ClassInfo, ...]) -> Iterator[str]:
    for label, share, place in zip(
        reading.labels.tolist(), reading.confidence.tolist(), reading.places.tolist(), strict=True
    ):
        yield f"step {place:<6} {class_name(label, classes):<16} {share:.3f}"
