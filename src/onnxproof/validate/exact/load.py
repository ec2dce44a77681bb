"""A model's constants, as float64."""

import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx import AttributeProto, GraphProto, NodeProto, SparseTensorProto, TensorProto, helper, numpy_helper
from onnx.external_data_helper import uses_external_data

from onnxproof.errors import ModelFileError
from onnxproof.graph import UnreadableError, array_of, bytes_of, place_of
from onnxproof.validate.exact.arrays import Array, Value, widen
from onnxproof.validate.exact.later import Constant, Later, are_many, is_large

NARROW = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
"""Float types of which the values are held in float64 and rounded by a Cast."""

FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE, *NARROW)
"""Float types of which the values are held in float64."""

WIDTHS = {
    TensorProto.DOUBLE: 8,
    TensorProto.FLOAT: 4,
    TensorProto.FLOAT16: 2,
    TensorProto.BFLOAT16: 2,
    TensorProto.INT64: 8,
    TensorProto.INT32: 4,
    TensorProto.INT16: 2,
    TensorProto.INT8: 1,
    TensorProto.UINT8: 1,
}
"""Bytes of a number, by type, of the tensors that are made where they are read if there are many."""


def tensor_value(tensor: TensorProto, folder: Path | None = None) -> Array:
    """A stored tensor: floats as float64, others as they are.

    ``folder`` has its external data. Raises ModelFileError if that cannot be read.
    """
    if folder is None or not uses_external_data(tensor):
        return widen(numpy_helper.to_array(tensor))
    try:
        return widen(array_of(ir.serde.deserialize_tensor(tensor), tensor.name, folder))
    except (OSError, UnreadableError) as error:
        raise ModelFileError(f"the external data of {tensor.name} cannot be read: {error}") from error


def sparse_value(sparse: SparseTensorProto, folder: Path | None = None) -> Array:
    """A stored sparse tensor, written out."""
    values, indices = tensor_value(sparse.values, folder), tensor_value(sparse.indices, folder)
    dense = np.zeros(int(np.prod(sparse.dims)), values.dtype)
    shape = tuple(sparse.dims)
    flat = indices if indices.ndim == 1 else np.ravel_multi_index(tuple(indices.T), shape)
    dense[flat] = values
    return dense.reshape(shape)


def constant_value(attributes: Mapping[str, Any]) -> Value:
    """The value of a Constant node, from its attributes as ``attribute_value`` reads them."""
    ((name, value),) = attributes.items()
    if name == "value_float":
        return np.array(value, np.float64)
    if name == "value_floats":
        return np.array(value, np.float64)
    if name in ("value_int", "value_ints"):
        return np.array(value, np.int64)
    if name in ("value_string", "value_strings"):
        return np.array(value, object)
    return value


def attribute_value(attribute: AttributeProto, folder: Path | None = None) -> Any:
    """An attribute's value. A float is the number that its float32 holds, taken over exactly.

    A graph stays a GraphProto, a type a TypeProto.
    """
    kinds = AttributeProto
    if attribute.type == kinds.FLOAT:
        return float(attribute.f)
    if attribute.type == kinds.FLOATS:
        return tuple(map(float, attribute.floats))
    if attribute.type == kinds.INT:
        return int(attribute.i)
    if attribute.type == kinds.INTS:
        return tuple(map(int, attribute.ints))
    if attribute.type == kinds.STRING:
        return attribute.s.decode("utf-8", "replace")
    if attribute.type == kinds.STRINGS:
        return tuple(text.decode("utf-8", "replace") for text in attribute.strings)
    if attribute.type == kinds.TENSOR:
        return tensor_value(attribute.t, folder)
    if attribute.type == kinds.SPARSE_TENSOR:
        return sparse_value(attribute.sparse_tensor, folder)
    if attribute.type == kinds.GRAPH:
        return attribute.g
    if attribute.type == kinds.TYPE_PROTO:
        return attribute.tp
    raise NotImplementedError(f"an attribute of type {kinds.AttributeType.Name(attribute.type)}")


def holds_many(graph: GraphProto) -> bool:
    """Whether the graph's stored tensors are too many to hold all of them in float64."""
    return are_many(math.prod(tensor.dims) * WIDTHS.get(tensor.data_type, 0) for tensor in graph.initializer)


def initializers(graph: GraphProto, folder: Path | None = None, *, many: bool = False) -> dict[str, Constant]:
    """The graph's stored tensors by name, floats as float64.

    If they are ``many``, large ones are made where they are read. Raises as ``tensor_value`` does.
    """
    values = {tensor.name: _initializer(tensor, folder, many=many) for tensor in graph.initializer}
    return values | {one.values.name: sparse_value(one, folder) for one in graph.sparse_initializer}


def _initializer(tensor: TensorProto, folder: Path | None, *, many: bool) -> Constant:
    shape = tuple(tensor.dims)
    if not many or not is_large(shape) or tensor.data_type not in WIDTHS:
        return tensor_value(tensor, folder)
    own = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type))
    dtype = np.dtype(np.float64) if tensor.data_type in FLOATS else own
    if folder is not None and uses_external_data(tensor):
        require_readable(tensor, folder)
    return Later(shape, dtype, lambda: tensor_value(tensor, folder))


def require_readable(tensor: TensorProto, folder: Path) -> None:
    """Raise ModelFileError if a tensor's external data is not whole."""
    stored = ir.serde.deserialize_tensor(tensor)
    place = place_of(stored)
    fault = None if place is None else place.fault(folder, bytes_of(stored))
    if fault is not None:
        raise ModelFileError(f"the external data of {tensor.name} cannot be read: {fault}")


def stored_kinds(graph: GraphProto) -> dict[str, int]:
    """The ONNX types of the graph's stored tensors by name."""
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    return kinds | {one.values.name: one.values.data_type for one in graph.sparse_initializer}


def reads(node: NodeProto) -> list[str]:
    """The names that a node reads; those that its bodies read from outside come last."""
    outside = (name for one in node.attribute for body in bodies(one) for name in free_names(body))
    return list(dict.fromkeys([*filter(None, node.input), *outside]))


def bodies(attribute: AttributeProto) -> Iterable[GraphProto]:
    """The graphs that an attribute holds."""
    return [attribute.g] if attribute.type == AttributeProto.GRAPH else attribute.graphs


def in_order(nodes: Sequence[NodeProto]) -> Sequence[NodeProto]:
    """The nodes in an order in which each comes behind those whose values it reads.

    ONNX demands it, and runtimes do not: onnxruntime's own float16 converter appends its casts at the end.
    Nodes that are in order already stay as they are. Those of a circle are left at the end.
    """
    makers = {name: at for at, node in enumerate(nodes) for name in node.output if name}
    needs = [{makers[name] for name in reads(node) if name in makers} for node in nodes]
    if all(max(before, default=-1) < at for at, before in enumerate(needs)):
        return nodes
    users: dict[int, list[int]] = {}
    for at, before in enumerate(needs):
        for maker in before:
            users.setdefault(maker, []).append(at)
    open_ = [len(before) for before in needs]
    ready = [at for at, count in enumerate(open_) if not count]
    heapq.heapify(ready)
    order: list[int] = []
    while ready:
        at = heapq.heappop(ready)
        order.append(at)
        for user in users.get(at, ()):
            open_[user] -= 1
            if not open_[user]:
                heapq.heappush(ready, user)
    placed = set(order)
    return [nodes[at] for at in (*order, *(at for at in range(len(nodes)) if at not in placed))]


def free_names(graph: GraphProto) -> list[str]:
    """The names that a body reads from the graph around it, in order of their first use."""
    known = {value.name for value in graph.input} | set(stored_kinds(graph))
    free: dict[str, None] = {}
    for node in graph.node:
        free |= dict.fromkeys(name for name in reads(node) if name not in known)
        known.update(node.output)
    free |= dict.fromkeys(value.name for value in graph.output if value.name not in known)
    return list(free)
