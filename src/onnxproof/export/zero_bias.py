"""Leave out biases of zeros, which torch's exporter adds to convolutions that have none.

It computes them in the graph, and relies on its optimizer to remove them. For Conv3d it computes a matrix,
which ONNX Runtime refuses (onnxscript 0.7, ``aten_conv3d``). No bias and a bias of zeros are the same
function.
"""

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.external_data_helper import uses_external_data

BIASED = ("Conv", "ConvTranspose")
BIAS = 2
"""The position of the bias among the inputs of these operators."""

KEEPS_ZEROS = ("Expand", "CastLike", "Cast", "Identity", "Reshape")
"""Operators whose result is zeros if their first input is."""


def drop_zero_biases(proto: onnx.ModelProto) -> None:
    """Take the bias off each convolution where the graph computes it from zeros, and what computed it."""
    graph = proto.graph
    makers = {name: node for node in graph.node for name in node.output}
    stored = {tensor.name: tensor for tensor in graph.initializer}

    def zeros(name: str) -> bool:
        node = makers.get(name)
        if node is None:
            held = stored.get(name)
            # A tensor that is left on the disk is large: no vector of zeros.
            return (
                held is not None and not uses_external_data(held) and not np.any(numpy_helper.to_array(held))
            )
        if node.op_type in KEEPS_ZEROS and not node.domain:
            return zeros(node.input[0])
        if node.op_type != "Constant" or len(node.attribute) != 1:
            return False
        value = onnx.helper.get_attribute_value(node.attribute[0])
        return not np.any(numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value)

    dropped = [
        node.input.pop(BIAS)
        for node in graph.node
        if node.op_type in BIASED
        and len(node.input) > BIAS
        and node.input[BIAS] in makers
        and zeros(node.input[BIAS])
    ]
    if dropped:
        _drop_unread(graph, dropped, makers)


def _drop_unread(graph: onnx.GraphProto, names: list[str], makers: dict[str, onnx.NodeProto]) -> None:
    """Drop the nodes that made these values, and then theirs, if nothing else reads what they make."""
    readers: dict[str, int] = {}
    for name in _read(graph):
        readers[name] = readers.get(name, 0) + 1
    gone = set()
    while names:
        node = makers.get(names.pop())
        if node is None or node.output[0] in gone or any(readers.get(name) for name in node.output):
            continue
        gone.add(node.output[0])
        for name in node.input:
            readers[name] -= 1
            names.append(name)
    for index in reversed(range(len(graph.node))):
        if graph.node[index].output and graph.node[index].output[0] in gone:
            del graph.node[index]


def _read(graph: onnx.GraphProto) -> list[str]:
    """Every name that a graph reads, in its subgraphs too."""
    found = [output.name for output in graph.output]
    for node in graph.node:
        found += node.input
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                found += _read(inner)
    return found
