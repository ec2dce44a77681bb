"""Where things are: resizing, padding, pooling, groups, the grid of a detector, the order of axes."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from soundness.fault import (
    Edit,
    Editor,
    Emit,
    Fault,
    NothingPlantedError,
    attribute,
    faults_of,
    set_attribute,
)
from soundness.faults.activations import with_attribute


def resize(*chosen: int, **attributes: Any) -> Edit:
    """Give some Resizes, or all, other attributes."""

    def edit(editor: Editor) -> None:
        nodes = [editor.node("Resize", index) for index in chosen] or editor.nodes("Resize")
        for node in nodes:
            for name, value in attributes.items():
                set_attribute(node, name, value)

    return edit


def strided(editor: Editor) -> list[onnx.NodeProto]:
    """The convolutions of stride 2 that pad by one on each side."""
    found = [
        node
        for node in editor.nodes("Conv")
        if list(attribute(node, "strides")) == [2, 2] and list(attribute(node, "pads")) == [1, 1, 1, 1]
    ]
    if not found:
        raise NothingPlantedError("the graph has no such convolution")
    return found


def padded_at_the_end(index: int) -> Edit:
    """A convolution of stride 2 padded at the end alone, as another framework's "same" is."""
    return lambda editor: set_attribute(strided(editor)[index], "pads", [0, 0, 1, 1])


def edge_padded(index: int) -> Edit:
    """The border repeated where it should be zero, before one convolution of 3 x 3."""

    def edit(editor: Editor) -> None:
        nodes = [node for node in editor.nodes("Conv") if list(attribute(node, "pads")) == [1, 1, 1, 1]]
        node = nodes[index]
        shared = node.input[0]
        set_attribute(node, "pads", [0, 0, 0, 0])
        emit = Emit(editor)
        node.input[0] = emit("Pad", shared, np.array([0, 0, 1, 1, 0, 0, 1, 1]), mode="edge")
        editor.graph.node.insert(list(editor.graph.node).index(node), emit.nodes[0])

    return edit


def swapped_rows(first: int, second: int, count: int) -> Edit:
    """Blocks of output channels of the grouped convolution change places."""

    def change(values: NDArray[Any]) -> NDArray[Any]:
        blocks = slice(first, first + count), slice(second, second + count)
        values[blocks[0]], values[blocks[1]] = values[blocks[1]].copy(), values[blocks[0]].copy()
        return values

    def edit(editor: Editor) -> None:
        grouped = [node for node in editor.nodes("Conv") if attribute(node, "group") == 4]
        editor.rewrite(grouped[0].input[1], change)

    return edit


def dilation(*by: int) -> Edit:
    """Another dilation of the dilated convolution, padded so that the size stays."""

    def edit(editor: Editor) -> None:
        node = next(node for node in editor.nodes("Conv") if list(attribute(node, "dilations")) == [2, 2])
        set_attribute(node, "dilations", list(by))
        set_attribute(node, "pads", [*by, *by])

    return edit


def grid_moved(offset: float) -> Edit:
    """The sum of offsets and cells, an Add of an [n, 2] or [1, 2, h, w] to predictions, plus a bit."""

    def edit(editor: Editor) -> None:
        node = cells_added(editor)
        editor.splice(node.output[0], lambda emit, value: emit("Add", value, np.float32(offset)))

    return edit


def cells_added(editor: Editor) -> onnx.NodeProto:
    """The Add that puts predicted offsets on the cells: the last Add before a Mul that reads it alone and
    behind which the boxes are concatenated."""
    node = editor.maker(editor.node("Exp").output[0])
    sized = editor.behind(node.output[0], "Mul")
    for candidate in reversed(editor.nodes("Add")):
        readers = editor.readers(candidate.output[0])
        if [reader.op_type for reader in readers] == ["Mul"] and (set(readers[0].input) & set(sized.input)):
            return candidate
    raise NothingPlantedError("no Add puts offsets on cells")


def strides_of(*numbers: float) -> Edit:
    """Other strides of the three levels than 8, 16 and 32."""

    def edit(editor: Editor) -> None:
        readers = [
            reader
            for stride in (8, 16, 32)
            for name in editor.scalar_constant(stride)
            for reader in editor.readers(name)
            if reader.op_type == "CastLike"
        ]
        for reader, number in zip(readers, numbers, strict=True):
            reader.input[0] = editor.constant(np.float32(number))

    return edit


def reversed_inputs(find: Callable[[Editor], onnx.NodeProto]) -> Edit:
    """The parts of a Concat in the opposite order."""

    def edit(editor: Editor) -> None:
        node = find(editor)
        node.input[:] = list(reversed(node.input))

    return edit


def levels(editor: Editor) -> onnx.NodeProto:
    """The Concat of three levels of predictions."""
    for node in reversed(editor.nodes("Concat")):
        if len(node.input) == 3 and attribute(node, "axis") == 2:
            return node
    raise NothingPlantedError("no Concat joins three levels")


def stacked_cells(editor: Editor) -> onnx.NodeProto:
    """The Concat of columns and rows of the cells."""
    for node in editor.nodes("Concat"):
        if [editor.maker(name).op_type for name in node.input if name not in _inputs(editor)] == [
            "Unsqueeze",
            "Unsqueeze",
        ]:
            return node
    raise NothingPlantedError("no Concat stacks the cells")


def _inputs(editor: Editor) -> set[str]:
    return {entry.name for entry in (*editor.graph.input, *editor.graph.initializer)}


def reshaped(index: int) -> Edit:
    """A Transpose that swaps two axes becomes a Reshape to the same shape."""

    def edit(editor: Editor) -> None:
        node = editor.node("Transpose", index)
        order = np.array(attribute(node, "perm"))

        def instead(emit: Emit) -> str:
            shape = emit("Gather", emit("Shape", node.input[0]), order)
            return emit("Reshape", node.input[0], shape)

        editor.replace(node, instead)

    return edit


def _faults() -> Iterator[Fault]:
    kind = "resize mode"
    yield from faults_of(kind, "dense", {"nearest for linear": resize(mode="nearest")})
    halves = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    yield from faults_of(kind, "segmenter", {"linear for nearest, one of 3": resize(1, **halves)})
    kind = "resize alignment"
    yield from faults_of(
        kind,
        "dense",
        {
            "corners": resize(coordinate_transformation_mode="align_corners"),
            "of one pixel alone": resize(coordinate_transformation_mode="pytorch_half_pixel"),
        },
    )
    yield from faults_of(kind, "segmenter", {"rounded up, one of 3": resize(0, nearest_mode="ceil")})
    kind = "resize antialias"
    yield from faults_of(kind, "fcos", {"of the picture": resize(0, antialias=1)})
    yield from faults_of(kind, "dense", {"where it enlarges": resize(antialias=1)})
    yield from faults_of("padding", "yolox", {"deep layer, at the end": padded_at_the_end(-1)})
    yield from faults_of("padding", "resnet", {"one layer, the border repeated": edge_padded(6)})
    yield from faults_of(
        "pooling",
        "dense",
        {
            "rounds down": with_attribute("MaxPool", "ceil_mode", 0),
            "border not counted": with_attribute("AveragePool", "count_include_pad", 0),
        },
    )
    yield from faults_of("dilation", "dense", {"1": dilation(1, 1), "1 across": dilation(2, 1)})
    yield from faults_of(
        "order of channels",
        "mobile",
        {"two groups swapped": swapped_rows(0, 12, 12), "two channels swapped": swapped_rows(3, 4, 1)},
    )
    yield from faults_of(
        "grid moved", "yolox", {f"{share:g} cells": grid_moved(share) for share in (0.5, 1e-6)}
    )
    kind = "strides"
    yield from faults_of(
        kind, "yolox", {"32, 16, 8": strides_of(32, 16, 8), "8.0001, 16, 32": strides_of(8.0001, 16, 32)}
    )
    yield from faults_of(kind, "yolox-raw", {"levels in another order": reversed_inputs(levels)})
    kind = "axes swapped"
    yield from faults_of(
        kind,
        "finder",
        {"rows and columns": reversed_inputs(stacked_cells), "scores reshaped for transposed": reshaped(-1)},
    )
    yield from faults_of(kind, "encoder", {"heads reshaped for transposed, one layer": reshaped(3)})


FAULTS = tuple(_faults())
