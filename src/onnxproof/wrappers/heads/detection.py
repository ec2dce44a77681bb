"""The head for boxes and class scores. NMS decides from them, in the graph or outside of it."""

from collections.abc import Sequence

from torch import Tensor, nn

from onnxproof.errors import JobError
from onnxproof.job import ValidateTable
from onnxproof.runtime.readings.boxes import BoxReading, SplitBoxes
from onnxproof.runtime.readings.graph_nms import GraphNms
from onnxproof.runtime.readings.rows import RowReading
from onnxproof.runtime.tasks.detection import DEFAULT_IOU_THRESHOLD, DEFAULT_THRESHOLD
from onnxproof.tensors import Field, TensorSpec
from onnxproof.wrappers.family import Outputs
from onnxproof.wrappers.head import Bare, Headed, listed, require_names
from onnxproof.wrappers.suppression import Suppressed

LABELS, PICTURES = "labels", "pictures"
"""With NMS in the graph, the names of the outputs that say what a row is and which picture it is of."""

ROWS = "detections"
"""With NMS in the graph, the name of the outputs' axis that counts the rows."""

BOXES, SCORES = "boxes", "scores"
"""The names of the file's outputs. If a module returns several tensors of the same form, these names find the
right ones among them."""


class Chosen(nn.Module):
    """Returns only some of the outputs of a module that returns a flat tuple."""

    def __init__(self, module: nn.Module, positions: Sequence[int]) -> None:
        super().__init__()
        self.module = module
        self.positions = tuple(positions)

    def forward(self, *inputs: Tensor) -> Outputs:
        """The outputs at ``positions``, in that order."""
        outputs = self.module(*inputs)
        return tuple(outputs[position] for position in self.positions)


class _Detection:
    name = "detection"
    decodes = ("split", "nms")

    def attach(self, bare: Bare, decode: str, validation: ValidateTable) -> Headed:
        """Put the head behind a module that returns boxes and scores.

        ``boxes`` are [batch, n, 4], x0, y0, x1, y1 in the input's pixels. ``scores`` are [batch, n, classes]
        in [0, 1].
        """
        outputs = bare.outputs
        rows = [i for i, spec in enumerate(outputs) if spec.dtype == "float32" and len(spec.shape) == 3]
        named = [i for i in rows if outputs[i].name in (BOXES, SCORES)]
        chosen = sorted(named or rows, key=lambda i: outputs[i].name == SCORES)
        if len(chosen) != 2 or outputs[chosen[0]].shape[2] != 4:
            raise JobError(
                "the task detection needs boxes [batch, n, 4] and scores [batch, n, classes], in this order "
                f"or named {BOXES} and {SCORES}; the module returns {listed(outputs)}"
            )
        boxes, scores = (outputs[i] for i in chosen)
        require_names(scores, 2, bare.classes)
        module = Chosen(bare.module, chosen)
        if decode == "nms":
            return with_nms(module, boxes.shape[0], validation)
        specs, fields = split_outputs(boxes.shape, scores.shape)
        return Headed(module, specs, fields, box_reading(SplitBoxes, (BOXES, SCORES), validation))


HEAD = _Detection()


def split_outputs(
    boxes: tuple[int | str, ...], scores: tuple[int | str, ...]
) -> tuple[tuple[TensorSpec, ...], tuple[Field, ...]]:
    """The outputs of the layout "split" and their fields, for the shapes of ``boxes`` and ``scores``."""
    return (TensorSpec(BOXES, "float32", boxes), TensorSpec(SCORES, "float32", scores)), (
        Field(BOXES, "box_xyxy", "px"),
        Field(SCORES, "score", "probability"),
    )


def with_nms(module: nn.Module, batch: int | str, validation: ValidateTable) -> Headed:
    """Put NMS behind a module, in the graph, by the job's thresholds: a row for each detection.

    ``module`` returns boxes [batch, n, 4] (x0, y0, x1, y1 in the input's pixels) and scores [batch, n, C].
    ``batch`` is the name of the batch's axis, or its size. Thresholds that the job lacks are the task's
    defaults.
    """
    names = (BOXES, LABELS, SCORES, PICTURES)
    told = box_reading(SplitBoxes, (BOXES, SCORES), validation)
    graph = GraphNms(
        told.score_threshold,
        told.iou_threshold,
        told.max_detections,
        class_agnostic=told.class_agnostic,
    )
    outputs = (
        TensorSpec(BOXES, "float32", (ROWS, 4)),
        TensorSpec(LABELS, "int64", (ROWS,)),
        TensorSpec(SCORES, "float32", (ROWS,)),
        TensorSpec(PICTURES, "int64", (ROWS,)),
    )
    fields = (Field(BOXES, "box_xyxy", "px"), Field(SCORES, "score", "probability"))
    reading = RowReading(names, told.score_threshold, 0, graph, batch=batch)
    return Headed(Suppressed(module, reading.cuts), outputs, fields, reading)


def box_reading(
    kind: type[BoxReading],
    outputs: tuple[str, ...],
    validation: ValidateTable,
    strides: tuple[int, ...] | None = None,
) -> BoxReading:
    """The reading for NMS outside of the graph. Thresholds that the job lacks are the task's defaults."""
    given, overlap = validation.score_threshold, validation.iou_threshold
    return kind(
        outputs,
        DEFAULT_THRESHOLD if given is None else given,
        DEFAULT_IOU_THRESHOLD if overlap is None else overlap,
        validation.class_agnostic,
        strides,
        validation.max_detections,
    )
