"""Sizes that a file computes in float32 and cuts to integers, and cases where that may be another integer.

Python computes ``math.floor(height * 0.29)`` in double, and torch.export writes it as a product in float32:
at a height of 100 the one is 28 and the other 29, at most heights they are alike. The file's arithmetic on
the inputs' sizes is evaluated for every declared size, without running the network: as the file states it,
and in double. Where the two part, a case is made at that size, and the links of the proof decide as on every
other.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnxproof.contract import Contract
from onnxproof.tensors import Dim, TensorSpec
from onnxproof.validate.cases import Case, volume
from onnxproof.validate.contents import CONSTANT
from onnxproof.validate.exact.errors import ExactError
from onnxproof.validate.exact.graph import ExactGraph
from onnxproof.validate.exact.scalars import written

MOST_SIZES = 1024
"""How many sizes of a dimension are looked at; of more, as many, spread evenly."""

MOST_CASES = 2
"""How many cases are made for one dimension, the smallest sizes first."""

MOST_NUMBERS = 64
"""A constant of more numbers is no factor of sizes."""

_INTEGERS = (TensorProto.INT32, TensorProto.INT64)
_STANDARD = ("", "ai.onnx")


def rounded_sizes(proto: ModelProto, contract: Contract, cases: Sequence[Case]) -> tuple[Case, ...]:
    """The cases at sizes that no case of ``cases`` has, where float32 may cut a size otherwise than double.

    There is none if the file computes no size in float32. Sizes of what a node computed are not followed.
    """
    stated = _arithmetic(proto, contract.inputs)
    plain = [case for case in cases if not case.native and not case.ids and case.content not in CONSTANT]
    if stated is None or not plain:
        return ()
    base = min(plain, key=lambda case: volume((case,)))
    graphs = (ExactGraph(stated), ExactGraph(_in_double(stated)))
    found: list[Case] = []
    for dim in contract.dims:
        tried = {case.sizes.get(dim.name) for case in cases}
        left = (size for size in _sizes_of(dim) if size not in tried)
        parts = (size for size in left if _parts(graphs, contract, {**base.sizes, dim.name: size}))
        found += [_case(base, dim, size) for size, _ in zip(parts, range(MOST_CASES), strict=False)]
    return tuple(found)


def told_of(cases: Sequence[Case]) -> tuple[str, ...]:
    """A note on the cases that ``rounded_sizes`` made; none if there are none."""
    if not cases:
        return ()
    names = ", ".join(case.name for case in cases)
    return (f"{names}: the file cuts a size that it computes in float32 to another integer than double does",)


def _sizes_of(dim: Dim) -> tuple[int, ...]:
    sizes = range(dim.min, dim.max + 1, dim.multiple)
    places = np.unique(np.linspace(0, len(sizes) - 1, min(len(sizes), MOST_SIZES)).astype(np.int64))
    return tuple(sizes[int(place)] for place in places)


def _case(base: Case, dim: Dim, size: int) -> Case:
    sizes = {**base.sizes, dim.name: size}
    name = f"{'x'.join(map(str, sizes.values()))}-rounded-size"
    return replace(
        base, name=name, sizes=sizes, content="noise", seed=zlib.crc32(name.encode()), picture=None
    )


def _parts(graphs: tuple[ExactGraph, ExactGraph], contract: Contract, sizes: Mapping[str, int]) -> bool:
    """Whether the integers differ that the two graphs make of these sizes."""
    shapes = {spec.name: spec.sized(sizes) for spec in contract.inputs}
    try:
        one, other = (
            graph.run({port.name: np.broadcast_to(np.False_, shapes[port.name]) for port in graph.inputs})
            for graph in graphs
        )
    except ExactError:
        return False  # it may ask for sizes that go together, and the sweep tells of those that do not run
    return any(not np.array_equal(one[name], other[name]) for name in one)


def _arithmetic(proto: ModelProto, specs: Sequence[TensorSpec]) -> ModelProto | None:
    """The part of a graph that computes integers from the inputs' sizes in float32; None if there is none.

    Its inputs stand for the graph's, and are read for their shape alone.
    """
    names = {spec.name for spec in specs}
    held = {entry.name: entry for entry in proto.graph.initializer if _is_factor(entry)}
    makers: dict[str, NodeProto] = {}
    for node in proto.graph.node:
        reads = [name for name in node.input if name]
        of_input = node.op_type == "Shape" and node.input[0] in names
        known = bool(reads) and all(name in makers or name in held for name in reads)
        if _is_plain(node) and (of_input or known or _is_constant(node)):
            makers |= dict.fromkeys(node.output, node)
    cuts = [
        node
        for node in proto.graph.node
        if _casts(node) in _INTEGERS
        and node.output[0] in makers
        and any(_casts(one) == TensorProto.FLOAT for one in _behind(node, makers))
    ]
    if not cuts:
        return None
    needed = {id(one) for cut in cuts for one in (cut, *_behind(cut, makers))}
    nodes = [node for node in proto.graph.node if id(node) in needed]
    read = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "sizes",
        [helper.make_tensor_value_info(name, TensorProto.BOOL, None) for name in sorted(names & read)],
        [helper.make_empty_tensor_value_info(cut.output[0]) for cut in cuts],
        [entry for name, entry in held.items() if name in read],
    )
    return helper.make_model(graph, opset_imports=proto.opset_import, ir_version=proto.ir_version)


def _behind(node: NodeProto, makers: Mapping[str, NodeProto]) -> list[NodeProto]:
    """The nodes that a node's inputs are computed by."""
    found: dict[int, NodeProto] = {}
    pending = [*node.input]
    while pending:
        maker = makers.get(pending.pop())
        if maker is not None and id(maker) not in found:
            found[id(maker)] = maker
            pending += maker.input
    return list(found.values())


def _in_double(proto: ModelProto) -> ModelProto:
    """The same arithmetic in double, with the numbers that the file's were rounded from."""
    wide = ModelProto()
    wide.CopyFrom(proto)
    for node in wide.graph.node:
        for attribute in node.attribute:
            if attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.DOUBLE
            elif attribute.HasField("t"):
                _widen(attribute.t)
            elif attribute.name == "value_float":
                value = _unrounded(attribute.f)
                attribute.CopyFrom(helper.make_attribute("value", numpy_helper.from_array(np.array(value))))
    for entry in wide.graph.initializer:
        _widen(entry)
    return wide


def _widen(tensor: TensorProto) -> None:
    if tensor.data_type == TensorProto.FLOAT:
        numbers = numpy_helper.to_array(tensor)
        exact = np.array([_unrounded(one) for one in numbers.reshape(-1)], np.float64).reshape(numbers.shape)
        tensor.CopyFrom(numpy_helper.from_array(exact, tensor.name))


def _unrounded(value: Any) -> float:
    """The number of the code that a float32 was rounded from, as far as it has a simple form."""
    form = written(float(value), np.dtype(np.float32))
    return float(value) if form is None else form.value


def _is_plain(node: NodeProto) -> bool:
    return node.domain in _STANDARD and not any(
        attribute.HasField("g") or attribute.graphs for attribute in node.attribute
    )


def _is_constant(node: NodeProto) -> bool:
    if node.op_type != "Constant":
        return False
    return all(not attribute.HasField("t") or _is_factor(attribute.t) for attribute in node.attribute)


def _is_factor(tensor: TensorProto) -> bool:
    return int(np.prod(tensor.dims)) <= MOST_NUMBERS and not tensor.external_data


def _casts(node: NodeProto) -> int | None:
    """The type that a Cast writes; None of another operator."""
    if node.op_type != "Cast":
        return None
    return next((attribute.i for attribute in node.attribute if attribute.name == "to"), None)
