"""What a file from elsewhere shows of itself that ``check`` has to refuse, or to tell."""

import ast
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import onnx_ir as ir

from onnxproof.errors import RequestError
from onnxproof.graph import OnnxGraph
from onnxproof.runtime.port import Port

HALVES = ("FLOAT16", "BFLOAT16")
WHOLE = ("FLOAT", "DOUBLE")

MOST_ROWS = 300
"""Detections that Ultralytics' graphs choose at most (cfg/default.yaml: max_det)."""

ROWS = {"detection": 6, "oriented_detection": 7, "instance_segmentation": None, "keypoints": None}
"""The tasks whose graphs may choose their rows, and how many numbers a row has: x0, y0, x1, y1, score and
class, then the angle; None for a number that the network decides."""

NAMES, ARGUMENTS = "names", "args"
"""The keys of the metadata under which Ultralytics writes the classes' names, and how the file was exported
(Exporter)."""

SHOWN = 3


def half_of(file: Path, graph: OnnxGraph) -> str:
    """The dtype of most of the file's weights: "float16" or "float32".

    Raises RequestError if it is bfloat16, of which ONNX Runtime has next to no kernels.
    """
    sizes = dict.fromkeys((*HALVES, *WHOLE), 0)
    for stored in graph.stored:
        if stored.dtype.name in sizes:
            sizes[stored.dtype.name] += stored.bytes // (stored.dtype.bitwidth // 8)
    half = max(HALVES, key=lambda name: sizes[name])
    if sizes[half] <= sum(sizes[name] for name in WHOLE):
        return "float32"
    if half != "FLOAT16":
        share = 100 * sizes[half] // sum(sizes.values())
        raise RequestError(
            f"{file} holds {share} % of its weights in {half.lower()}: check judges files in float32 and "
            "float16. Check the file as it was before that"
        )
    return "float16"


def chosen_rows(task: str, outputs: Sequence[Port], *, said: bool = False) -> Port | None:
    """The output whose rows the graph has chosen already, by its shape. Returns None if there is none.

    ``said`` is True if the file says that it was exported with NMS: then their number may be any.
    """
    for port in outputs if task in ROWS else ():
        if "float" not in port.dtype or len(port.shape) != 3:
            continue
        rows, numbers = port.shape[1:]
        if not (isinstance(rows, int) and isinstance(numbers, int)):
            continue
        known = ROWS[task]
        if (rows <= MOST_ROWS and numbers == known) or (known is None and (said or rows == MOST_ROWS)):
            return port
    return None


def settings_of_nms(graph: OnnxGraph, file: Path) -> dict[str, float]:
    """The thresholds with which a graph with NMS chooses, as keys of ``[validate]``, where it shows them.

    The IoU is an input of NonMaxSuppression. Scores are compared with the threshold before, as Ultralytics
    does (engine/exporter.py: NMSModel), or by it. Of oriented boxes the IoU is compared with its threshold in
    the graph, too: those of a box with better ones alone (utils/nms.py: TorchNMS.fast_nms).
    """
    held = {stored.name: stored for stored in graph.stored}

    def numbers(operator: str, place: int, *, of_overlaps: bool = False) -> set[float]:
        names = [
            str(_before_casts(value).name)
            for node in graph.nodes
            for value in node.inputs[place : place + 1]
            if node.op_type == operator and value is not None and _masks(node) == of_overlaps
        ]
        arrays = [held[name].array(file).reshape(-1) for name in names if name in held]
        return {float(str(one[0])) for one in arrays if one.size == 1 and one.dtype.kind == "f"}

    found = {"iou_threshold": numbers("NonMaxSuppression", 3) or numbers("Greater", 1, of_overlaps=True)}
    found["score_threshold"] = numbers("NonMaxSuppression", 4) or numbers("Greater", 1)
    return {name: values.pop() for name, values in found.items() if len(values) == 1}


def _masks(node: ir.Node) -> bool:
    """Whether a comparison is of a matrix's upper triangle: Trilu, or before opset 14 a product with a
    mask."""
    first = node.inputs[0] if node.op_type == "Greater" else None
    maker = None if first is None else _before_casts(first).producer()
    return maker is not None and maker.op_type in ("Trilu", "Mul")


def _before_casts(value: ir.Value) -> ir.Value:
    """What a value was before Cast: a converter to half precision puts one before NonMaxSuppression."""
    node = value.producer()
    while node is not None and node.op_type == "Cast" and node.inputs[0] is not None:
        value = node.inputs[0]
        node = value.producer()
    return value


def says_nms(graph: OnnxGraph) -> bool:
    """Whether a file of Ultralytics says that it was exported with NMS."""
    arguments = _literal(graph.metadata(ARGUMENTS))
    return isinstance(arguments, dict) and bool(arguments.get("nms"))


def suppresses(graph: OnnxGraph) -> bool:
    """Whether a file's graph may end in NMS: it says so, or has the operator."""
    return says_nms(graph) or any(node.op_type == "NonMaxSuppression" for node in graph.nodes)


def few_pictures(graph: OnnxGraph, most: int) -> str | None:
    """A note on a file of Ultralytics that chooses rows for fewer pictures than ``most``, the largest batch.

    Its NMS is written out for each picture of the batch that it was exported with, also where the batch is
    dynamic (engine/exporter.py: NMSModel). None if that is no less, or if the file does not say it.
    """
    if not says_nms(graph):
        return None
    held = _literal(graph.metadata(ARGUMENTS)).get("batch")
    if not isinstance(held, int) or held >= most:
        return None
    return (
        f"the file's NMS was exported with batch={held}: of a larger batch it returns no detections of the "
        f"other pictures. Export it with batch={most}, or judge it at what it was exported for with --set "
        f"dims.batch={f'1..{held}' if held > 1 else held}"
    )


SMALL_BOXES = (
    "Ultralytics' export measures how much oriented boxes overlap in units of an eighth of the picture's "
    "larger side. Its epsilon then enlarges the overlap of small boxes: in a picture of 640 px by up to 0.01 "
    "for boxes of 10 by 30 px, and by up to 0.1 for 10 by 10 px. Where that suppresses a box, the file does "
    "not decide as the checkpoint does. If your objects are so small, export without nms"
)
"""A note on a file of Ultralytics with NMS of oriented boxes (engine/exporter.py: NMSModel; utils/metrics.py:
batch_probiou)."""


def why_chosen_rows_are_refused(
    file: Path, port: Port, checkpoint: Path, decodes: Collection[str]
) -> RequestError:
    """What to say of a file whose graph has chosen its rows, if no model of the checkpoint returns such."""
    made = next((name for name in ("nms", "nms-padded") if name in decodes), None)
    own = f"onnxproof export {checkpoint}" + ("" if made is None else f" --set wrapper.decode={made}")
    return RequestError(
        f"{file} returns {port.name} {port}: detections that its graph has chosen (a box, score, class, and "
        "more), as Ultralytics writes them with nms=True, and of a head without NMS with nms=False. check "
        "judges such rows, also with the masks, keypoints or angles of this checkpoint behind them; these "
        f"are of another size, or laid out otherwise: export it without nms, or let {own} make the file"
    )


def other_names(graph: OnnxGraph, classes: Sequence[str]) -> str | None:
    """A note on the classes in the file's metadata, if they are not the checkpoint's. None if they are."""
    found = _literal(graph.metadata(NAMES))
    if isinstance(found, dict):
        found = list(found.values())
    if not isinstance(found, list | tuple) or [*map(str, found)] == [*classes]:
        return None
    theirs, ours = (", ".join(map(str, names[:SHOWN])) for names in (found, classes))
    return (
        f"the file's metadata names {len(found)} classes ({theirs}), the checkpoint {len(classes)} ({ours}): "
        "whoever reads the metadata names the classes otherwise"
    )


def _literal(text: str | None) -> Any:
    """The value of Python's literal in the metadata. None if there is none."""
    try:
        return None if text is None else ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
