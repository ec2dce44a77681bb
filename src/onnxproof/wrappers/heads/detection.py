"""The head for boxes with classes and scores. They need NMS, in the graph or after it, or none."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from onnxproof.errors import JobError
from onnxproof.job import ValidateTable
from onnxproof.runtime.readings.boxes import BoxReading, SplitBoxes
from onnxproof.runtime.readings.graph_nms import GraphNms
from onnxproof.runtime.readings.padded import PaddedReading
from onnxproof.runtime.readings.rows import RowReading
from onnxproof.runtime.readings.sets import Activation, Axis, QuerySet, RowSet, SplitSet
from onnxproof.runtime.tasks.detection import DEFAULT_IOU_THRESHOLD, DEFAULT_THRESHOLD
from onnxproof.tensors import Field, TensorSpec
from onnxproof.wrappers.family import Outputs
from onnxproof.wrappers.head import LOGITS_NAMES, Bare, Headed, listed, require_names
from onnxproof.wrappers.suppression import Padded, Suppressed

PADDED = PaddedReading.decode
LISTED = RowReading.decode
IN_GRAPH = (LISTED, PADDED)
"""The values of ``wrapper.decode`` with NMS in the graph: rows of all pictures, or as many for each."""

LABELS, PICTURES, COUNTS = "labels", "pictures", "counts"
"""With NMS in the graph, the names of the outputs that say what a row is, and which picture it is of or how
many rows of each picture count."""

ROWS = "detections"
"""With NMS in the graph, the name of the outputs' axis that counts the rows."""

BOXES, SCORES = "boxes", "scores"
"""The names of the file's outputs. If a module returns several tensors of the same form, these names find the
right ones among them."""

LOGITS = "logits"
QUERY_BOXES = ("pred_boxes", BOXES)
QUERY_LOGITS = (*LOGITS_NAMES, "pred_logits")
PACKED_ROWS = "rows"


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
    decodes = ("split", *IN_GRAPH, "softmax", "sigmoid", "rows")

    def attach(self, bare: Bare, decode: str, validation: ValidateTable) -> Headed:
        """Put the head behind a module.

        - "split": it returns ``boxes`` [batch, n, 4], x0, y0, x1, y1 in the input's pixels, and ``scores``
          [batch, n, classes] in [0, 1]. NMS follows, unless ``validate.nms`` is "none".
        - "nms": the same, with NMS in the graph: a row for each detection of the batch. "nms-padded": as many
          rows for each picture as ``validate.max_detections`` says, and how many of them count.
        - "softmax" and "sigmoid": it returns ``logits`` [batch, queries, classes], of which for "softmax" the
          last column is "no object", and ``boxes`` or ``pred_boxes`` [batch, queries, 4]: centre x, centre y,
          width, height in shares of the input's size.
        - "rows": it returns one output [batch, n, 6]: x0, y0, x1, y1 in pixels, score, label.
        """
        if decode == "split" or decode in IN_GRAPH:
            return _split(bare, decode, validation)
        return _rows(bare, validation) if decode == "rows" else _queries(bare, decode, validation)


HEAD = _Detection()


def _split(bare: Bare, decode: str, validation: ValidateTable) -> Headed:
    chosen = boxes_and_scores(bare)
    if chosen is None:
        raise JobError(
            "the task detection needs boxes [batch, n, 4] and scores [batch, n, classes], in this order "
            f"or named {BOXES} and {SCORES}; the module returns {listed(bare.outputs)}"
        )
    boxes, scores = (bare.outputs[i] for i in chosen)
    require_names(scores, 2, bare.classes)
    module = Chosen(bare.module, chosen)
    if decode in IN_GRAPH:
        return with_nms(module, boxes.shape[0], validation, decode)
    specs, fields = split_outputs(boxes.shape, scores.shape)
    if validation.nms == "none":
        return Headed(module, specs, fields, set_reading(validation))
    return Headed(module, specs, fields, box_reading(SplitBoxes, (BOXES, SCORES), validation))


def _queries(bare: Bare, activation: str, validation: ValidateTable) -> Headed:
    outputs, rows = bare.outputs, _floats(bare)
    boxes = [i for i in rows if outputs[i].shape[2] == 4 and outputs[i].name in QUERY_BOXES]
    boxes = boxes or [i for i in rows if outputs[i].shape[2] == 4 and outputs[i].name not in QUERY_LOGITS]
    logits = [i for i in rows if outputs[i].name in QUERY_LOGITS] or [i for i in rows if i not in boxes]
    if len(boxes) != 1 or len(logits) != 1:
        raise JobError(
            f'wrapper.decode = "{activation}" needs logits [batch, queries, classes] and boxes '
            f"[batch, queries, 4], named {LOGITS} and {' or '.join(QUERY_BOXES)} if there are others; the "
            f"module returns {listed(outputs)}"
        )
    specs, fields = query_outputs(outputs[logits[0]].shape, outputs[boxes[0]].shape)
    columns = specs[0].shape[2]
    if bare.classes and columns != len(bare.classes) + (activation == "softmax"):
        also = ' and "no object"' if activation == "softmax" else ""
        raise JobError(
            f"{len(bare.classes)} classes are named{also}, the module's output {specs[0].name} has {columns} "
            "columns: name each class in model.classes, in the order that the model was trained with"
        )
    height, width = picture_axes(bare.inputs)
    reading = query_reading("softmax" if activation == "softmax" else "sigmoid", height, width, validation)
    return Headed(Chosen(bare.module, (logits[0], boxes[0])), specs, fields, reading)


def _rows(bare: Bare, validation: ValidateTable) -> Headed:
    outputs = bare.outputs
    rows = [i for i in _floats(bare) if outputs[i].shape[2] == 6]
    if len(rows) != 1:
        raise JobError(
            'wrapper.decode = "rows" needs one output [batch, n, 6]: x0, y0, x1, y1, score, label; '
            f"the module returns {listed(outputs)}"
        )
    spec = TensorSpec(PACKED_ROWS, "float32", outputs[rows[0]].shape)
    fields = (
        Field(PACKED_ROWS, "box_xyxy", "px", 0, 4),
        Field(PACKED_ROWS, "score", "probability", 4, 5),
        Field(PACKED_ROWS, "label", "class", 5, 6, kind="label"),
    )
    reading = RowSet((PACKED_ROWS,), score_threshold(validation), validation.max_detections)
    return Headed(Chosen(bare.module, rows), (spec,), fields, reading)


def boxes_and_scores(bare: Bare, numbers: int = 4) -> tuple[int, int] | None:
    """The positions of the outputs boxes [batch, n, numbers] and scores [batch, n, classes].

    They stand in this order, or have these names. Returns None if the module does not return both.
    """
    outputs, rows = bare.outputs, _floats(bare)
    named = [i for i in rows if outputs[i].name in (BOXES, SCORES)]
    chosen = sorted(named or rows, key=lambda i: outputs[i].name == SCORES)
    if len(chosen) != 2 or outputs[chosen[0]].shape[2] != numbers:
        return None
    return chosen[0], chosen[1]


def _floats(bare: Bare) -> list[int]:
    """The positions of the outputs float32 [batch, n, k]."""
    return [i for i, spec in enumerate(bare.outputs) if spec.dtype == "float32" and len(spec.shape) == 3]


def split_outputs(
    boxes: tuple[int | str, ...], scores: tuple[int | str, ...]
) -> tuple[tuple[TensorSpec, ...], tuple[Field, ...]]:
    """The outputs of the layout "split" and their fields, for the shapes of ``boxes`` and ``scores``."""
    return (TensorSpec(BOXES, "float32", boxes), TensorSpec(SCORES, "float32", scores)), (
        Field(BOXES, "box_xyxy", "px"),
        Field(SCORES, "score", "probability"),
    )


def with_nms(module: nn.Module, batch: int | str, validation: ValidateTable, decode: str = LISTED) -> Headed:
    """Put NMS behind a module, in the graph, by the job's thresholds. ``decode`` is one of ``IN_GRAPH``.

    ``module`` returns boxes [batch, n, 4] (x0, y0, x1, y1 in the input's pixels) and scores [batch, n, C].
    ``batch`` is the name of the batch's axis, or its size. Thresholds that the job lacks are the task's
    defaults.
    """
    if decode == PADDED:
        return padded_nms(module, batch, validation)
    return listed_nms(module, batch, validation)


def listed_nms(
    module: nn.Module,
    batch: int | str,
    validation: ValidateTable,
    kind: type[RowReading] = RowReading,
    box_fields: Sequence[Field] = (),
) -> Headed:
    """The same with a row for each detection. ``box_fields`` are as in ``padded_nms``."""
    outputs, fields = row_outputs()
    reading = rows_of_batch(_graph_nms(validation, LISTED), 0, batch, kind)
    if box_fields:
        boxes = TensorSpec(BOXES, outputs[0].dtype, (*outputs[0].shape[:1], kind.numbers))
        outputs, fields = (boxes, *outputs[1:]), (*box_fields, *fields[1:])
    return Headed(Suppressed(module, reading.cuts, oriented=bool(box_fields)), outputs, fields, reading)


def padded_nms(
    module: nn.Module,
    batch: int | str,
    validation: ValidateTable,
    kind: type[PaddedReading] = PaddedReading,
    more: Sequence[TensorSpec] = (),
    fields: Sequence[Field] = (),
    box_fields: Sequence[Field] = (),
) -> Headed:
    """The same with as many rows for each picture as ``validation.max_detections`` says.

    ``more`` are the module's outputs after boxes and scores, which ``kind`` reads: what each box carries
    [batch, n, …], and what the boxes of a picture share. ``fields`` are theirs, and ``box_fields`` those of
    the boxes if ``kind`` reads oriented ones.
    """
    graph = _graph_nms(validation, PADDED)
    most = graph.max_detections
    if most is None:
        raise JobError(
            f'wrapper.decode = "{PADDED}" needs validate.max_detections: how many rows each picture has'
        )
    carried = [TensorSpec(spec.name, spec.dtype, (batch, most, *spec.shape[2:])) for spec in more[:1]]
    outputs = (
        TensorSpec(BOXES, "float32", (batch, most, kind.numbers)),
        TensorSpec(LABELS, "int64", (batch, most)),
        TensorSpec(SCORES, "float32", (batch, most)),
        *carried,
        *more[1:],
        TensorSpec(COUNTS, "int64", (batch,)),
    )
    padded = kind(tuple(spec.name for spec in outputs), graph.score_threshold, 0, graph, batch=batch)
    straight, scored = row_outputs()[1]
    suppressed = Padded(module, padded.cuts, oriented=bool(box_fields))
    return Headed(suppressed, outputs, (*(box_fields or (straight,)), scored, *fields), padded)


def _graph_nms(validation: ValidateTable, decode: str) -> GraphNms:
    """The job's thresholds, as the graph decides by them."""
    if validation.nms == "none":
        raise JobError(
            f'wrapper.decode = "{decode}" puts NMS into the graph, and validate.nms = "none" says that the '
            "model needs none: leave one of them out"
        )
    told = box_reading(SplitBoxes, (BOXES, SCORES), validation)
    return GraphNms(
        told.score_threshold,
        told.iou_threshold,
        told.max_detections,
        class_agnostic=told.class_agnostic,
    )


def rows_of_batch(
    graph: GraphNms, first_label: int, batch: int | str, kind: type[RowReading] = RowReading
) -> RowReading:
    """The reading of ``row_outputs``; ``predict`` applies the graph's own score threshold."""
    names = (BOXES, LABELS, SCORES, PICTURES)
    return kind(names, graph.score_threshold, first_label, graph, batch=batch)


def row_outputs() -> tuple[tuple[TensorSpec, ...], tuple[Field, ...]]:
    """The outputs of NMS in the graph, a row for each detection of a batch, and their fields."""
    return (
        TensorSpec(BOXES, "float32", (ROWS, 4)),
        TensorSpec(LABELS, "int64", (ROWS,)),
        TensorSpec(SCORES, "float32", (ROWS,)),
        TensorSpec(PICTURES, "int64", (ROWS,)),
    ), (Field(BOXES, "box_xyxy", "px"), Field(SCORES, "score", "probability"))


def set_reading(validation: ValidateTable, most: int | None = None) -> SplitSet:
    """The reading of ``split_outputs`` without NMS. ``most`` is the network's own cut to the best pairs."""
    return SplitSet((BOXES, SCORES), score_threshold(validation), _most(validation, most))


def query_outputs(
    logits: tuple[int | str, ...], boxes: tuple[int | str, ...]
) -> tuple[tuple[TensorSpec, ...], tuple[Field, ...]]:
    """The outputs of the layout "queries" and their fields, for the shapes of ``logits`` and ``boxes``."""
    return (TensorSpec(LOGITS, "float32", logits), TensorSpec(BOXES, "float32", boxes)), (
        Field(LOGITS, "logit", ""),
        Field(BOXES, "box_cxcywh", "share"),
    )


def query_reading(
    activation: Activation,
    height: Axis,
    width: Axis,
    validation: ValidateTable,
    most: int | None = None,
) -> QuerySet:
    """The reading of ``query_outputs``. ``height`` and ``width`` are the axes of the picture's input.

    ``most`` is the network's own cut to the best pairs of a query and a class.
    """
    cut = _most(validation, most)
    return QuerySet((LOGITS, BOXES), score_threshold(validation), cut, activation, height, width)


def _most(validation: ValidateTable, most: int | None) -> int | None:
    """How many detections are kept: the job's number, or the network's own."""
    return most if validation.max_detections is None else validation.max_detections


def picture_axes(inputs: Sequence[TensorSpec]) -> tuple[Axis, Axis]:
    """The height and the width of the input that takes pictures.

    Raises JobError if not exactly one of the inputs has four axes, one of them of 1 or 3 channels.
    """
    found = [
        spec.shape[2:] if spec.shape[1] in (1, 3) else spec.shape[1:3]
        for spec in inputs
        if len(spec.shape) == 4 and {spec.shape[1], spec.shape[3]} & {1, 3}
    ]
    if len(found) != 1:
        raise JobError(
            "boxes in shares of the picture need one input of pictures, [batch, 3, height, width] or "
            f"[batch, height, width, 3]; the inputs are {listed(inputs)}"
        )
    height, width = found[0]
    return height, width


def score_threshold(validation: ValidateTable) -> float:
    """The job's threshold, or the task's own."""
    given = validation.score_threshold
    return DEFAULT_THRESHOLD if given is None else given


def iou_threshold(validation: ValidateTable) -> float:
    """The job's threshold of NMS, or the task's own."""
    given = validation.iou_threshold
    return DEFAULT_IOU_THRESHOLD if given is None else given


def cuts_of(validation: ValidateTable) -> dict[str, Any]:
    """The fields of ``InstanceReading``, whose boxes carry something more."""
    return {
        "score_threshold": score_threshold(validation),
        "iou_threshold": None if validation.nms == "none" else iou_threshold(validation),
        "class_agnostic": validation.class_agnostic,
        "max_detections": validation.max_detections,
    }


def require_nms(validation: ValidateTable) -> None:
    """Raise JobError if the job wants no NMS, for a network whose boxes need it."""
    if validation.nms == "none":
        raise JobError(
            'validate.nms = "none" is for networks that answer with one box for each object, and this one '
            "answers with many: leave the key out"
        )


def box_reading(
    kind: type[BoxReading],
    outputs: tuple[str, ...],
    validation: ValidateTable,
    strides: tuple[int, ...] | None = None,
) -> BoxReading:
    """The reading for NMS outside of the graph. Thresholds that the job lacks are the task's defaults.

    Raises JobError if the job wants no NMS.
    """
    require_nms(validation)
    return kind(
        outputs,
        score_threshold(validation),
        iou_threshold(validation),
        validation.class_agnostic,
        strides,
        validation.max_detections,
    )
