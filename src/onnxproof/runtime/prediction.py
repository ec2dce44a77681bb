"""What a model decides on one picture."""

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np
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

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """The detections as COCO's results: image_id, category_id (the label), bbox [x, y, width, height] in
        the picture's pixels, and score. Raises RequestError if the decisions are no boxes."""
        found = self._detections("COCO's results")
        corners = np.asarray(found.boxes, np.float64)
        boxes = np.hstack((corners[:, :2], corners[:, 2:] - corners[:, :2])).tolist()
        rows = zip(boxes, found.labels.tolist(), found.scores.tolist(), strict=True)
        return [
            {"image_id": image_id, "category_id": label, "bbox": box, "score": score}
            for box, label, score in rows
        ]

    def to_supervision(self) -> Any:
        """The detections as ``supervision.Detections``, with "class_name" in its data.

        Raises RequestError if the decisions are no boxes, or if supervision is not installed.
        """
        found = self._detections("supervision.Detections")
        try:
            supervision: Any = importlib.import_module("supervision")
        except ModuleNotFoundError as error:
            raise RequestError("supervision is not installed: install the package supervision") from error
        names = [self.contract.classes[label].name for label in found.labels.tolist()]
        return supervision.Detections(
            xyxy=np.asarray(found.boxes, np.float32),
            confidence=np.asarray(found.scores, np.float32),
            class_id=np.asarray(found.labels, int),
            data={"class_name": np.array(names, dtype=str)},
        )

    def _detections(self, form: str) -> Any:
        """The decisions, if they have axis-aligned boxes, scores and labels."""
        boxes = getattr(self.decisions, "boxes", None)
        if boxes is None or boxes.ndim != 2 or boxes.shape[1] != 4:
            raise RequestError(
                f"decisions of task {self.contract.task} are no boxes, so they are no {form}: take to_json()"
            )
        return self.decisions

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
