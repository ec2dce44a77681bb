"""What every task offers, and the words in which two sets of decisions are compared."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onnxproof.contract import ClassInfo, Reading
from onnxproof.document import Entry
from onnxproof.runtime.preprocess import Transform

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Finding:
    """A decision that one leg took and the other did not: what it was, and why."""

    what: str
    cause: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two sets of decisions on one picture.

    A tie is a difference that the reference's own margins leave open within the error bounds; a
    defect is one that they rule out.
    """

    matched: int
    ties: tuple[Finding, ...]
    defects: tuple[Finding, ...]


class Task(Protocol):
    """NumPy's side of a model: what its outputs mean and what is decided from them.

    *Evidence* is what one picture's decisions rest on, *decisions* are what is left in the end.
    ``post`` is the manifest's ``postprocess``; its keys are the task's own.
    """

    name: str
    summary: str

    def reading(self, entry: Entry) -> Reading:
        """How the task reads a file's outputs, from the manifest's ``postprocess``.

        Raises ModelFileError, naming the key, for an object that is no reading of this task.
        """

    def evidence(
        self,
        outputs: Mapping[str, Array],
        sizes: Mapping[str, int],
        post: Mapping[str, Any],
        margins: Mapping[str, Array],
    ) -> tuple[Any, ...]:
        """The evidence of each picture of a batch, from the model's outputs by name.

        ``sizes`` are the sizes of the input's named axes; ``margins`` holds what only the PyTorch
        legs can tell (empty for an ONNX file).
        """

    def quantities(self, evidence: Any) -> Mapping[str, Array]:
        """The numbers that margins are measured in, by name; same order and shape in every leg."""

    def thin(self, reference: Any, candidate: Any, post: Mapping[str, Any]) -> tuple[Any, Any]:
        """The part of the evidence that ``compare`` can need; small enough to be kept."""

    def decide(self, evidence: Any, post: Mapping[str, Any]) -> Any:
        """The decisions, as ``predict`` takes them."""

    def differ(self, reference: Any, candidate: Any) -> bool:
        """Whether two decisions are not the same set in the same order of the same evidence."""

    def compare(
        self, reference: Any, candidate: Any, post: Mapping[str, Any], bounds: Mapping[str, float]
    ) -> Comparison:
        """Hold the decisions from two pieces of evidence against each other.

        ``bounds`` gives, for each quantity, how far float error alone can have moved it from the
        reference to the candidate.
        """

    def count(self, decisions: Any) -> int:
        """How many decisions there are."""

    def restore(self, decisions: Any, transform: Transform) -> Any:
        """The decisions in the original picture's coordinates."""

    def to_json(
        self, decisions: Any, classes: tuple[ClassInfo, ...], width: int | None, height: int | None
    ) -> dict[str, Any]:
        """A JSON object for one picture of ``width`` by ``height`` pixels, both None without a picture."""

    def lines(self, decisions: Any, classes: tuple[ClassInfo, ...]) -> tuple[str, ...]:
        """The decisions as text: a summary, then a line for each."""

    def draw(self, picture: Image.Image, decisions: Any, classes: tuple[ClassInfo, ...]) -> Image.Image:
        """A copy of the picture with the decisions drawn on it."""


def exact(value: float) -> str:
    """A number of a decision as text: nine significant digits tell one float32 from the next."""
    return f"{float(value):.9g}"


def error_bound(bound: float, *, each: bool = False) -> str:
    """A bound as every cause tells it; ``each``: either of two numbers may have moved by it."""
    return f"error bound {bound:.2e}{' each' if each else ''}"


def class_name(label: int, classes: tuple[ClassInfo, ...]) -> str:
    """The name of a class, or its index where the model names none."""
    return classes[label].name if 0 <= label < len(classes) else str(label)


def class_color(label: int, classes: tuple[ClassInfo, ...]) -> tuple[int, int, int]:
    """The RGB colour of a class; a fixed one where the model names none."""
    fallback = (255, 214, 0)
    return classes[label].color if 0 <= label < len(classes) else fallback


def as_float(values: Array) -> NDArray[np.floating[Any]]:
    """Float arrays as they are, others as float64."""
    return values if np.issubdtype(values.dtype, np.floating) else values.astype(np.float64)
