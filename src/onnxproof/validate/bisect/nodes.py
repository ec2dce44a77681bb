"""An ONNX file taken apart: its nodes in order, and any few of them as a model that runs by itself."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import helper, inliner, numpy_helper

from onnxproof.errors import ModelFileError
from onnxproof.runtime.look import look_at
from onnxproof.runtime.session import SessionSettings, open_bytes

Array = NDArray[Any]
Value = Any
"""An array, or a list of arrays for ONNX's sequences, or None for an absent optional."""

SESSIONS = 24
"""One-node sessions that are kept open at once."""


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One node. ``inputs`` are the names that it reads, those that the bodies of its loops and branches read
    from outside too; ``outputs`` those it writes. ``label`` is its name, or what stands for one."""

    position: int
    proto: onnx.NodeProto
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def operator(self) -> str:
        """The operator, with its domain where it is not ONNX's own."""
        domain = self.proto.domain
        return f"{domain}.{self.proto.op_type}" if domain not in ("", "ai.onnx") else self.proto.op_type

    @property
    def label(self) -> str:
        """The node's name; where it has none, the operator and the output."""
        return self.proto.name or f"{self.proto.op_type} of {', '.join(self.outputs)}"


class Graph:
    """The nodes of a model file in topological order, its constants by name, who reads and who writes what.

    Functions of the model are inlined. ``Constant`` nodes count as constants. Raises ModelFileError where
    the file is no ONNX model.
    """

    def __init__(self, file: Path) -> None:
        look_at(file)
        try:
            proto = onnx.load(file)
        except (OSError, DecodeError) as error:
            raise ModelFileError(f"{file} is no ONNX file, or not a whole one: {error}") from error
        if proto.functions:
            proto = inliner.inline_local_functions(proto)
        graph = proto.graph
        self.opsets, self.ir_version = tuple(proto.opset_import), proto.ir_version
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self.inputs = tuple(value.name for value in graph.input if value.name not in self.constants)
        self.outputs = tuple(value.name for value in graph.output)
        self.nodes: list[Node] = []
        for node in graph.node:
            value = _constant(node)
            if value is not None:
                self.constants[node.output[0]] = value
                continue
            inputs = tuple(dict.fromkeys(name for name in _reads(node) if name))
            outputs = tuple(name for name in node.output if name)
            self.nodes.append(Node(len(self.nodes), node, inputs, outputs))
        self.writer = {name: node for node in self.nodes for name in node.outputs}
        self.readers: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in node.inputs:
                self.readers.setdefault(name, []).append(node)

    def given(self, node: Node) -> tuple[str, ...]:
        """What the node reads that is no constant."""
        return tuple(name for name in node.inputs if name not in self.constants)

    def ancestors(self, names: Iterable[str]) -> list[Node]:
        """The nodes that the named values hang on, in topological order."""
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
        """A model of some nodes, in topological order. Its inputs are declared by ``feeds``; constants are
        initializers, but for those of ``fed_constants``, which ``feeds`` has too."""
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


def _constant(node: onnx.NodeProto) -> Array | None:
    """The value of a Constant node that holds a tensor or numbers."""
    if node.op_type != "Constant" or node.domain not in ("", "ai.onnx") or len(node.attribute) != 1:
        return None
    attribute = node.attribute[0]
    value = helper.get_attribute_value(attribute)
    if attribute.name == "value":
        return numpy_helper.to_array(value)
    if attribute.name in ("value_float", "value_floats"):
        return np.array(value, np.float32)
    if attribute.name in ("value_int", "value_ints"):
        return np.array(value, np.int64)
    return None


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """What a node reads, and what its bodies read that they do not make themselves."""
    yield from node.input
    for attribute in node.attribute:
        for body in (attribute.g, *attribute.graphs):
            own = {value.name for value in (*body.input, *body.initializer)}
            own |= {name for inner in body.node for name in inner.output}
            yield from (name for inner in body.node for name in _reads(inner) if name not in own)
            yield from (value.name for value in body.output if value.name not in own)


def _declared(name: str, value: Value) -> onnx.ValueInfoProto:
    if isinstance(value, list):
        element = value[0].dtype if value else np.dtype(np.float32)
        return helper.make_tensor_sequence_value_info(name, helper.np_dtype_to_tensor_dtype(element), None)
    dtype, axes = _form(value)
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), axes)


def _form(value: Value) -> Any:
    """What a one-node model is told of an input: dtype and rank, and how many sizes it gets, since ONNX
    Runtime infers the ranks of some outputs from that."""
    if not isinstance(value, np.ndarray):
        return "list"
    sizes = value.ndim == 1 and value.dtype == np.int64
    return value.dtype.name, value.shape if sizes else (None,) * value.ndim


NODE_SETTINGS = SessionSettings(threads=1, optimization="none", in_turn=True)


def open_model(proto: onnx.ModelProto) -> Any:
    """A session that runs the nodes as they stand: no optimization, one thread."""
    return open_bytes(proto.SerializeToString(), "the node's own model", NODE_SETTINGS)


class NodeRunner:
    """Runs single nodes in ONNX Runtime. Float constants are inputs of the one-node model, so that they can
    be moved; operators that want them baked in get them so."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._open: OrderedDict[Any, tuple[Any, frozenset[str]]] = OrderedDict()

    def run(self, node: Node, feeds: Mapping[str, Value]) -> dict[str, Value]:
        """The node's outputs by name, on values for what it reads; constants may be left out.

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
