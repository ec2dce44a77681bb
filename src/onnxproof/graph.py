"""Read an ONNX graph: its nodes, the producer and users of each value, stored tensors, opset, axes.

This is the only reader in the package. It is built on onnx_ir. Code that writes graphs writes protos.
"""

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx_ir.traversal import RecursiveGraphIterator

from onnxproof.errors import ModelFileError
from onnxproof.on_disk import read_leaving_tensors
from onnxproof.runtime.beside import fault_at
from onnxproof.runtime.look import look_at

Array = NDArray[Any]

STANDARD = ""
"""The standard domain in onnx_ir, also called "ai.onnx"."""

# onnx_ir warns of values without a producer. The runtime refuses such a graph with a message of its own.
logging.getLogger("onnx_ir").addHandler(logging.NullHandler())


class UnreadableError(Exception):
    """External data cannot be read. The message says why."""


class Port(NamedTuple):
    """An input or output of a graph.

    ``axes`` are sizes, and names of dynamic axes ("" without a name); None if the shape is not known.
    """

    name: str
    dtype: str
    axes: tuple[int | str, ...] | None


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """A tensor that the file holds: an initializer, or the value of a Constant node.

    ``name`` is the name of its value. ``users`` are the nodes that read it, each with the input's index.
    """

    name: str
    tensor: ir.TensorProtocol
    initializer: bool
    users: tuple[tuple[ir.Node, int], ...]

    @property
    def dtype(self) -> ir.DataType:
        """The type of its elements."""
        return self.tensor.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sizes."""
        return _sizes(self.tensor)

    @property
    def bytes(self) -> int:
        """How many bytes it takes, packed; 0 for strings, which have no fixed size."""
        return bytes_of(self.tensor)

    @property
    def place(self) -> "Place | None":
        """The place of its external data; None if its numbers are in the file itself."""
        return place_of(self.tensor)

    def array(self, file: Path) -> Array:
        """Its numbers. External data is mapped into memory. Raises UnreadableError if it cannot be read."""
        return array_of(self.tensor, self.name, file.parent)


@dataclass(frozen=True, slots=True)
class Place:
    """The place of external data: a path relative to the model's folder, and the bytes in that file."""

    location: str
    offset: int
    length: int | None

    def fault(self, folder: Path, wanted: int) -> str | None:
        """Why ``wanted`` bytes cannot, or must not, be read from here; None if they can."""
        fault = fault_at(folder, self.location, self.offset + wanted)
        if fault is not None:
            return fault.what
        if self.length is not None and self.length != wanted:
            return f"the model gives it {self.length} bytes, and the tensor takes {wanted}"
        return None


def bytes_of(tensor: ir.TensorProtocol) -> int:
    """How many bytes a tensor takes, packed; 0 for strings, which have no fixed size."""
    bits = 0 if tensor.dtype in (ir.DataType.STRING, ir.DataType.UNDEFINED) else tensor.dtype.bitwidth
    return -(-math.prod(_sizes(tensor)) * bits // 8)


def place_of(tensor: ir.TensorProtocol) -> Place | None:
    """The place of a tensor's external data; None if its numbers are in the file itself."""
    if not isinstance(tensor, ir.ExternalTensor):
        return None
    return Place(str(tensor.location), tensor.offset or 0, tensor.length)


def array_of(tensor: ir.TensorProtocol, name: str, folder: Path) -> Array:
    """A tensor's numbers. External data is mapped into memory, and not read before it is used.

    ``name`` is for messages. Raises UnreadableError if the data in ``folder`` cannot be read.
    """
    place, size = place_of(tensor), bytes_of(tensor)
    if place is None:
        return tensor.numpy()
    fault = place.fault(folder, size)
    if fault is not None:
        raise UnreadableError(f"{name}: {fault}")
    if tensor.dtype == ir.DataType.STRING or tensor.dtype.bitwidth < 8:
        raise UnreadableError(f"{name}: external data of a packed type is not read")
    shape, dtype = _sizes(tensor), tensor.dtype.numpy()
    if not size:
        return np.zeros(shape, dtype)
    return np.memmap(folder / place.location, dtype, "r", place.offset, shape)


def _sizes(tensor: ir.TensorProtocol) -> tuple[int, ...]:
    return tuple(int(size) for size in tensor.shape)  # type: ignore[arg-type]


def read_proto(file: Path, *, weights: bool = True) -> onnx.ModelProto:
    """An ONNX file as a proto, without its external data if ``weights`` is false.

    Then the large tensors of a large file are external data, too, of the file itself. Raises ModelFileError
    if it is no ONNX file, or one that is not to be loaded.
    """
    look_at(file)
    try:
        proto = onnx.load(file) if weights else read_leaving_tensors(file)
    except (OSError, DecodeError, ValueError, onnx.checker.ValidationError) as error:
        raise ModelFileError(f"{file} is no ONNX file, or not a whole one: {error}") from error
    if not proto.HasField("graph"):
        raise ModelFileError(f"{file} is no ONNX file: it holds no graph")
    return proto


class OnnxGraph:
    """The graph of a model, including its branches, loops and functions."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        """Raises ModelFileError if the proto is no valid graph: two nodes write one name, for example."""
        self.proto = proto
        try:
            self.model: ir.Model = ir.from_proto(proto)
        except (RuntimeError, ValueError, TypeError, AttributeError) as error:
            # onnx_ir raises a SerdeError, which is a RuntimeError; its cause has the reason.
            cause = str(error.__cause__ or error).strip().partition("\n")[0]
            raise ModelFileError(f"the file is no ONNX graph: {cause}") from error

    @classmethod
    def read(cls, file: Path) -> Self:
        """The graph of a file, without its external data. Raises ModelFileError if it has none."""
        return cls(read_proto(file, weights=False))

    def metadata(self, key: str) -> str | None:
        """The metadata's text for a key; None if it has none."""
        return next((entry.value for entry in self.proto.metadata_props if entry.key == key), None)

    @cached_property
    def nodes(self) -> tuple[ir.Node, ...]:
        """Every node, including those of branches, loops and the model's own functions."""
        return tuple(node for part in self._parts for node in RecursiveGraphIterator(part))

    @property
    def top(self) -> tuple[ir.Node, ...]:
        """The nodes of the graph itself, in the file's order."""
        return tuple(self.model.graph)

    @property
    def _parts(self) -> tuple[ir.Graph | ir.Function, ...]:
        return (self.model.graph, *self.model.functions.values())

    @property
    def _graphs(self) -> tuple[ir.Graph, ...]:
        return (self.model.graph, *(body for node in self.nodes for body in bodies_of(node)))

    @cached_property
    def used(self) -> frozenset[str]:
        """The names that a node reads, or that the graph or a body in it returns."""
        read = {str(value.name) for node in self.nodes for value in node.inputs if value is not None}
        return frozenset(read | {str(value.name) for graph in self._graphs for value in graph.outputs})

    @property
    def functions(self) -> frozenset[tuple[str, str]]:
        """Domain and name of the model's own functions."""
        return frozenset((domain, name) for domain, name, _ in self.model.functions)

    @property
    def opset(self) -> int:
        """The version of the standard operator set that the file imports; 0 if it imports none."""
        return self.model.opset_imports.get(STANDARD, 0)

    @property
    def inputs(self) -> tuple[ir.Value, ...]:
        """The graph's inputs without those that have an initializer."""
        return tuple(value for value in self.model.graph.inputs if not value.is_initializer())

    @property
    def outputs(self) -> tuple[ir.Value, ...]:
        """The graph's outputs."""
        return tuple(self.model.graph.outputs)

    @cached_property
    def stored(self) -> tuple[Stored, ...]:
        """The initializers, and the tensors of Constant nodes."""
        held = [value for graph in self._graphs for value in graph.initializers.values()]
        found = [
            Stored(str(value.name), value.const_value, True, _users(value))
            for value in held
            if value.const_value is not None
        ]
        # onnx_ir leaves sparse initializers out. Nodes read them by a name without a producer.
        found += [
            Stored(entry.values.name, ir.from_proto(entry.values), True, ())
            for entry in self.proto.graph.sparse_initializer
        ]
        for node in self.nodes:
            tensor = constant_of(node)
            if tensor is not None:
                output = node.outputs[0]
                found.append(Stored(str(output.name), tensor, False, _users(output)))
        return tuple(found)

    @cached_property
    def constants(self) -> dict[str, Stored]:
        """The stored tensors by name."""
        return {stored.name: stored for stored in self.stored}


def bodies_of(node: ir.Node) -> Iterator[ir.Graph]:
    """The graphs in a node's attributes."""
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.value
        elif attribute.type == ir.AttributeType.GRAPHS:
            yield from attribute.value


def reads(node: ir.Node) -> tuple[ir.Value, ...]:
    """The values that a node reads, including those that its bodies read from outside, each once."""
    inside = [inner for body in bodies_of(node) for inner in RecursiveGraphIterator(body)]
    graphs = [body for outer in (node, *inside) for body in bodies_of(outer)]
    made = {value for inner in inside for value in inner.outputs}
    made.update(value for graph in graphs for value in (*graph.inputs, *graph.initializers.values()))
    read = [*node.inputs, *(value for inner in inside for value in inner.inputs)]
    read += [value for graph in graphs for value in graph.outputs]
    return tuple(dict.fromkeys(value for value in read if value is not None and value not in made))


def is_constant(node: ir.Node) -> bool:
    """Whether the node is ONNX's operator Constant."""
    return node.op_type == "Constant" and node.domain == STANDARD


def constant_of(node: ir.Node) -> ir.TensorProtocol | None:
    """The tensor of a Constant node; None for another node, or if the constant is no number."""
    if not is_constant(node) or len(node.attributes) != 1:
        return None
    (attribute,) = node.attributes.values()
    kinds = ir.AttributeType
    if attribute.is_ref():
        return None
    if attribute.type == kinds.TENSOR:
        tensor: ir.TensorProtocol = attribute.value
        return tensor
    if attribute.type == kinds.SPARSE_TENSOR:
        values: ir.TensorProtocol = ir.from_proto(attribute.value.values)
        return values
    if attribute.type in (kinds.FLOAT, kinds.FLOATS):
        return ir.tensor(np.array(attribute.value, np.float32))
    if attribute.type in (kinds.INT, kinds.INTS):
        return ir.tensor(np.array(attribute.value, np.int64))
    return None


def attribute_of(node: ir.Node, name: str, default: Any) -> Any:
    """The value of a node's attribute; ``default`` if the node has none of that name."""
    attribute = node.attributes.get(name)
    return default if attribute is None or attribute.is_ref() else attribute.value


def operator_of(node: ir.Node) -> str:
    """The operator, with its domain if it is not ONNX's own."""
    return node.op_type if node.domain == STANDARD else f"{node.domain}.{node.op_type}"


def label(node: ir.Node) -> str:
    """A node in a message: its operator, and its name or else its first output's."""
    name = node.name or next((value.name for value in node.outputs if value.name), "")
    return f'{node.op_type} "{name}"'


def ports_of(values: Sequence[ir.Value]) -> tuple[Port, ...]:
    """Inputs or outputs with name, dtype and axes."""
    return tuple(
        Port(str(value.name), "undefined" if value.dtype is None else dtype_name(value.dtype), axes_of(value))
        for value in values
    )


def dtype_name(dtype: ir.DataType) -> str:
    """NumPy's name of a type; "object" for strings."""
    return "object" if dtype == ir.DataType.STRING else str(np.dtype(dtype.numpy()).name)


def axes_of(value: ir.Value) -> tuple[int | str, ...] | None:
    """A value's axes: sizes, and names ("" for an axis without one). None if its shape is not known."""
    if value.shape is None:
        return None
    return tuple(axis if isinstance(axis, int) else axis.value or "" for axis in value.shape)


def _users(value: ir.Value) -> tuple[tuple[ir.Node, int], ...]:
    return tuple((use.node, use.idx) for use in value.uses())
