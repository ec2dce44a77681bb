"""Functions between layers: left out, done twice, replaced by a near one, cut elsewhere."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
from soundness.fault import Build, Edit, Editor, Fault, NothingPlantedError, faults_of, set_attribute


def is_gate(editor: Editor, node: onnx.NodeProto) -> bool:
    """Whether a Sigmoid is a swish's, multiplied with its own input."""
    readers = editor.readers(node.output[0])
    return len(readers) == 1 and readers[0].op_type == "Mul" and node.input[0] in readers[0].input


def gates(editor: Editor) -> list[onnx.NodeProto]:
    """The Sigmoids of swishes."""
    return [node for node in editor.nodes("Sigmoid") if is_gate(editor, node)]


def plain_sigmoids(editor: Editor) -> list[onnx.NodeProto]:
    """The Sigmoids that are no swish's."""
    return [node for node in editor.nodes("Sigmoid") if not is_gate(editor, node)]


def each(
    find: Callable[[Editor], list[onnx.NodeProto]],
    change: Callable[[Editor, onnx.NodeProto], None],
    *chosen: int,
) -> Edit:
    """Change the nodes at these places among those that ``find`` finds, or all."""

    def edit(editor: Editor) -> None:
        nodes = find(editor)
        if not nodes:
            raise NothingPlantedError("the graph has no node to change")
        for node in [nodes[index] for index in chosen] if chosen else nodes:
            change(editor, node)

    return edit


def left_out(editor: Editor, node: onnx.NodeProto) -> None:
    """The function is missing."""
    editor.skip(node)


def doubled(editor: Editor, node: onnx.NodeProto) -> None:
    """The function is applied twice."""
    editor.splice(node.output[0], lambda emit, value: emit(node.op_type, value))


def hard(editor: Editor, node: onnx.NodeProto) -> None:
    """A swish becomes a hard swish: its gate is clip(x / 6 + 1/2, 0, 1)."""
    editor.replace(node, lambda emit: emit("HardSigmoid", node.input[0], alpha=1 / 6, beta=0.5))


def soft(editor: Editor, node: onnx.NodeProto) -> None:
    """A hard swish becomes a swish."""
    editor.replace(node, lambda emit: emit("Mul", node.input[0], emit("Sigmoid", node.input[0])))


def of(op: str) -> Callable[[Editor], list[onnx.NodeProto]]:
    """All nodes of an operator."""
    return lambda editor: editor.nodes(op)


def with_attribute(op: str, name: str, value: Any, *chosen: int) -> Edit:
    """Give some nodes of an operator, or all, another attribute."""
    return each(of(op), lambda _, node: set_attribute(node, name, value), *chosen)


def clip_to(top: float, *chosen: int) -> Edit:
    """Clip at another upper bound."""

    def change(editor: Editor, node: onnx.NodeProto) -> None:
        node.input[2] = editor.constant(np.float32(top))

    return each(of("Clip"), change, *chosen)


def before(op: str, index: int, build: Build) -> Edit:
    """Put nodes in front of one node."""

    def edit(editor: Editor) -> None:
        editor.splice(editor.node(op, index).input[0], build)

    return edit


def at_most(top: float) -> Build:
    """No value above ``top``."""
    return lambda emit, value: emit("Min", value, np.float32(top))


def without_clip(editor: Editor) -> None:
    """Take the clip out that stands before the exponent."""
    clip = editor.maker(editor.node("Exp").input[0])
    if clip.op_type != "Clip":
        raise NothingPlantedError(f"a {clip.op_type} stands before the exponent")
    editor.skip(clip)


def _faults() -> Iterator[Fault]:
    for kind, change in (("sigmoid missing", left_out), ("sigmoid doubled", doubled)):
        yield from faults_of(
            kind,
            "yolox-split",
            {
                "all": each(plain_sigmoids, change),
                "objectness of the coarsest level": each(plain_sigmoids, change, 4),
            },
        )
    kind = "hard swish for swish, or the other way round"
    yield from faults_of(kind, "yolox", {"one of 74": each(gates, hard, 50)})
    yield from faults_of(
        kind,
        "mobile",
        {"the only swish": each(of("Sigmoid"), hard), "one hard swish": each(of("HardSwish"), soft, 3)},
    )
    yield from faults_of(
        "slope of leaky ReLU",
        "dense",
        {f"{slope:g}": with_attribute("LeakyRelu", "alpha", slope) for slope in (0.01, 0.100001)},
    )
    yield from faults_of(
        "tanh's GELU for erf's",
        "encoder",
        {
            "all": with_attribute("Gelu", "approximate", "tanh"),
            "one layer": with_attribute("Gelu", "approximate", "tanh", 1),
        },
    )
    yield from faults_of(
        "bound of ReLU6", "multilabel", {"one, 6.001": clip_to(6.001, 2), "one, 6.00001": clip_to(6.00001, 2)}
    )
    kind = "exponent clipped"
    yield from faults_of(kind, "yolox", {"at 2": before("Exp", 0, at_most(2))})
    yield from faults_of(kind, "dense", {"at 2.9999": before("Exp", 0, at_most(2.9999))})
    kind = "exponent not clipped"
    yield from faults_of(kind, "finder", {"unbounded": without_clip})
    yield from faults_of(kind, "dense", {"bound 3.0001": clip_to(3.0001)})
    kind = "softmax over another axis"
    yield from faults_of(kind, "dense", {"rows": with_attribute("Softmax", "axis", 2)})
    yield from faults_of(kind, "mobile", {"batch": with_attribute("Softmax", "axis", 0)})
    yield from faults_of(kind, "encoder", {"queries of one layer": with_attribute("Softmax", "axis", -2, 1)})


FAULTS = tuple(_faults())
