"""Faults of one node that any graph may have, planted where a graph has their place.

``soundness/faults`` plants into graphs that it knows. These find their place by themselves: a constant, a
norm, an activation, a window, an axis.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto
from soundness.fault import (
    Change,
    Edit,
    Editor,
    Emit,
    NothingPlantedError,
    attribute,
    moved,
    scaled,
    set_attribute,
)
from soundness.faults.weights import channel, float16, largest

Array = NDArray[Any]

NORMS = (
    "LayerNormalization",
    "BatchNormalization",
    "InstanceNormalization",
    "GroupNormalization",
    "RMSNormalization",
)
SCALING = ("Mul", "Div")
LARGE = 16
"""A constant with more numbers than this is a weight."""

MIDDLE = 0.5
"""Faults are planted in the middle of the network, so that layers follow that may hide them."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A fault: what went wrong, how much of it, and the edit that plants it."""

    kind: str
    severity: str
    edit: Edit


def weight(change: Change, axes: int = 2) -> Edit:
    """Change one weight of ``axes`` axes or more, the middle one of those with the most numbers."""

    def edit(editor: Editor) -> None:
        large = [
            tensor
            for tensor in editor.graph.initializer
            if tensor.data_type == TensorProto.FLOAT
            and len(tensor.dims) >= axes
            and np.prod(tensor.dims) > LARGE
            and editor.readers(tensor.name)
        ]
        editor.rewrite(_middle(large).name, change)

    return edit


def vector(change: Change) -> Edit:
    """Change one vector: a bias, or a norm's scale."""

    def edit(editor: Editor) -> None:
        vectors = [
            tensor
            for tensor in editor.graph.initializer
            if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) == 1 and tensor.dims[0] > 3
        ]
        editor.rewrite(_middle(vectors).name, change)

    return edit


def epsilon(factor: float) -> Edit:
    """Multiply the epsilon of one norm: an attribute, or a small number that is added before a root."""

    def edit(editor: Editor) -> None:
        nodes = [node for op in NORMS for node in _nodes(editor, op)]
        if nodes:
            node = _middle(nodes)
            set_attribute(node, "epsilon", attribute(node, "epsilon") * factor)
            return
        for root in (*_nodes(editor, "Sqrt"), *_nodes(editor, "Rsqrt")):
            added = editor.maker(root.input[0])
            for name in added.input if added.op_type == "Add" else ():
                held = _number(editor, name)
                if held is not None and 0 < held < 1e-2:
                    _own_number(editor, added, name, held * factor)
                    return
        raise NothingPlantedError("the graph has no epsilon")

    return edit


def scale(factor: float) -> Edit:
    """Multiply one number that the graph multiplies with or divides by."""

    def edit(editor: Editor) -> None:
        found = [
            (node, name, held)
            for op in SCALING
            for node in _nodes(editor, op)
            for name in node.input
            if (held := _number(editor, name)) is not None and held not in (0.0, 1.0)
        ]
        node, name, held = _middle(found)
        _own_number(editor, node, name, held * factor)

    return edit


def gelu_by_tanh(editor: Editor) -> None:
    """One GELU is computed by its approximation with tanh."""
    nodes = [node for node in _nodes(editor, "Gelu") if _text(node, "approximate") != "tanh"]
    if nodes:
        set_attribute(_middle(nodes), "approximate", "tanh")
        return
    # erf(x) ~ tanh(2 x / sqrt(pi) + 0.1009 x^3): the same approximation, of the function inside.
    node = _middle(_nodes(editor, "Erf"))
    value = node.input[0]

    def instead(emit: Emit) -> str:
        cube = emit("Mul", emit("Mul", value, value), value)
        inside = emit("Add", emit("Mul", value, 1.1283791670955126), emit("Mul", cube, 0.10091094))
        return emit("Tanh", inside)

    editor.replace(node, instead)


def sigmoid_by_pieces(editor: Editor) -> None:
    """One sigmoid is replaced by clip(x / 6 + 1/2, 0, 1)."""
    node = _middle(_nodes(editor, "Sigmoid"))
    editor.replace(node, lambda emit: emit("HardSigmoid", node.input[0], alpha=1 / 6, beta=0.5))


def swish_for_hard_swish(editor: Editor) -> None:
    """One hard swish becomes a swish."""
    node = _middle(_nodes(editor, "HardSwish"))
    editor.replace(node, lambda emit: emit("Mul", node.input[0], emit("Sigmoid", node.input[0])))


def leaking(slope: float) -> Edit:
    """One ReLU leaks."""

    def edit(editor: Editor) -> None:
        node = _middle(_nodes(editor, "Relu"))
        editor.replace(node, lambda emit: emit("LeakyRelu", node.input[0], alpha=slope))

    return edit


def at_most_six(editor: Editor) -> None:
    """One ReLU is cut at 6."""
    node = _middle(_nodes(editor, "Relu"))
    editor.splice(node.output[0], lambda emit, value: emit("Min", value, np.float32(6)))


def in_half(editor: Editor) -> None:
    """One product's answer goes through float16."""
    nodes = [node for op in ("Conv", "MatMul", "Gemm") for node in _nodes(editor, op)]

    def rounded(emit: Emit, value: str) -> str:
        return emit("Cast", emit("Cast", value, to=TensorProto.FLOAT16), to=TensorProto.FLOAT)

    editor.splice(_middle(nodes).output[0], rounded)


def other_softmax(editor: Editor) -> None:
    """One softmax goes over the axis before its own."""
    node = _middle(_nodes(editor, "Softmax"))
    set_attribute(node, "axis", -2 if attribute(node, "axis") in (-1, 3) else -1)


def other_pixels(editor: Editor) -> None:
    """One Resize takes other pixels: asymmetric, where it takes centres, or the other way round."""
    node = _middle(_nodes(editor, "Resize"))
    other = "asymmetric" if _text(node, "coordinate_transformation_mode") != "asymmetric" else "half_pixel"
    set_attribute(node, "coordinate_transformation_mode", other)


def padded_at_the_end(editor: Editor) -> None:
    """One convolution is padded at the end alone."""
    nodes = [
        node
        for node in _nodes(editor, "Conv")
        if any(entry.name == "pads" and list(entry.ints) == [1, 1, 1, 1] for entry in node.attribute)
    ]
    set_attribute(_middle(nodes), "pads", [0, 0, 2, 2])


def border_counted(editor: Editor) -> None:
    """One average pooling counts its border, or does not."""
    nodes = [node for node in _nodes(editor, "AveragePool") if any(_ints(node, "pads"))]
    node = _middle(nodes)
    set_attribute(node, "count_include_pad", 1 - (_int(node, "count_include_pad") or 0))


def largest_for_mean(editor: Editor) -> None:
    """One pooling over a whole map takes the largest value, not the mean."""
    node = _middle([*_nodes(editor, "GlobalAveragePool"), *_nodes(editor, "ReduceMean")])
    node.op_type = node.op_type.replace("Average", "Max").replace("Mean", "Max")


def reset_before(editor: Editor) -> None:
    """One GRU resets before its linear layer; one LSTM's directions change places."""
    node = _middle([*_nodes(editor, "GRU"), *_nodes(editor, "LSTM")])
    if node.op_type == "GRU":
        set_attribute(node, "linear_before_reset", 1 - (_int(node, "linear_before_reset") or 0))
        return
    editor.rewrite(node.input[2], lambda values: values[::-1])


EVERYWHERE = Kind("weight tensor scaled", "x 1.0001", weight(scaled(1.0001)))
"""The fault that every file gets."""

RARE: tuple[Kind, ...] = (
    Kind("recurrence", "one", reset_before),
    Kind("border of an average pooling", "one", border_counted),
    Kind("pixels of a resize", "one", other_pixels),
    Kind("swish for hard swish", "one", swish_for_hard_swish),
)
"""Faults that few graphs have a place for. A graph that has gets them."""

COMMON: tuple[Kind, ...] = (
    Kind("weight tensor scaled", "x 1.000001", weight(scaled(1.000001))),
    Kind("weight tensor scaled", "x 1.01", weight(scaled(1.01))),
    Kind("one channel scaled", "x 1.001", weight(channel(scaled(1.001)))),
    Kind("epsilon of a norm", "x 10", epsilon(10.0)),
    Kind("one number scaled", "x 1.01", weight(largest(scaled(1.01)))),
    Kind("ReLU leaks", "slope 0.000001", leaking(1e-6)),
    Kind("one weight rounded to float16", "one tensor", weight(float16)),
    Kind("tanh's GELU for erf's", "one", gelu_by_tanh),
    Kind("a scale", "x 1.00001", scale(1.00001)),
    Kind("vector moved", "one number by 0.001", vector(channel(moved(1e-3)))),
    Kind("softmax over another axis", "one", other_softmax),
    Kind("through float16", "one product", in_half),
    Kind("epsilon of a norm", "x 1.01", epsilon(1.01)),
    Kind("hard sigmoid for sigmoid", "one", sigmoid_by_pieces),
    Kind("padding", "one convolution at the end", padded_at_the_end),
    Kind("vector moved", "one number by 0.000001", vector(channel(moved(1e-6)))),
    Kind("largest for mean", "one", largest_for_mean),
    Kind("ReLU leaks", "slope 0.01", leaking(0.01)),
    Kind("ReLU cut at 6", "one", at_most_six),
    Kind("a scale", "x 1.01", scale(1.01)),
)
"""Faults that take turns."""


def planted(proto: onnx.ModelProto, name: str, count: int) -> Iterator[tuple[Kind, onnx.ModelProto]]:
    """So many damaged copies of a graph.

    ``name`` decides which of the common faults are tried first, so that over many files all take their turn.
    """
    start = zlib.crc32(name.encode()) % len(COMMON)
    done = 0
    for kind in (EVERYWHERE, *RARE, *COMMON[start:], *COMMON[:start]):
        if done == count:
            return
        damaged = _damaged(proto, kind.edit)
        if damaged is not None:
            done += 1
            yield kind, damaged


def _damaged(proto: onnx.ModelProto, edit: Edit) -> onnx.ModelProto | None:
    """The damaged graph. None if it has no place for the fault."""
    editor = Editor(proto)
    try:
        edit(editor)
        onnx.checker.check_model(editor.proto)
    except (NothingPlantedError, onnx.checker.ValidationError, IndexError):
        return None
    return None if editor.proto == proto else editor.proto


def _nodes(editor: Editor, op: str) -> list[onnx.NodeProto]:
    """The nodes of an operator in the main graph; there may be none."""
    return [node for node in editor.graph.node if node.op_type == op and node.domain in ("", "ai.onnx")]


def _middle(found: Sequence[Any]) -> Any:
    """The entry in the middle. Raises NothingPlantedError if there is none."""
    if not found:
        raise NothingPlantedError("the graph has no place for the fault")
    return found[int(MIDDLE * len(found))]


def _number(editor: Editor, name: str) -> float | None:
    """The one float number that a constant holds; None if it holds none."""
    try:
        held = editor.values(name)
    except NothingPlantedError:
        return None
    return float(held.reshape(-1)[0]) if held.size == 1 and held.dtype == np.float32 else None


def _own_number(editor: Editor, node: onnx.NodeProto, name: str, value: float) -> None:
    """Let one node read another number; others that read the constant keep it."""
    shaped = np.full(editor.values(name).shape, value, np.float32)
    if shaped == editor.values(name):
        raise NothingPlantedError("the number is as it was")
    node.input[list(node.input).index(name)] = editor.constant(shaped)


def _text(node: onnx.NodeProto, name: str) -> str:
    return next((entry.s.decode() for entry in node.attribute if entry.name == name), "")


def _int(node: onnx.NodeProto, name: str) -> int | None:
    return next((int(entry.i) for entry in node.attribute if entry.name == name), None)


def _ints(node: onnx.NodeProto, name: str) -> list[int]:
    return next((list(entry.ints) for entry in node.attribute if entry.name == name), [])
