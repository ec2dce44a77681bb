"""What turns numbers into decisions inside the graph: arg-max, thresholds, NMS, cuts, the form of boxes."""

from collections.abc import Iterator

import numpy as np
import onnx
from soundness.fault import (
    Change,
    Edit,
    Editor,
    Fault,
    NothingPlantedError,
    faults_of,
    moved,
    scaled,
)

OVERLAP = 3
"""The input of NonMaxSuppression that holds its IoU."""


def label_moved(top: int) -> Edit:
    """The class behind the best one, the last class itself."""

    def edit(editor: Editor) -> None:
        editor.splice(
            editor.node("ArgMax").output[0],
            lambda emit, value: emit("Min", emit("Add", value, np.int64(1)), np.int64(top)),
        )

    return edit


def never_the_last(top: int) -> Edit:
    """The last class is given as the one before it."""

    def edit(editor: Editor) -> None:
        editor.splice(
            editor.node("ArgMax").output[0], lambda emit, value: emit("Min", value, np.int64(top - 1))
        )

    return edit


def or_equal(editor: Editor) -> None:
    """``>=`` for ``>``."""
    for node in editor.nodes("Greater"):
        node.op_type = "GreaterOrEqual"


def threshold(change: Change) -> Edit:
    """Change what the comparisons compare with."""

    def edit(editor: Editor) -> None:
        for name in {node.input[1] for node in editor.nodes("Greater")}:
            editor.rewrite(name, change)

    return edit


def overlap(change: Change, index: int = -1) -> Edit:
    """Change NMS's threshold."""
    return lambda editor: editor.rewrite(editor.node("NonMaxSuppression", index).input[OVERLAP], change)


def class_agnostic(index: int = -1) -> Edit:
    """Boxes of all classes suppress each other: what keeps classes apart is not added."""

    def edit(editor: Editor) -> None:
        shifted = [node for node in editor.nodes("Add") if node.output[0].startswith("boxes_for_nms")]
        if not shifted:
            raise NothingPlantedError("no Add keeps classes apart")
        node = shifted[index]
        node.op_type = "Identity"
        del node.input[1:]

    return edit


def counted(before: int, after: int) -> Edit:
    """Another count wherever the graph has this one."""

    def edit(editor: Editor) -> None:
        for name in editor.scalar_constant(before):
            editor.rewrite(name, lambda values: np.full_like(values, after))

    return edit


def final_concat(editor: Editor) -> onnx.NodeProto:
    """The Concat that makes the output ``boxes``."""
    node = editor.maker("boxes")
    if node.op_type != "Concat":
        raise NothingPlantedError(f"a {node.op_type} makes the boxes")
    return node


def sizes_for_corners(editor: Editor) -> None:
    """Width and height stand where the second corner should."""
    node = final_concat(editor)
    node.input[1] = editor.maker(node.input[1]).input[1]


def clipped(editor: Editor) -> None:
    """Coordinates below 0 are drawn to the picture's edge."""
    editor.splice("boxes", lambda emit, value: emit("Max", value, 0.0))


def _faults() -> Iterator[Fault]:
    kind = "arg-max"
    yield from faults_of(
        kind, "segmenter", {"off by one": label_moved(2), "last class never": never_the_last(2)}
    )
    kind = ">= for >"
    yield from faults_of(kind, "dense", {"valid pixels": or_equal})
    yield from faults_of(kind, "fcos", {"scores": or_equal})
    yield from faults_of(
        "threshold in the graph", "fcos", {f"+{step:g}": threshold(moved(step)) for step in (5e-3, 1e-7)}
    )
    kind = "NMS threshold"
    yield from faults_of(kind, "fcos", {"0.6": overlap(scaled(1.2)), "0.52": overlap(moved(0.02))})
    yield from faults_of(kind, "maskrcnn", {"0.4": overlap(moved(-0.1))})
    kind = "class-agnostic NMS"
    yield from faults_of(kind, "fcos", {"all": class_agnostic()})
    yield from faults_of(kind, "maskrcnn", {"all": class_agnostic()})
    kind = "top-k cut"
    yield from faults_of(
        kind,
        "fcos",
        {
            "6 detections become 5": counted(6, 5),
            "8 candidates become 2": counted(8, 2),
        },
    )
    yield from faults_of(
        "form of boxes", "yolox-split", {"sizes for corners": sizes_for_corners, "clipped at 0": clipped}
    )


FAULTS = tuple(_faults())
