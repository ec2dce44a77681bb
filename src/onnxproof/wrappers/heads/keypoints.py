"""The head for objects with keypoints: boxes, class scores, and the points of each box."""

from onnxproof.errors import JobError
from onnxproof.job import ValidateTable
from onnxproof.runtime.readings.carried import PaddedPoints
from onnxproof.runtime.readings.points import PointReading
from onnxproof.tensors import Field, TensorSpec
from onnxproof.wrappers.head import Bare, Headed, listed, require_names
from onnxproof.wrappers.heads.detection import (
    BOXES,
    PADDED,
    SCORES,
    Chosen,
    boxes_and_scores,
    cuts_of,
    padded_nms,
)

POINTS = "keypoints"


class _Keypoints:
    name = "keypoints"
    decodes = ("split", PADDED)

    def attach(self, bare: Bare, decode: str, validation: ValidateTable) -> Headed:
        """Put the head behind a module.

        It returns ``boxes`` [batch, n, 4] (x0, y0, x1, y1 in the input's pixels), ``scores``
        [batch, n, classes] in [0, 1] and ``keypoints`` [batch, n, points, 2 or 3]: x and y in pixels, and the
        probability that the point is visible. With ``decode`` "nms-padded" NMS is in the graph.
        """
        outputs = bare.outputs
        four = [i for i, spec in enumerate(outputs) if spec.dtype == "float32" and len(spec.shape) == 4]
        chosen = boxes_and_scores(bare)
        points = [i for i in four if outputs[i].name == POINTS] or four
        if chosen is None or len(points) != 1 or outputs[points[0]].shape[3] not in (2, 3):
            raise JobError(
                "the task keypoints needs boxes [batch, n, 4], scores [batch, n, classes] and keypoints "
                f"[batch, n, points, 2 or 3], in this order or of these names; the module returns "
                f"{listed(outputs)}"
            )
        boxes, scores, place = (outputs[i] for i in (*chosen, points[0]))
        require_names(scores, 2, bare.classes)
        specs = (
            TensorSpec(BOXES, "float32", boxes.shape),
            TensorSpec(SCORES, "float32", scores.shape),
            TensorSpec(POINTS, "float32", place.shape),
        )
        fields = (
            Field(BOXES, "box_xyxy", "px"),
            Field(SCORES, "score", "probability"),
            *point_fields(specs[2]),
        )
        module = Chosen(bare.module, (*chosen, points[0]))
        if decode == PADDED:
            return padded_nms(module, boxes.shape[0], validation, PaddedPoints, specs[2:], fields[2:])
        reading = PointReading((BOXES, SCORES, POINTS), **cuts_of(validation))
        return Headed(module, specs, fields, reading)


def point_fields(points: TensorSpec) -> tuple[Field, ...]:
    """The fields of an output of points [batch, n, K, 2 or 3]."""
    place = Field(points.name, "point_xy", "px", 0, 2)
    if points.shape[3] == 2:
        return (place,)
    return place, Field(points.name, "visibility", "probability", 2, 3)


HEAD = _Keypoints()
