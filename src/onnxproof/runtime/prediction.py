"""What a model decides on one picture."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from PIL import Image

from onnxproof.contract import Contract
from onnxproof.errors import RequestError
from onnxproof.runtime.preprocess import Picture, read_picture
from onnxproof.runtime.tasks import get_task
from onnxproof.text import one_line

OWN_LABELS: Mapping[str, int] = MappingProxyType({})


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

    def to_coco(self, image_id: int, categories: Mapping[str, int] = OWN_LABELS) -> list[dict[str, Any]]:
        """The detections as COCO's results, each with image_id, category_id, bbox [x, y, width, height] in
        the picture's pixels, and score.

        Masks are in "segmentation", as run lengths, and keypoints in "keypoints". An oriented box has its
        corners in "segmentation", a polygon; its bbox is the one around it. ``categories`` has the
        category_id of each class by its name; without it, it is the label. Raises RequestError if the
        decisions are no boxes, or if a class has no category.
        """
        # Imported only here, because a cold start needs none of it.
        converted = importlib.import_module("onnxproof.runtime.converted")
        rows: list[dict[str, Any]] = converted.to_coco(self.contract, self.decisions, image_id, categories)
        return rows

    def to_supervision(self) -> Any:
        """The detections as ``supervision.Detections``, with "class_name" in its data, or keypoints as
        ``supervision.KeyPoints``.

        Masks are bool [n, H, W]. Oriented boxes have their corners in the data's "xyxyxyxy", as that library
        expects. Raises RequestError if the decisions are no boxes, or if supervision (0.29 or newer) is not
        installed.
        """
        converted = importlib.import_module("onnxproof.runtime.converted")
        return converted.to_supervision(self.contract, self.decisions)

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
