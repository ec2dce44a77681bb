"""Outputs as they are. Nothing is decided from them, so only tensors are compared."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from PIL import Image

from onnxproof.contract import ClassInfo
from onnxproof.document import Entry
from onnxproof.errors import RequestError
from onnxproof.runtime.preprocess import Transform
from onnxproof.runtime.readings.adjustable import Adjustable, Array


@dataclass(frozen=True, slots=True)
class Unread(Adjustable):
    """No output is read."""

    outputs: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {}


class _Raw:
    name = "raw"
    decides = False
    needs_all = False
    summary = "Outputs as they are: nothing is decided from them, so tensors alone are compared."

    def reading(self, entry: Entry) -> Unread:
        entry.table(())
        return Unread()

    def evidence(
        self,
        outputs: Mapping[str, Array],
        sizes: Mapping[str, int],
        reading: Unread,
        margins: Mapping[str, Array],
    ) -> tuple[Any, ...]:
        return ()

    def decide(self, evidence: Any, reading: Unread) -> NoReturn:
        raise RequestError("the task raw decides nothing: run the file's session with arrays instead")

    def restore(self, decisions: Any, transform: Transform) -> Any:
        return decisions

    def to_json(
        self, decisions: Any, classes: tuple[ClassInfo, ...], width: int | None, height: int | None
    ) -> dict[str, Any]:
        return {}

    def lines(self, decisions: Any, classes: tuple[ClassInfo, ...]) -> tuple[str, ...]:
        return ()

    def draw(self, picture: Image.Image, decisions: Any, classes: tuple[ClassInfo, ...]) -> Image.Image:
        return picture.copy()


TASK = _Raw()
