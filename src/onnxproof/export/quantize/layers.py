"""Which nodes of a graph are the network, which are its input stage and its decoding.

A layer is a node with learned weights. What no layer comes before scales the input. What no layer comes after
decodes: it joins boxes with scores, sorts, suppresses. One scale for both boxes and scores has no step left
for the scores, so these nodes stay in float32.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators that have learned weights, as a constant among their inputs."""


@dataclass(frozen=True, slots=True)
class Block:
    """A layer and the nodes that follow it up to the next one, by their names."""

    layer: str
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Network:
    """The blocks of a graph in its order, and the nodes outside of the network, which stay in float32.

    ``heads`` are the last layers: what they return is decoded.
    """

    blocks: tuple[Block, ...]
    outside: tuple[str, ...]
    heads: tuple[str, ...]


def with_names(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with a name for each node, which no other has."""
    named = onnx.ModelProto()
    named.CopyFrom(proto)
    taken: set[str] = set()
    for number, node in enumerate(named.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{number}"
            while node.name in taken:
                node.name += "_"
        taken.add(node.name)
    return named


def network_of(proto: onnx.ModelProto) -> Network:
    """The network in a graph whose nodes have names. It has no block if no node has learned weights."""
    nodes = proto.graph.node
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    constants |= {
        node.output[0]: attribute.t
        for node in nodes
        for attribute in node.attribute
        if node.op_type == "Constant" and attribute.name == "value"
    }
    layers = {node.name for node in nodes if _is_layer(node, constants)}
    before, after = _reached(nodes, layers), _reached(tuple(reversed(nodes)), layers, back=True)
    owners: dict[str, str] = {}
    members: dict[str, list[str]] = {}
    outside: list[str] = []
    for node in nodes:
        if node.name in layers:
            owner = node.name
        elif node.name not in before or node.name not in after:
            outside.append(node.name)
            continue
        else:
            owner = next(owners[value] for value in reversed(_values(node)) if value in owners)
        members.setdefault(owner, []).append(node.name)
        owners |= dict.fromkeys(node.output, owner)
    blocks = tuple(Block(layer, tuple(own)) for layer, own in members.items())
    heads = tuple(layer for layer in members if layer not in after)
    return Network(blocks, tuple(outside), heads)


def _is_layer(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> bool:
    return node.op_type in LAYERS and any(
        name in constants and _is_learned(constants[name]) for name in node.input[:2]
    )


def _is_learned(tensor: onnx.TensorProto) -> bool:
    """Whether a constant holds weights. Those of a decoding, such as the bins of a distribution over
    distances, are whole numbers."""
    values = numpy_helper.to_array(tensor)
    return values.dtype.kind == "f" and not np.array_equal(values, np.rint(values))


def _reached(nodes: Iterable[onnx.NodeProto], layers: Collection[str], *, back: bool = False) -> set[str]:
    """The nodes that lie behind a layer in this order, ``back`` against the direction of the data."""
    reached: set[str] = set()
    values: set[str] = set()
    for node in nodes:
        read, made = (node.output, _values(node)) if back else (_values(node), node.output)
        found = not values.isdisjoint(read)
        if found:
            reached.add(node.name)
        if found or node.name in layers:
            values.update(made)
    return reached


def _values(node: onnx.NodeProto) -> Sequence[str]:
    """What a node reads, also inside of its branches and loops."""
    inside = [
        name
        for attribute in node.attribute
        for body in (attribute.g, *attribute.graphs)
        for inner in body.node
        for name in _values(inner)
    ]
    return [*node.input, *inside]
