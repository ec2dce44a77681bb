"""The head for oriented boxes with class scores."""

from onnxproof.errors import JobError
from onnxproof.job import ValidateTable
from onnxproof.runtime.readings.oriented import ListedOriented, OrientedReading, PaddedOriented
from onnxproof.tensors import Field, TensorSpec
from onnxproof.wrappers.head import Bare, Headed, listed, require_names
from onnxproof.wrappers.heads.detection import (
    BOXES,
    IN_GRAPH,
    LISTED,
    PADDED,
    SCORES,
    Chosen,
    boxes_and_scores,
    cuts_of,
    listed_nms,
    padded_nms,
)


class _OrientedDetection:
    name = "oriented_detection"
    decodes = ("split", *IN_GRAPH)

    def attach(self, bare: Bare, decode: str, validation: ValidateTable) -> Headed:
        """Put the head behind a module.

        It returns ``boxes`` [batch, n, 5] (centre x, centre y, width, height in the input's pixels, and the
        angle in radians, clockwise on the screen) and ``scores`` [batch, n, classes] in [0, 1]. With
        ``decode`` "nms" or "nms-padded" fast NMS is in the graph.
        """
        outputs = bare.outputs
        chosen = boxes_and_scores(bare, 5)
        if chosen is None:
            raise JobError(
                "the task oriented_detection needs boxes [batch, n, 5] and scores [batch, n, classes], in "
                f"this order or named {BOXES} and {SCORES}; the module returns {listed(outputs)}"
            )
        boxes, scores = (outputs[i] for i in chosen)
        require_names(scores, 2, bare.classes)
        specs = (
            TensorSpec(BOXES, "float32", boxes.shape),
            TensorSpec(SCORES, "float32", scores.shape),
        )
        fields = (
            Field(BOXES, "box_xywh", "px", 0, 4),
            Field(BOXES, "angle", "rad", 4, 5),
            Field(SCORES, "score", "probability"),
        )
        module = Chosen(bare.module, chosen)
        if decode == PADDED:
            return padded_nms(module, boxes.shape[0], validation, PaddedOriented, box_fields=fields[:2])
        if decode == LISTED:
            return listed_nms(module, boxes.shape[0], validation, ListedOriented, fields[:2])
        reading = OrientedReading((BOXES, SCORES), **cuts_of(validation))
        return Headed(module, specs, fields, reading)


HEAD = _OrientedDetection()
