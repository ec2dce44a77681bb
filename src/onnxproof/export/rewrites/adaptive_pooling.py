"""Adaptive pooling to a size that does not divide the input's, where the input's size is known only when the
file runs. torch's own decomposition needs the size when it captures.

Window i of an axis goes from floor(i * n / out) up to, but without, ceil((i + 1) * n / out), where n is the
axis's size (aten/src/ATen/native/AdaptivePooling.h).
"""

from collections.abc import Sequence

import torch

from onnxproof.export.rewrites.values import (
    Value,
    count_to,
    from_start,
    ints,
    number,
    op,
    rank,
    size,
    swapped,
)


def size_is_open(node: torch.fx.Node) -> bool:
    """Whether a pooled axis has no fixed size and more than one window."""
    pooled = node.args[0]
    assert isinstance(pooled, torch.fx.Node)
    windows = node.args[1]
    assert isinstance(windows, Sequence)
    axes = pooled.meta["val"].shape[-len(windows) :]
    return any(not isinstance(n, int) and out != 1 for n, out in zip(axes, windows, strict=True))


def average(x: Value, output_size: Sequence[Value | int]) -> Value:
    """``adaptive_avg_pool1d``, ``2d`` and ``3d``: sums by a matrix of zeros and ones along one axis after the
    other, divided by the windows' sizes.
    """
    axes = range(-len(output_size), 0)
    if all(out == 1 for out in output_size):
        return op.ReduceMean(x, ints(*axes), keepdims=1)
    sums, counts = x, None
    for axis, out in zip(axes, output_size, strict=True):
        n = size(x, axis)
        start, end = _windows(n, number(out))
        sums = _sums(sums, rank(x), axis, _members(n, start, end, x))
        shape = [1] * -axis
        shape[0] = -1
        count = op.Reshape(op.Sub(end, start), ints(*shape))
        counts = count if counts is None else op.Mul(counts, count)
    return op.Div(sums, op.CastLike(counts, x))


def maximum(x: Value, output_size: Sequence[Value | int]) -> tuple[Value, Value]:
    """``adaptive_max_pool1d``, ``2d`` and ``3d``: the values and where they are among the cells of the
    pooled axes.

    Of equal values the first one counts, as in PyTorch.
    """
    values, cells, stride = x, None, ints(1)
    for axis in range(-1, -len(output_size) - 1, -1):
        n = size(x, axis)
        start, end = _windows(n, number(output_size[axis]))
        longest = op.ReduceMax(op.Sub(end, start), keepdims=1)
        start, last = op.Unsqueeze(start, ints(1)), op.Unsqueeze(op.Sub(end, ints(1)), ints(1))
        # A window that is shorter than the longest has its last cell again, which changes no maximum.
        within = op.Min(op.Add(start, op.Unsqueeze(count_to(longest), ints(0))), last)
        at = from_start(axis, x)
        held = op.Gather(values, within, axis=at)
        chosen = op.ArgMax(held, axis=at + 1, keepdims=1)
        values = op.ReduceMax(held, ints(at + 1), keepdims=0)
        cell = op.Add(op.Squeeze(chosen, ints(at + 1)), op.Reshape(start, _beside(at, rank(x))))
        cell = op.Mul(cell, stride)
        if cells is not None:
            before = op.GatherElements(op.Gather(cells, within, axis=at), chosen, axis=at + 1)
            cell = op.Add(cell, op.Squeeze(before, ints(at + 1)))
        cells, stride = cell, op.Mul(stride, n)
    return values, cells


def _windows(n: Value, out: Value) -> tuple[Value, Value]:
    """Where the windows of an axis of size ``n`` start and end: int64[out] each."""
    index, one = count_to(out), ints(1)
    start = op.Div(op.Mul(index, n), out)
    end = op.Div(op.Sub(op.Add(op.Mul(op.Add(index, one), n), out), one), out)
    return start, end


def _members(n: Value, start: Value, end: Value, x: Value) -> Value:
    """Which of ``n`` cells are in which window, as zeros and ones of the dtype of ``x``: [n, out]."""
    cells = op.Unsqueeze(count_to(n), ints(1))
    return op.CastLike(op.And(op.GreaterOrEqual(cells, start), op.Less(cells, end)), x)


def _sums(x: Value, axes: int, axis: int, members: Value) -> Value:
    """The sums over the windows of one of the ``axes`` axes."""
    if axis == -1:
        return op.MatMul(x, members)
    if axis == -2:
        return op.MatMul(op.Transpose(members, perm=[1, 0]), x)
    return swapped(op.MatMul(swapped(x, axes, axis), members), axes, axis)


def _beside(axis: int, axes: int) -> Value:
    """The shape of a vector along one of ``axes`` axes."""
    shape = [1] * axes
    shape[axis] = -1
    return ints(*shape)
