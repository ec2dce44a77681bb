"""What a model decides on one picture."""

from dataclasses import dataclass
from typing import Any

from PIL import Image

from onnxproof.contract import Contract
from onnxproof.errors import RequestError
from onnxproof.runtime.preprocess import Picture, read_picture
from onnxproof.runtime.tasks import get_task
from onnxproof.text import one_line


@dataclass(frozen=True, slots=True)
class Prediction:
    """The decisions on one picture, in its own coordinates, or on one row of arrays.

    ``decisions`` is the task's own value. ``width`` and ``height``, in pixels, are the picture's, or those of
    the array in its place. They are None if the model takes no picture.
    """

    decisions: Any
    contract: Contract
    width: int | None
    height: int | None

    def to_json(self) -> dict[str, Any]:
        """A JSON object; its keys are the task's."""
        return get_task(self.contract.task).to_json(
            self.decisions, self.contract.classes, self.width, self.height
        )

    def lines(self) -> tuple[str, ...]:
        """The decisions as text: a summary, then a line for each."""
        return get_task(self.contract.task).lines(self.decisions, self.contract.classes)

    def __str__(self) -> str:
        """What ``onnxproof predict`` prints: a summary, then a line for each decision."""
        summary, *others = self.lines()
        return "\n".join((one_line(summary), *(f"  {one_line(line)}" for line in others)))

    def draw(self, picture: Picture) -> Image.Image:
        """A copy of the picture with the decisions on it. Raises RequestError if the model takes none."""
        if self.width is None:
            raise RequestError(
                "the model takes no picture, so its decisions have no place in one: draw them yourself"
            )
        return get_task(self.contract.task).draw(read_picture(picture), self.decisions, self.contract.classes)
