"""Walking a graph: its nodes and the tensors that it holds, in branches and functions too."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from onnxproof.errors import ModelFileError
from onnxproof.runtime.look import look_at

Array = NDArray[Any]

STANDARD = ("", "ai.onnx")
"""The names of the standard domain."""

_UNPACKED: Mapping[int, Any] = {
    TensorProto.FLOAT: np.float32,
    TensorProto.DOUBLE: np.float64,
    TensorProto.FLOAT16: np.float16,
    TensorProto.INT64: np.int64,
    TensorProto.INT32: np.int32,
    TensorProto.INT8: np.int8,
    TensorProto.UINT8: np.uint8,
    TensorProto.BOOL: np.bool_,
}
"""Types whose bytes in external data NumPy maps as they are."""


class UnreadableError(Exception):
    """External data that cannot be read; the message says why."""


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """A tensor that the file holds: the name that nodes read it by, and whether it is an initializer (or
    else the value of a Constant node)."""

    name: str
    proto: onnx.TensorProto
    initializer: bool

    @property
    def bytes(self) -> int:
        """How many bytes it takes, packed."""
        bits: int = math.prod(self.proto.dims) * bits_of(self.proto.data_type)
        return -(-bits // 8)

    def array(self, file: Path) -> Array:
        """Its values; those in external data are mapped, not read. UnreadableError where they cannot be."""
        tensor = self.proto
        if tensor.data_location != TensorProto.EXTERNAL:
            return numpy_helper.to_array(tensor)
        place = Place.of(tensor)
        fault = place.fault(file.parent, self.bytes)
        if fault is not None:
            raise UnreadableError(f"{self.name}: {fault}")
        dtype = _UNPACKED.get(tensor.data_type)
        if dtype is None:
            raise UnreadableError(f"{self.name}: external data of a packed type is not read")
        if not self.bytes:
            return np.zeros(tuple(tensor.dims), dtype)
        path = file.parent / place.location
        return np.memmap(path, dtype, "r", place.offset, tuple(tensor.dims))


@dataclass(frozen=True, slots=True)
class Place:
    """Where external data lies: a path relative to the model's folder, and the bytes in that file."""

    location: str
    offset: int
    length: int | None

    @classmethod
    def of(cls, tensor: onnx.TensorProto) -> "Place":
        """Read ``external_data`` (onnx.proto: keys location, offset, length); of a key twice the last."""
        told = {entry.key: entry.value for entry in tensor.external_data}
        length = told.get("length", "")
        offset = told.get("offset", "")
        return cls(
            told.get("location", ""),
            int(offset) if offset.isdecimal() else 0,
            int(length) if length.isdecimal() else None,
        )

    def fault(self, folder: Path, wanted: int) -> str | None:
        """Why ``wanted`` bytes cannot, or must not, be read from here; None where they can."""
        windows = "\\" in self.location or self.location[1:2] == ":"
        if not self.location:
            return "its external data names no file"
        if Path(self.location).is_absolute() or windows:
            return f"its external data is at {self.location}, a path of one machine"
        path = (folder / self.location).resolve()
        if not path.is_relative_to(folder.resolve()):
            return f"its external data is at {self.location}, outside of the model's folder"
        if not path.is_file():
            return f"its external data {self.location} is not there"
        if self.length is not None and self.length != wanted:
            return f"its external data has {self.length} bytes, the tensor takes {wanted}"
        if self.offset + wanted > path.stat().st_size:
            return f"its external data ends behind {self.location}: {self.offset} + {wanted} bytes"
        return None


def read_graph(file: Path) -> onnx.ModelProto:
    """The graph of an ONNX file, without external data; ModelFileError where it is none."""
    look_at(file)
    try:
        proto = onnx.load(file, load_external_data=False)
    except (OSError, DecodeError) as error:
        raise ModelFileError(f"{file} is no ONNX file, or not a whole one: {error}") from error
    if not proto.HasField("graph"):
        raise ModelFileError(f"{file} is no ONNX file: it holds no graph")
    return proto


def bits_of(data_type: int) -> int:
    """Bits of one element; 0 of a type that has no fixed size, such as a string."""
    if data_type in (TensorProto.STRING, TensorProto.UNDEFINED):
        return 0
    name = TensorProto.DataType.Name(data_type)
    for bits in (4, 2):
        if name.endswith(f"INT{bits}") or name.startswith(f"FLOAT{bits}"):
            return bits
    return int(onnx.helper.tensor_dtype_to_np_dtype(data_type).itemsize) * 8


def bodies_of(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs in a node's attributes."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == onnx.AttributeProto.GRAPHS:
            yield from attribute.graphs


def _walk(nodes: Sequence[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        yield node
        for body in bodies_of(node):
            yield from _walk(body.node)


def nodes_in(proto: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Every node of the graph, of its branches and loops, and of the model's own functions."""
    yield from _walk(proto.graph.node)
    for function in proto.functions:
        yield from _walk(function.node)


def graphs_in(proto: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    """The graph, and those in its nodes and in the nodes of functions."""
    yield proto.graph
    for node in nodes_in(proto):
        yield from bodies_of(node)


def functions_of(proto: onnx.ModelProto) -> frozenset[tuple[str, str]]:
    """Domain and name of the model's own functions."""
    return frozenset((function.domain, function.name) for function in proto.functions)


def stored_in(proto: onnx.ModelProto) -> Iterator[Stored]:
    """The initializers, dense ones and the values of sparse ones, and the tensors of Constant nodes."""
    for graph in graphs_in(proto):
        yield from (Stored(tensor.name, tensor, True) for tensor in graph.initializer)
        yield from (Stored(entry.values.name, entry.values, True) for entry in graph.sparse_initializer)
    for node in nodes_in(proto):
        if node.op_type == "Constant":
            for attribute in node.attribute:
                tensor = constant_of(attribute)
                if tensor is not None:
                    yield Stored(node.output[0], tensor, False)


def constant_of(attribute: onnx.AttributeProto) -> onnx.TensorProto | None:
    """The tensor that an attribute of a Constant node stands for; None where that is no number."""
    kinds = onnx.AttributeProto
    if attribute.type == kinds.TENSOR:
        return attribute.t
    if attribute.type == kinds.SPARSE_TENSOR:
        return attribute.sparse_tensor.values
    if attribute.type in (kinds.FLOAT, kinds.FLOATS):
        single = attribute.type == kinds.FLOAT
        return numpy_helper.from_array(
            np.array(attribute.f if single else list(attribute.floats), np.float32)
        )
    if attribute.type in (kinds.INT, kinds.INTS):
        single = attribute.type == kinds.INT
        return numpy_helper.from_array(np.array(attribute.i if single else list(attribute.ints), np.int64))
    return None


def opset_of(proto: onnx.ModelProto) -> int:
    """The version of the standard operator set that the file imports; 0 where it imports none."""
    return next((int(entry.version) for entry in proto.opset_import if entry.domain in STANDARD), 0)


def label(node: onnx.NodeProto) -> str:
    """How a reason calls a node: its operator, and its name or else that of its first output."""
    name = node.name or next((output for output in node.output if output), "")
    return f'{node.op_type} "{name}"'


def attribute_of(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """A node's attribute as Python's value, ``default`` where it has none of that name."""
    return next(
        (onnx.helper.get_attribute_value(entry) for entry in node.attribute if entry.name == name), default
    )


def readers_in(proto: onnx.ModelProto) -> Mapping[str, tuple[tuple[onnx.NodeProto, int], ...]]:
    """Who reads each name: nodes, and at which of their inputs."""
    readers: dict[str, list[tuple[onnx.NodeProto, int]]] = {}
    for node in nodes_in(proto):
        for position, name in enumerate(node.input):
            readers.setdefault(name, []).append((node, position))
    return {name: tuple(found) for name, found in readers.items()}
