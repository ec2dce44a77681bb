"""The exact value of the floats that nodes hold in attributes: an epsilon, a slope, what fills a tensor.

ONNX holds them in float32. So are the defaults of those that a file leaves out: Selu's are float32's nearest
to the constants that PyTorch writes in double.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx import AttributeProto, defs
from onnx_ir.traversal import RecursiveGraphIterator

from onnxproof.graph import OnnxGraph, is_constant
from onnxproof.validate.exact.scalars import Scalar

SINGLE = np.dtype(np.float32)

FILLED = "ConstantOfShape"
"""The operator that holds the number which it fills a tensor with as a tensor of one number."""

TYPES = {ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16}

Exact = Callable[[float, np.dtype[Any], ir.Node], Scalar | None]
"""The number that an attribute of a node was rounded from to a dtype; None if it is not known."""


def exact_attributes(graph: OnnxGraph, exact: Exact) -> dict[tuple[str, str], float]:
    """The float attributes that were rounded, with their exact value, by the name of their node's first
    output and their own.

    One that several nodes of the same name hold with different values is left as it is.
    """
    found: dict[tuple[str, str], float] = {}
    stated: dict[tuple[str, str], float] = {}
    unclear: set[tuple[str, str]] = set()
    parts: tuple[ir.Graph | ir.Function, ...] = (graph.model.graph, *graph.model.functions.values())
    for part in parts:
        for node in RecursiveGraphIterator(part):
            if is_constant(node) or not node.outputs:
                continue
            for name, value, dtype in _floats(node, part.opset_imports.get(node.domain, 1)):
                key = (str(node.outputs[0].name), name)
                if stated.setdefault(key, value) != value:
                    unclear.add(key)
                scalar = exact(value, dtype, node)
                if scalar is not None and scalar.value != value:
                    found[key] = scalar.value
    return {key: value for key, value in found.items() if key not in unclear}


def _floats(node: ir.Node, opset: int) -> Iterator[tuple[str, float, np.dtype[Any]]]:
    """The name, number and dtype of a node's float attributes, and of the defaults of those it leaves out."""
    for name, attribute in node.attributes.items():
        if attribute.is_ref():
            continue
        if attribute.type == ir.AttributeType.FLOAT:
            yield name, float(np.float32(attribute.value)), SINGLE
        elif attribute.type == ir.AttributeType.TENSOR and node.op_type == FILLED:
            tensor = attribute.value
            if tensor.dtype in TYPES and tensor.size == 1:
                yield name, float(tensor.numpy().reshape(())), np.dtype(tensor.dtype.numpy())
    for name, value in _defaults(node.op_type, opset, node.domain):
        if name not in node.attributes:
            yield name, value, SINGLE


@lru_cache(maxsize=1024)
def _defaults(operator: str, opset: int, domain: str) -> tuple[tuple[str, float], ...]:
    """What ONNX's schema of an operator gives float attributes that are left out; nothing without one."""
    try:
        attributes = defs.get_schema(operator, opset, domain).attributes
    except defs.SchemaError:
        return ()
    kept = {name: one.default_value for name, one in attributes.items()}
    return tuple((name, one.f) for name, one in kept.items() if one.type == AttributeProto.FLOAT)
