"""Semantic segmentation: the class of every pixel, and how sure the network is of it.

The outputs come in one of two layouts: ``ClassMaps`` or ``PixelLogits``.
"""

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onnxproof.contract import ClassInfo
from onnxproof.document import Entry
from onnxproof.runtime.drawing import blend, draw_legend
from onnxproof.runtime.maps import places_in, strips
from onnxproof.runtime.preprocess import Transform
from onnxproof.runtime.readings.adjustable import Adjustable, Array, output_names, require_form
from onnxproof.runtime.tasks.task import class_color, class_name
from onnxproof.tensors import TensorSpec

BACKGROUND = ("background", "__background__")
"""Names of the class of what is nothing in particular."""

NOWHERE = 255
"""The class of pixels of the picture that the model did not see, as in PASCAL VOC's ground truth."""


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
    """One output of logits [b, C, h, w].

    If ``picture`` is None, they are those of the input's pixels. Otherwise they are coarser, ``picture`` is
    the
    input's height and width (the names of the axes), and the runtime interpolates the logits linearly to the
    picture's own pixels before it decides.
    """

    picture: tuple[str, str] | None = None

    def require(self, outputs: Mapping[str, TensorSpec]) -> None:
        """See ``Reading``."""
        require_form(outputs[self.outputs[0]], "float", None, None, None, None)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        picture = {} if self.picture is None else {"picture": list(self.picture)}
        return {"decode": "none", "outputs": list(self.outputs), **picture}


@dataclass(frozen=True, slots=True)
class Segments:
    """One picture's classes and their probabilities, both [H, W].

    ``gaps`` [H, W] is each probability's lead over the next class: infinite if there is only one class, None
    if the layout does not have it. ``alike`` counts pixels that were left out because both legs agree on
    them; then the arrays are [n]. ``coarse`` are logits from which the picture's own pixels are decided; None
    if each takes the class of the nearest of these pixels.
    """

    labels: NDArray[np.int64]
    confidence: Array
    gaps: Array | None
    alike: int = 0
    coarse: "Coarse | None" = None


@dataclass(frozen=True, slots=True)
class Coarse:
    """Logits [C, h, w] that cover the input of ``height`` by ``width`` pixels."""

    logits: Array
    height: int
    width: int


class _Segmentation:
    name = "segmentation"
    decides = True
    needs_all = True
    summary = "Semantic segmentation: the class of every pixel, and how sure the network is of it."

    def reading(self, entry: Entry) -> ClassMaps | PixelLogits:
        keys = entry.table(("decode", "outputs"), ("picture",))
        if keys["decode"].text(("mask", "none")) == "mask":
            return ClassMaps(output_names(keys, 2))
        if "picture" not in keys:
            return PixelLogits(output_names(keys, 1))
        height, width = (axis.text() for axis in keys["picture"].entries(2))
        return PixelLogits(output_names(keys, 1), (height, width))

    def evidence(
        self,
        outputs: Mapping[str, Array],
        sizes: Mapping[str, int],
        reading: ClassMaps | PixelLogits,
        margins: Mapping[str, Array],
    ) -> tuple[Segments, ...]:
        if isinstance(reading, PixelLogits):
            found = tuple(_from_logits(logits) for logits in outputs[reading.outputs[0]])
            if reading.picture is None:
                return found
            height, width = (sizes[axis] for axis in reading.picture)
            return tuple(
                replace(one, coarse=Coarse(logits, height, width))
                for one, logits in zip(found, outputs[reading.outputs[0]], strict=True)
            )
        labels, confidence = (outputs[name] for name in reading.outputs)
        gaps = margins.get(reading.outputs[0])
        return tuple(
            Segments(labels[i], confidence[i], None if gaps is None else gaps[i]) for i in range(len(labels))
        )

    def decide(self, evidence: Segments, reading: ClassMaps | PixelLogits) -> Segments:
        return evidence

    def restore(self, decisions: Segments, transform: Transform) -> Segments:
        """Each pixel of the picture gets the class of the nearest pixel of the model's, or that of the coarse
        logits in its place. It gets NOWHERE if the model did not see it."""
        if decisions.coarse is not None:
            return _enlarged(decisions.coarse, transform)
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
        """{"mask", "shares"}: a base64 PNG of class indices, and each class's share of the picture."""
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
        """The classes' colours laid over the picture, half transparent, and a legend, the largest first. A
        class that is called background stays clear."""
        pixels = np.array(picture.convert("RGB"))
        labels, counts = np.unique(decisions.labels, return_counts=True)
        shown = [
            int(label)
            for label in labels[np.argsort(-counts, kind="stable")]
            if label != NOWHERE and class_name(int(label), classes) not in BACKGROUND
        ]
        for label in shown:
            blend(pixels, decisions.labels == label, class_color(label, classes))
        names = [class_name(label, classes) for label in shown]
        return draw_legend(Image.fromarray(pixels), names, [class_color(label, classes) for label in shown])


TASK = _Segmentation()


def _from_logits(logits: Array) -> Segments:
    """Classes and probabilities from logits [C, H, W]. The softmax cannot overflow."""
    exponents = np.exp(logits - logits.max(axis=0))
    probabilities = exponents / exponents.sum(axis=0)
    labels = probabilities.argmax(axis=0)
    if len(probabilities) == 1:
        return Segments(labels, probabilities[0], np.full(labels.shape, np.inf))
    second, first = np.partition(probabilities, (-2, -1), axis=0)[-2:]
    return Segments(labels, first, first - second)


def _enlarged(coarse: Coarse, transform: Transform) -> Segments:
    """The class of each of the picture's pixels, from logits interpolated linearly."""
    places = places_in(transform, (coarse.height, coarse.width), coarse.logits.shape[1:])
    size = (transform.picture_height, transform.picture_width)
    labels, confidence = np.empty(size, np.int64), np.empty(size, coarse.logits.dtype)
    for rows, logits in strips(coarse.logits, places, "linear"):
        found = _from_logits(logits)
        labels[rows], confidence[rows] = found.labels, found.confidence
    seen = places.seen
    return Segments(np.where(seen, labels, NOWHERE), np.where(seen, confidence, 0), None)


def _shares(decisions: Segments) -> list[tuple[int, float]]:
    labels, counts = np.unique(decisions.labels[decisions.labels != NOWHERE], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    total = decisions.labels.size
    return [(int(labels[i]), float(counts[i] / total)) for i in order]
