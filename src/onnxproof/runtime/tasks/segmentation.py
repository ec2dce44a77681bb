"""Semantic segmentation: the class of every pixel, and how sure the network is of it.

The outputs come in one of two layouts (``post["decode"]``):

- "mask": ``mask`` int64 [b, H, W], the most probable class, and ``confidence`` float [b, H, W], its
  probability;
- "none": one output of logits [b, C, H, W].
"""

import base64
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onnxproof.contract import ClassInfo
from onnxproof.document import Entry
from onnxproof.runtime.drawing import blend
from onnxproof.runtime.preprocess import Transform
from onnxproof.runtime.readings.adjustable import Adjustable, output_names, require_form
from onnxproof.runtime.tasks._task import (
    Array,
    Comparison,
    Finding,
    class_color,
    class_name,
    error_bound,
    exact,
)
from onnxproof.tensors import TensorSpec

NOWHERE = 255
"""The class of a picture's pixels that the model did not see, as in PASCAL VOC's ground truth."""


@dataclass(frozen=True, slots=True)
class ClassMaps(Adjustable):
    """Two outputs: the most probable class int64 [b, H, W], and its probability float [b, H, W]."""

    def require(self, outputs: Mapping[str, TensorSpec]) -> None:
        """See ``Reading``."""
        mask, confidence = (outputs[name] for name in self.outputs)
        require_form(mask, "int", None, None, None)
        require_form(confidence, "float", None, None, None)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"decode": "mask", "outputs": list(self.outputs)}


@dataclass(frozen=True, slots=True)
class PixelLogits(Adjustable):
    """One output of logits [b, C, H, W]."""

    def require(self, outputs: Mapping[str, TensorSpec]) -> None:
        """See ``Reading``."""
        require_form(outputs[self.outputs[0]], "float", None, None, None, None)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"decode": "none", "outputs": list(self.outputs)}


@dataclass(frozen=True, slots=True)
class Segments:
    """One picture's classes and their probabilities, both [H, W].

    ``gaps`` [H, W] is each probability's lead over the next class (infinite with one class), None where
    the layout does not tell it. ``alike`` counts pixels that were left out since both legs agree on them
    (then the arrays are [n]).
    """

    labels: NDArray[np.int64]
    confidence: Array
    gaps: Array | None
    alike: int = 0


class _Segmentation:
    name = "segmentation"
    summary = "Semantic segmentation: the class of every pixel, and how sure the network is of it."

    def reading(self, entry: Entry) -> ClassMaps | PixelLogits:
        keys = entry.table(("decode", "outputs"))
        if keys["decode"].text(("mask", "none")) == "mask":
            return ClassMaps(output_names(keys, 2))
        return PixelLogits(output_names(keys, 1))

    def evidence(
        self,
        outputs: Mapping[str, Array],
        sizes: Mapping[str, int],
        post: Mapping[str, Any],
        margins: Mapping[str, Array],
    ) -> tuple[Segments, ...]:
        if post["decode"] == "none":
            return tuple(_from_logits(logits) for logits in outputs[post["outputs"][0]])
        labels, confidence = (outputs[name] for name in post["outputs"])
        gaps = margins.get(post["outputs"][0])
        return tuple(
            Segments(labels[i], confidence[i], None if gaps is None else gaps[i]) for i in range(len(labels))
        )

    def quantities(self, evidence: Segments) -> Mapping[str, Array]:
        return {"confidence": evidence.confidence}

    def thin(
        self, reference: Segments, candidate: Segments, post: Mapping[str, Any]
    ) -> tuple[Segments, Segments]:
        """The pixels on which the legs differ or the candidate has lost a number, and how many others there
        are."""
        apart = (reference.labels != candidate.labels) | _lost(reference, candidate)
        alike = int(apart.size - apart.sum())
        return _at(reference, apart, alike), _at(candidate, apart, alike)

    def decide(self, evidence: Segments, post: Mapping[str, Any]) -> Segments:
        return evidence

    def differ(self, reference: Segments, candidate: Segments) -> bool:
        return not np.array_equal(reference.labels, candidate.labels)

    def compare(
        self,
        reference: Segments,
        candidate: Segments,
        post: Mapping[str, Any],
        bounds: Mapping[str, float],
    ) -> Comparison:
        """Pixels of another class are ties where the reference's lead lies within twice the bound, and the
        candidate's confidence moved no further than the bound: of all probabilities none moves further than
        the largest. Pixels whose confidence is NaN in the candidate alone are defects.

        The pixels of one picture that flipped for the same reason are one finding.
        """
        bound = bounds["confidence"]
        lost = _lost(reference, candidate)
        flipped = (reference.labels != candidate.labels) & ~lost
        gaps = np.full(flipped.shape, np.inf) if reference.gaps is None else reference.gaps
        with np.errstate(invalid="ignore"):
            moves = np.abs(np.subtract(candidate.confidence, reference.confidence, dtype=np.float64))
        narrow = flipped & (gaps <= 2 * bound)
        ties, wide, moved = narrow & (moves <= bound), flipped & ~narrow, narrow & ~(moves <= bound)
        defects = (
            *_finding(wide, lambda: _lead(reference, gaps, wide, bound)),
            *_finding(moved, lambda: _move(reference, candidate, moves, moved, bound)),
            *_finding(lost, lambda: "their confidence is NaN"),
        )
        matched = reference.alike + int(flipped.size - (flipped | lost).sum())
        return Comparison(matched, _finding(ties, lambda: _lead(reference, gaps, ties, bound)), defects)

    def count(self, decisions: Segments) -> int:
        return int(decisions.labels.size)

    def restore(self, decisions: Segments, transform: Transform) -> Segments:
        """The nearest of the model's pixels for each of the picture's; NOWHERE where it saw none."""
        columns = np.floor(
            (np.arange(transform.picture_width) + 0.5) * transform.scale_x + transform.offset_x
        )
        rows = np.floor((np.arange(transform.picture_height) + 0.5) * transform.scale_y + transform.offset_y)
        height, width = decisions.labels.shape
        seen = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))[None, :]
        at = np.ix_(
            np.clip(rows, 0, height - 1).astype(np.int64), np.clip(columns, 0, width - 1).astype(np.int64)
        )
        return Segments(
            np.where(seen, decisions.labels[at], NOWHERE), np.where(seen, decisions.confidence[at], 0), None
        )

    def to_json(
        self, decisions: Segments, classes: tuple[ClassInfo, ...], width: int | None, height: int | None
    ) -> dict[str, Any]:
        """The mask as a base64 PNG of class indices, and each class's share of the picture."""
        stream = io.BytesIO()
        Image.fromarray(decisions.labels.astype(np.uint8)).save(stream, format="PNG")
        return {
            "mask": base64.b64encode(stream.getvalue()).decode("ascii"),
            "shares": {class_name(label, classes): share for label, share in _shares(decisions)},
        }

    def lines(self, decisions: Segments, classes: tuple[ClassInfo, ...]) -> tuple[str, ...]:
        shares = _shares(decisions)
        rows = (f"{class_name(label, classes):<16} {share:.1%}" for label, share in shares)
        return (f"{len(shares)} class{'' if len(shares) == 1 else 'es'}", *rows)

    def draw(self, picture: Image.Image, decisions: Segments, classes: tuple[ClassInfo, ...]) -> Image.Image:
        """The classes' colours laid over the picture, half transparent."""
        pixels = np.array(picture.convert("RGB"))
        for label in np.unique(decisions.labels):
            if label != NOWHERE:
                blend(pixels, decisions.labels == label, class_color(int(label), classes))
        return Image.fromarray(pixels)


TASK = _Segmentation()


def _at(segments: Segments, where: NDArray[np.bool_], alike: int) -> Segments:
    gaps = None if segments.gaps is None else segments.gaps[where]
    return Segments(segments.labels[where], segments.confidence[where], gaps, alike)


def _from_logits(logits: Array) -> Segments:
    """Logits [C, H, W] through a softmax that cannot overflow."""
    exponents = np.exp(logits - logits.max(axis=0))
    probabilities = exponents / exponents.sum(axis=0)
    labels = probabilities.argmax(axis=0)
    if len(probabilities) == 1:
        return Segments(labels, probabilities[0], np.full(labels.shape, np.inf))
    second, first = np.partition(probabilities, (-2, -1), axis=0)[-2:]
    return Segments(labels, first, first - second)


def _lost(reference: Segments, candidate: Segments) -> NDArray[np.bool_]:
    """The pixels whose confidence is NaN in the candidate alone."""
    lost: NDArray[np.bool_] = np.isnan(candidate.confidence) & ~np.isnan(reference.confidence)
    return lost


def _finding(pixels: NDArray[np.bool_], cause: Callable[[], str]) -> tuple[Finding, ...]:
    """The pixels as one finding, none where there are none."""
    count = int(pixels.sum())
    if not count:
        return ()
    return (Finding(f"{count} pixel{'' if count == 1 else 's'} of another class", cause()),)


def _lead(reference: Segments, gaps: Array, pixels: NDArray[np.bool_], bound: float) -> str:
    """The widest of the leads: NaN where one is."""
    widest = int(gaps[pixels].argmax())
    return (
        f"confidence {exact(reference.confidence[pixels][widest])} leads the next class by "
        f"{gaps[pixels][widest]:.3g}{_at_most(pixels)}, {error_bound(bound, each=True)}"
    )


def _move(
    reference: Segments, candidate: Segments, moves: Array, pixels: NDArray[np.bool_], bound: float
) -> str:
    """The longest of the moves: NaN where one is."""
    longest = int(moves[pixels].argmax())
    before, after = (exact(leg.confidence[pixels][longest]) for leg in (reference, candidate))
    return (
        f"the confidence moved by {moves[pixels][longest]:.3g} from {before} to {after}{_at_most(pixels)}, "
        f"{error_bound(bound)}"
    )


def _at_most(pixels: NDArray[np.bool_]) -> str:
    """What follows a number that is the largest of several."""
    return " at most" if pixels.sum() > 1 else ""


def _shares(decisions: Segments) -> list[tuple[int, float]]:
    labels, counts = np.unique(decisions.labels[decisions.labels != NOWHERE], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    total = decisions.labels.size
    return [(int(labels[i]), float(counts[i] / total)) for i in order]
