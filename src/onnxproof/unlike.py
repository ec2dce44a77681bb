"""What a file from elsewhere shows of itself that ``check`` has to refuse, or to tell."""

import ast
from collections.abc import Collection, Sequence
from pathlib import Path

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

NAMES = "names"
"""The key of the metadata under which Ultralytics writes the classes' names (Exporter)."""

SHOWN = 3


def refuse_halves(file: Path, graph: OnnxGraph) -> None:
    """Raise RequestError if most of the file's weights are in half precision."""
    sizes = dict.fromkeys((*HALVES, *WHOLE), 0)
    for stored in graph.stored:
        if stored.dtype.name in sizes:
            sizes[stored.dtype.name] += stored.bytes // (stored.dtype.bitwidth // 8)
    half = max(HALVES, key=lambda name: sizes[name])
    if sizes[half] <= sum(sizes[name] for name in WHOLE):
        return
    share = 100 * sizes[half] // sum(sizes.values())
    raise RequestError(
        f"{file} holds {share} % of its weights in {half.lower()}, rounded from the checkpoint's: check "
        "judges files in float32. Check the file as it was before that (Ultralytics: without half=True), "
        "then measure what the rounding costs with onnxproof compare BEFORE.onnx AFTER.onnx"
    )


def chosen_rows(task: str, outputs: Sequence[Port]) -> Port | None:
    """The output whose rows the graph has chosen already, by its shape. Returns None if there is none."""
    for port in outputs if task in ROWS else ():
        if "float" not in port.dtype or len(port.shape) != 3:
            continue
        rows, numbers = port.shape[1:]
        if not (isinstance(rows, int) and isinstance(numbers, int)):
            continue
        known = ROWS[task]
        if (rows <= MOST_ROWS and numbers == known) or (known is None and rows == MOST_ROWS):
            return port
    return None


def why_chosen_rows_are_refused(
    file: Path, port: Port, checkpoint: Path, decodes: Collection[str]
) -> RequestError:
    """What to say of a file whose graph has chosen its rows."""
    own = f"onnxproof export {checkpoint}" + (" --set wrapper.decode=nms" if "nms" in decodes else "")
    return RequestError(
        f"{file} returns {port.name} {port}: detections that its graph has chosen (x0, y0, x1, y1, score, "
        "class), as Ultralytics writes them with nms=True, and of a head without NMS with nms=False. check "
        "compares what the network says of every cell, which the file does not return: export it without "
        f"nms, or let {own} choose in the graph"
    )


def other_names(graph: OnnxGraph, classes: Sequence[str]) -> str | None:
    """A note on the classes in the file's metadata, if they are not the checkpoint's. None if they are."""
    text = next((one.value for one in graph.proto.metadata_props if one.key == NAMES), None)
    try:
        found = None if text is None else ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    if isinstance(found, dict):
        found = list(found.values())
    if not isinstance(found, list | tuple) or [*map(str, found)] == [*classes]:
        return None
    theirs, ours = (", ".join(map(str, names[:SHOWN])) for names in (found, classes))
    return (
        f"the file's metadata names {len(found)} classes ({theirs}), the checkpoint {len(classes)} ({ours}): "
        "whoever reads the metadata names the classes otherwise"
    )
