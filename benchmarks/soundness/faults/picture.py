"""What happens to a picture before the first layer: scale, normalisation, colours, axes, pixels."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto
from soundness.fault import Build, Change, Edit, Editor, Emit, Fault, faults_of, moved, scaled, set_attribute

RED = (0, 0, 0, 0)
TOP = np.iinfo(np.int64).max
FLIPPED = np.array([2, 1, 0])


def on_red(change: Change) -> Change:
    """Change the red channel's of three constants [1, 3, 1, 1]."""

    def apply(values: NDArray[Any]) -> NDArray[Any]:
        values[RED] = change(values[RED])
        return values

    return apply


def mean(change: Change) -> Edit:
    """Change the constants that the first Sub takes away."""
    return lambda editor: editor.rewrite(editor.node("Sub").input[1], change)


def deviation(change: Change) -> Edit:
    """Change the constants that the Div behind it divides by."""

    def edit(editor: Editor) -> None:
        node = editor.behind(editor.node("Sub").output[0], "Div")
        editor.rewrite(node.input[1], change)

    return edit


def divisor(value: float) -> Edit:
    """Divide pixels by another number than 255."""

    def edit(editor: Editor) -> None:
        editor.rewrite(editor.node("Div").input[1], lambda values: np.full_like(values, value))

    return edit


def swapped_constants(editor: Editor) -> None:
    """Mean and deviation in the order B, G, R."""
    mean(lambda values: values[:, ::-1])(editor)
    deviation(lambda values: values[:, ::-1])(editor)


def on_input(build: Build) -> Edit:
    """Put nodes behind the first input."""
    return lambda editor: editor.splice(editor.graph.input[0].name, build)


def turned(editor: Editor) -> None:
    """Height and width change places on the way from channels-last to channels-first."""
    set_attribute(editor.node("Transpose"), "perm", [0, 3, 2, 1])


def reshaped(editor: Editor) -> None:
    """Channels-last pixels are taken for channels-first without being moved."""
    node = editor.node("Transpose")

    def instead(emit: Emit) -> str:
        shape = emit("Gather", emit("Shape", node.input[0]), np.array([0, 3, 1, 2]))
        return emit("Reshape", node.input[0], shape)

    editor.replace(node, instead)


def brighter(step: int) -> Build:
    """Add to bytes, which wraps, and take away again in float."""

    def build(emit: Emit, value: str) -> str:
        wide = emit("Add", emit("Cast", value, to=TensorProto.INT32), np.int32(step))
        wrapped = emit("Cast", emit("Cast", wide, to=TensorProto.UINT8), to=TensorProto.INT32)
        return emit("Sub", wrapped, np.int32(step))

    return build


def shifted(axis: int) -> Build:
    """A crop that starts one pixel late along an axis, its last line twice."""

    def build(emit: Emit, value: str) -> str:
        axes, one = np.array([axis]), np.array([1])
        rest = emit("Slice", value, one, np.array([TOP]), axes)
        last = emit("Slice", value, np.array([-1]), np.array([TOP]), axes)
        return emit("Concat", rest, last, axis=axis)

    return build


def without_last(emit: Emit, value: str) -> str:
    """The last line replaced by the one before."""
    axes = np.array([2])
    rest = emit("Slice", value, np.array([0]), np.array([-1]), axes)
    last = emit("Slice", value, np.array([-2]), np.array([-1]), axes)
    return emit("Concat", rest, last, axis=2)


def _faults() -> Iterator[Fault]:
    yield from faults_of(
        "wrong mean",
        "yolox",
        {"red +0.001": mean(on_red(moved(1e-3))), "red +1e-6": mean(on_red(moved(1e-6)))},
    )
    yield from faults_of(
        "wrong deviation",
        "classifier",
        {
            "red x 1.001": deviation(on_red(scaled(1.001))),
            "red x 1.000001": deviation(on_red(scaled(1.000001))),
        },
    )
    yield from faults_of(
        "divided by another number than 255",
        "yolox",
        {"256": divisor(256), "255.0001": divisor(255.0001)},
    )
    yield from faults_of(
        "red and blue swapped",
        "yolox",
        {
            "in the picture": on_input(lambda emit, value: emit("Gather", value, FLIPPED, axis=1)),
            "in the constants": swapped_constants,
        },
    )
    yield from faults_of(
        "axes of the picture",
        "classifier",
        {"reshaped for transposed": reshaped, "height and width swapped": turned},
    )
    yield from faults_of(
        "bytes overflow",
        "yolox-split",
        {"+16 wraps": on_input(brighter(16)), "+1 wraps": on_input(brighter(1))},
    )
    yield from faults_of(
        "crop off by one",
        "multilabel",
        {"a pixel down": on_input(shifted(2)), "the last line": on_input(without_last)},
    )


FAULTS = tuple(_faults())
