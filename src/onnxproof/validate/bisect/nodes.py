"""Take an ONNX file apart: its nodes in order, and a few of them as a model of their own."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, inliner, numpy_helper

from onnxproof.graph import OnnxGraph, constant_of, operator_of, read_proto, reads
from onnxproof.runtime.session import SessionSettings, open_bytes

Array = NDArray[Any]
Value = Any
"""An array, or a list of arrays for ONNX's sequences, or None for an absent optional."""

SESSIONS = 24
"""The most one-node sessions that are open at once."""


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One node. ``operator`` has its domain if it is not ONNX's own.

    ``inputs`` are the names that the node reads, including those that the bodies of its loops and branches
    read from outside. ``outputs`` are the names that it writes.
    """

    position: int
    proto: onnx.NodeProto
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def label(self) -> str:
        """The node's name; if it has none, the operator and the output."""
        return self.proto.name or f"{self.proto.op_type} of {', '.join(self.outputs)}"


class Graph:
    """The nodes of a model file in topological order, its constants by name, each value's writer and readers.

    Functions of the model are inlined. ``Constant`` nodes count as constants. Raises ModelFileError if the
    file is no ONNX model.
    """

    def __init__(self, file: Path) -> None:
        proto = read_proto(file)
        if proto.functions:
            proto = inliner.inline_local_functions(proto)
        graph = OnnxGraph(proto)
        self.opsets, self.ir_version = tuple(proto.opset_import), proto.ir_version
        self.constants = {
            str(value.name): value.const_value.numpy()
            for value in graph.model.graph.initializers.values()
            if value.const_value is not None
        }
        self.inputs = tuple(str(value.name) for value in graph.inputs)
        self.outputs = tuple(str(value.name) for value in graph.outputs)
        self.nodes: list[Node] = []
        for read, written in zip(graph.top, proto.graph.node, strict=True):
            constant = constant_of(read)
            if constant is not None:
                self.constants[str(read.outputs[0].name)] = constant.numpy()
                continue
            inputs = tuple(dict.fromkeys(str(value.name) for value in reads(read)))
            outputs = tuple(name for name in written.output if name)
            self.nodes.append(Node(len(self.nodes), written, operator_of(read), inputs, outputs))
        self.writer = {name: node for node in self.nodes for name in node.outputs}
        self.readers: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in node.inputs:
                self.readers.setdefault(name, []).append(node)

    def given(self, node: Node) -> tuple[str, ...]:
        """The names that the node reads, without constants."""
        return tuple(name for name in node.inputs if name not in self.constants)

    def ancestors(self, names: Iterable[str]) -> list[Node]:
        """The nodes that the named values depend on, in topological order."""
        found: dict[int, Node] = {}
        waiting = list(names)
        while waiting:
            node = self.writer.get(waiting.pop())
            if node is not None and node.position not in found:
                found[node.position] = node
                waiting += node.inputs
        return [found[position] for position in sorted(found)]

    def model(
        self,
        nodes: Sequence[Node],
        feeds: Mapping[str, Value],
        outputs: Sequence[str],
        *,
        fed_constants: Iterable[str] = (),
    ) -> onnx.ModelProto:
        """A model of some nodes, in topological order.

        Its inputs have the names and forms of ``feeds``. Constants are initializers, except those in
        ``fed_constants``, which are inputs and must be in ``feeds``.
        """
        apart = set(fed_constants)
        read = dict.fromkeys(name for node in nodes for name in node.inputs)
        constants = [
            numpy_helper.from_array(self.constants[name], name)
            for name in read
            if name in self.constants and name not in apart
        ]
        graph = helper.make_graph(
            [node.proto for node in nodes],
            "bisect",
            [_declared(name, value) for name, value in feeds.items()],
            [onnx.ValueInfoProto(name=name) for name in outputs],
            constants,
        )
        return helper.make_model(graph, opset_imports=self.opsets, ir_version=self.ir_version)


def _declared(name: str, value: Value) -> onnx.ValueInfoProto:
    if isinstance(value, list):
        element = value[0].dtype if value else np.dtype(np.float32)
        return helper.make_tensor_sequence_value_info(name, helper.np_dtype_to_tensor_dtype(element), None)
    dtype, axes = _form(value)
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), axes)


def _form(value: Value) -> Any:
    """What a one-node model declares of an input: dtype and rank, and the length of a list of sizes, since
    ONNX Runtime infers the ranks of some outputs from it."""
    if not isinstance(value, np.ndarray):
        return "list"
    sizes = value.ndim == 1 and value.dtype == np.int64
    return value.dtype.name, value.shape if sizes else (None,) * value.ndim


NODE_SETTINGS = SessionSettings(threads=1, optimization="none", in_turn=True)


def open_model(proto: onnx.ModelProto) -> Any:
    """A session that runs the nodes as they stand: no optimization, one thread."""
    return open_bytes(proto.SerializeToString(), "the node's own model", NODE_SETTINGS)


class NodeRunner:
    """Runs single nodes in ONNX Runtime.

    Float constants are inputs of the one-node model, so that they can be moved. If an operator needs them as
    initializers, they are that.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._open: OrderedDict[Any, tuple[Any, frozenset[str]]] = OrderedDict()

    def run(self, node: Node, feeds: Mapping[str, Value]) -> dict[str, Value]:
        """The node's outputs by name. ``feeds`` has the values that it reads; constants may be left out.

        Raises whatever ONNX Runtime raises.
        """
        values = {name: feeds.get(name, self._graph.constants.get(name)) for name in node.inputs}
        session, names = self._session(node, values)
        returned = session.run(list(node.outputs), {name: values[name] for name in names})
        return dict(zip(node.outputs, returned, strict=True))

    def _session(self, node: Node, values: Mapping[str, Value]) -> tuple[Any, frozenset[str]]:
        forms = tuple(_form(values[name]) for name in self._graph.given(node))
        key = node.position, forms
        if key in self._open:
            self._open.move_to_end(key)
            return self._open[key]
        constants = [name for name in node.inputs if name in self._graph.constants]
        movable = [name for name in constants if self._graph.constants[name].dtype.kind == "f"]
        for fed in (movable, []):
            names = [*self._graph.given(node), *fed]
            declared = {name: values[name] for name in names}
            proto = self._graph.model([node], declared, node.outputs, fed_constants=fed)
            try:
                session = open_model(proto)
                break
            except Exception:
                # ONNX Runtime's exceptions have no common public base below Exception.
                if not fed:
                    raise
        self._open[key] = session, frozenset(names)
        while len(self._open) > SESSIONS:
            self._open.popitem(last=False)
        return self._open[key]
