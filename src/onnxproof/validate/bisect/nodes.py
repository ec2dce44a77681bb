"""Take an ONNX file apart: its nodes in order, and a few of them as a model of their own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import helper, inliner, numpy_helper

from onnxproof.errors import ModelFileError
from onnxproof.graph import (
    OnnxGraph,
    UnreadableError,
    array_of,
    constant_of,
    operator_of,
    read_proto,
    reads,
)
from onnxproof.validate.inference import Inference, ShapesError, without_weights

Array = NDArray[Any]
Value = Any
"""An array, or a list of arrays for ONNX's sequences, or None for an absent optional."""

GRAPH = "bisect"
"""The name of the graph of some nodes."""


def read_inlined(file: Path) -> onnx.ModelProto:
    """A model file with its functions inlined, without its external data.

    Raises ModelFileError if it is no ONNX model.
    """
    return inlined(read_proto(file, weights=False))


def inlined(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A model with its functions inlined; the model itself if it has none."""
    return inliner.inline_local_functions(proto) if proto.functions else proto


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One node. ``operator`` has its domain if it is not ONNX's own.

    ``inputs`` are the names that the node reads, including those that the bodies of its loops and branches
    read from outside. ``outputs`` are the names that it writes.
    """

    proto: onnx.NodeProto
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def label(self) -> str:
        """The node's name; if it has none, the operator and the output."""
        return self.proto.name or f"{self.proto.op_type} of {', '.join(self.outputs)}"


class Graph:
    """The nodes of a model in topological order, its constants by name, and the writer of each value.

    The model has no functions, and its external data in ``folder``. ``Constant`` nodes count as constants.
    Raises ModelFileError if the proto is no valid graph, or if external data cannot be read.
    """

    def __init__(self, proto: onnx.ModelProto, folder: Path | None = None) -> None:
        graph = OnnxGraph(proto)
        self.opsets, self.ir_version = tuple(proto.opset_import), proto.ir_version
        self.constants = {
            str(value.name): _stored(value.const_value, str(value.name), folder)
            for value in graph.model.graph.initializers.values()
            if value.const_value is not None
        }
        self.nodes: list[Node] = []
        for read, written in zip(graph.top, proto.graph.node, strict=True):
            constant = constant_of(read)
            if constant is not None:
                self.constants[str(read.outputs[0].name)] = constant.numpy()
                continue
            inputs = tuple(dict.fromkeys(str(value.name) for value in reads(read)))
            outputs = tuple(name for name in written.output if name)
            self.nodes.append(Node(written, operator_of(read), inputs, outputs))
        self.writer = {name: node for node in self.nodes for name in node.outputs}

    def given(self, node: Node) -> tuple[str, ...]:
        """The names that the node reads, without constants."""
        return tuple(name for name in node.inputs if name not in self.constants)

    def model(
        self, nodes: Sequence[Node], feeds: Mapping[str, Value], outputs: Sequence[str]
    ) -> onnx.ModelProto:
        """A model of some nodes, in topological order, with their constants.

        Its inputs have the names and forms of ``feeds``.
        """
        read = dict.fromkeys(name for node in nodes for name in node.inputs)
        graph = helper.make_graph(
            [node.proto for node in nodes],
            GRAPH,
            [_declared(name, value) for name, value in feeds.items()],
            [onnx.ValueInfoProto(name=name) for name in outputs],
            [numpy_helper.from_array(self.constants[name], name) for name in read if name in self.constants],
        )
        return helper.make_model(graph, opset_imports=self.opsets, ir_version=self.ir_version)


def _stored(tensor: ir.TensorProtocol, name: str, folder: Path | None) -> Array:
    """A tensor's numbers. External data is mapped into memory."""
    try:
        return tensor.numpy() if folder is None else array_of(tensor, name, folder)
    except UnreadableError as error:
        raise ModelFileError(f"the external data of {error}") from error


def _declared(name: str, value: Value) -> onnx.ValueInfoProto:
    if isinstance(value, list):
        element = value[0].dtype if value else np.dtype(np.float32)
        return helper.make_tensor_sequence_value_info(name, helper.np_dtype_to_tensor_dtype(element), None)
    # ONNX Runtime infers the ranks of some outputs from the length of a list of sizes.
    sizes = value.ndim == 1 and value.dtype == np.int64
    axes = value.shape if sizes else (None,) * value.ndim
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), axes)


def dtypes_of(proto: onnx.ModelProto) -> dict[str, np.dtype[Any]]:
    """The types of the values of a graph by name, as far as ONNX can infer them."""
    try:
        kinds = Inference(without_weights(proto), "the graph").at({}).types
    except (ShapesError, ModelFileError):
        kinds = {}  # it has an operator that ONNX does not know
    declared = (*proto.graph.value_info, *proto.graph.input, *proto.graph.output)
    kinds = {value.name: value.type.tensor_type.elem_type for value in declared} | kinds
    strings = (onnx.TensorProto.UNDEFINED, onnx.TensorProto.STRING)
    return {
        name: np.dtype(helper.tensor_dtype_to_np_dtype(kind))
        for name, kind in kinds.items()
        if kind not in strings
    }
