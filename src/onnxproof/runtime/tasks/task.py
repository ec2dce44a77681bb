"""What every task offers."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onnxproof.contract import ClassInfo, Reading
from onnxproof.document import Entry
from onnxproof.runtime.preprocess import Transform
from onnxproof.runtime.readings.adjustable import Array


class Task(Protocol):
    """What a model's outputs mean and what is decided from them, in NumPy.

    *Evidence* is the part of the outputs that one picture's decisions depend on. *Decisions* are what the
    task concludes from it, such as detections. ``decides`` is False if nothing is decided from the outputs.
    ``needs_all`` says that every number counts: one that is NaN leaves nothing to decide. Of boxes and the
    like, those with NaN are left out.
    The argument ``reading`` has one of the types that the method ``reading`` returns.
    """

    name: str
    summary: str
    decides: bool
    needs_all: bool

    def reading(self, entry: Entry) -> Reading:
        """How the task reads a file's outputs, from the manifest's ``postprocess``.

        Raises ModelFileError, which names the key, if the object is not a reading of this task.
        """

    def evidence(
        self,
        outputs: Mapping[str, Array],
        sizes: Mapping[str, int],
        reading: Any,
        margins: Mapping[str, Array],
    ) -> tuple[Any, ...]:
        """The evidence of each picture of a batch, from the model's outputs by name.

        ``sizes`` are the sizes of the input's named axes. ``margins`` are arrays that only the PyTorch legs
        have, such as a score's lead over the next class; it is empty for an ONNX file.
        """

    def decide(self, evidence: Any, reading: Any) -> Any:
        """The decisions that ``predict`` reports."""

    def restore(self, decisions: Any, transform: Transform) -> Any:
        """The decisions in the original picture's coordinates."""

    def to_json(
        self, decisions: Any, classes: tuple[ClassInfo, ...], width: int | None, height: int | None
    ) -> dict[str, Any]:
        """A JSON object for one picture of ``width`` by ``height`` pixels, both None if there is no
        picture."""

    def lines(self, decisions: Any, classes: tuple[ClassInfo, ...]) -> tuple[str, ...]:
        """The decisions as text: a summary, then a line for each."""

    def draw(self, picture: Image.Image, decisions: Any, classes: tuple[ClassInfo, ...]) -> Image.Image:
        """A copy of the picture with the decisions drawn on it."""


def class_name(label: int, classes: tuple[ClassInfo, ...]) -> str:
    """The name of a class, or its index if the model has no name for it."""
    return classes[label].name if 0 <= label < len(classes) else str(label)


def class_color(label: int, classes: tuple[ClassInfo, ...]) -> tuple[int, int, int]:
    """The RGB colour of a class, or a fixed one if the model has no colour for it."""
    fallback = (255, 214, 0)
    return classes[label].color if 0 <= label < len(classes) else fallback


def as_float(values: Array) -> NDArray[np.floating[Any]]:
    """Float arrays are returned as they are; others are converted to float64."""
    return values if np.issubdtype(values.dtype, np.floating) else values.astype(np.float64)
