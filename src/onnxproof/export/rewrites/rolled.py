"""A roll by a number of places that is known only when the file runs: ``fftshift`` of a dynamic size."""

from collections.abc import Sequence

import torch

from onnxproof.export.rewrites.values import Value, from_start, ints, number, op


def shift_is_open(node: torch.fx.Node) -> bool:
    """Whether a shift is a symbol."""
    shifts = node.args[1]
    return any(
        isinstance(shift, torch.fx.Node) for shift in (shifts if isinstance(shifts, list) else [shifts])
    )


def rolled(x: Value, shifts: Sequence[Value | int] | Value | int, dims: Sequence[int] = ()) -> Value:
    """``roll``. Without dims it is of all elements in a row."""
    each = shifts if isinstance(shifts, list | tuple) else [shifts]
    if not dims:
        return op.Reshape(_moved(op.Reshape(x, ints(-1)), each[0], 0), op.Shape(x))
    axes = [from_start(axis, x) for axis in dims]
    for shift, axis in zip(each, axes, strict=True):
        x = _moved(x, shift, axis)
    return x


def _moved(x: Value, shift: Value | int, axis: int) -> Value:
    """The last ``shift`` elements of an axis before the others."""
    count, along = op.Shape(x, start=axis, end=axis + 1), ints(axis)
    cut = op.Sub(count, op.Mod(number(shift), count))
    return op.Concat(op.Slice(x, cut, count, along), op.Slice(x, ints(0), cut, along), axis=axis)
