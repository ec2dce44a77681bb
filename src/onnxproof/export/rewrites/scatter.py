"""Means of what is scattered to the same place."""

import torch

from onnxproof.export.rewrites.values import Value, ints, op, rank


def are_means(node: torch.fx.Node) -> bool:
    """Whether the reduction is the mean of floats. torch's own translation makes something else of it."""
    x = node.args[0]
    assert isinstance(x, torch.fx.Node)
    value = x.meta["val"]
    return bool(node.args[4] == "mean" and value.is_floating_point() and value.ndim > 0)


def scattered(x: Value, dim: int, index: Value, src: Value, reduce: str, include_self: bool = True) -> Value:
    """``scatter_reduce.two`` by the mean. A number of ``x`` counts as one more value if ``include_self``, and
    stays where nothing is scattered to.

    Raises ValueError for other reductions.
    """
    if reduce != "mean" or rank(x) == 0:
        raise ValueError(f"scatter_reduce by {reduce} beside one by the mean: expected the mean alone")
    shape, zero = op.Shape(x), op.CastLike(op.Constant(value_float=0.0), x)
    zeros, ones = op.Expand(zero, shape), op.Expand(op.CastLike(op.Constant(value_float=1.0), x), shape)
    # src may be larger than index: PyTorch reads the part of it that index covers.
    each = op.Expand(op.CastLike(op.Constant(value_float=1.0), x), op.Shape(index))
    covered = op.Slice(src, ints(*(0 for _ in range(rank(x)))), op.Shape(index))
    sums = op.ScatterElements(x if include_self else zeros, index, covered, axis=dim, reduction="add")
    counts = op.ScatterElements(ones if include_self else zeros, index, each, axis=dim, reduction="add")
    if include_self:
        return op.Div(sums, counts)
    return op.Where(op.Greater(counts, zero), op.Div(sums, op.Max(counts, ones)), x)
