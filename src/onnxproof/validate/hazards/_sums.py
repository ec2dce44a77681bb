"""Compute the small tensors that a graph makes of the shapes of others, such as the sizes of a Resize."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import helper

from onnxproof.graph import STANDARD, attribute_of

Array = NDArray[Any]
Values = Mapping[str, Array]
Shapes = Mapping[str, tuple[int, ...]]


MOST = 2**20
"""The most numbers that a value is computed of: a graph computes few sizes, and a hostile one any number."""


def value_of(value: ir.Value, stored: Values, shapes: Shapes) -> Array | None:
    """The value of a tensor that follows from constants and from the ``shapes`` of others.

    ``stored`` are the constants. Returns None if the tensor depends on anything else, on an operator that
    sizes are seldom computed with, or on more numbers than sizes are computed of.
    """
    found: dict[ir.Value, Array | None] = {}
    # Without recursion, because a chain of nodes may be deeper than Python's stack.
    seen, walk = {value}, [(value, iter(_sources(value, stored)))]
    while walk:
        one, sources = walk[-1]
        source = next((source for source in sources if source not in seen), None)
        if source is None:
            found[one] = _of(one, stored, shapes, found)
            walk.pop()
        else:
            seen.add(source)
            walk.append((source, iter(_sources(source, stored))))
    return found[value]


def _sources(value: ir.Value, stored: Values) -> list[ir.Value]:
    """The values that a value is computed of. Empty if it is stored, or is not computed here."""
    node = value.producer()
    if str(value.name) in stored or node is None or node.domain != STANDARD:
        return []
    if node.op_type not in PLAIN and node.op_type not in BY_ATTRIBUTES:
        return []
    return [one for one in node.inputs if one is not None]


def _of(
    value: ir.Value, stored: Values, shapes: Shapes, found: Mapping[ir.Value, Array | None]
) -> Array | None:
    """The value, where ``found`` has those that it is computed of."""
    name = str(value.name)
    if name in stored:
        return stored[name]
    node = value.producer()
    if node is None or node.domain != STANDARD:
        return None
    if node.op_type == "Shape":
        shape = shapes.get(str(node.inputs[0].name)) if node.inputs[0] is not None else None
        part = slice(attribute_of(node, "start", 0), attribute_of(node, "end", None))
        return None if shape is None else np.array(shape[part], np.int64)
    plain, by_attributes = PLAIN.get(node.op_type), BY_ATTRIBUTES.get(node.op_type)
    if plain is None and by_attributes is None:
        return None
    given = [None if one is None else found.get(one) for one in node.inputs]
    if any(array is None and one is not None for array, one in zip(given, node.inputs, strict=True)):
        return None
    counts = [max(array.size, 1) for array in given if array is not None]
    if (sum(counts) if node.op_type == "Concat" else math.prod(counts)) > MOST:
        return None
    try:
        made: Array = np.asarray(plain(*given) if plain else by_attributes(node, *given))  # type: ignore[misc]
    except (ValueError, IndexError, TypeError, ZeroDivisionError):
        return None
    return made


def _divide(a: Array, b: Array) -> Array:
    """Of integers the quotient without its fraction, as ONNX defines it."""
    if a.dtype.kind == "f":
        quotient: Array = a / b
        return quotient
    whole: Array = (np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b))).astype(a.dtype)
    return whole


def _axes(node: ir.Node, given: Array | None) -> tuple[int, ...]:
    """Axes are an attribute up to operator set 12, and an input from 13 on."""
    axes = attribute_of(node, "axes", None) if given is None else given.reshape(-1).tolist()
    return tuple(axes or ())


def _unsqueeze(node: ir.Node, x: Array, given: Array | None = None) -> Array:
    return np.expand_dims(x, _axes(node, given))


def _squeeze(node: ir.Node, x: Array, given: Array | None = None) -> Array:
    return np.squeeze(x, _axes(node, given) or None)


def _slice(
    x: Array, starts: Array, ends: Array, axes: Array | None = None, steps: Array | None = None
) -> Array:
    """Slices along the first axis alone: shapes have one."""
    if x.ndim != 1 or starts.size != 1 or (axes is not None and axes.reshape(-1)[0] not in (0, -1)):
        raise ValueError("not a slice of a shape")
    step = 1 if steps is None else int(steps.reshape(-1)[0])
    return x[int(starts.reshape(-1)[0]) : int(ends.reshape(-1)[0]) : step]


def _cast(node: ir.Node, x: Array) -> Array:
    return x.astype(helper.tensor_dtype_to_np_dtype(int(attribute_of(node, "to", 0))))


PLAIN: Mapping[str, Callable[..., Array]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": _divide,
    "Neg": np.negative,
    "Floor": np.floor,
    "Ceil": np.ceil,
    "Max": lambda *given: np.max(np.broadcast_arrays(*given), axis=0),
    "Min": lambda *given: np.min(np.broadcast_arrays(*given), axis=0),
    "Identity": lambda x: x,
    "Reshape": lambda x, shape: x.reshape(shape.tolist()),
    "Slice": _slice,
}
"""Operators that sizes are computed with, by their inputs alone."""

BY_ATTRIBUTES: Mapping[str, Callable[..., Array]] = {
    "Cast": _cast,
    "Concat": lambda node, *given: np.concatenate(given, axis=attribute_of(node, "axis", 0)),
    "Gather": lambda node, x, at: np.take(x, at, axis=attribute_of(node, "axis", 0)),
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
}
"""Those that also take attributes of their node."""
