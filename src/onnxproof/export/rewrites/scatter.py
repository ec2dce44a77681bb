"""Means, and what else stands beside them, of what is scattered to the same place."""

import torch

from onnxproof.export.rewrites.values import Value, ints, op, rank

REDUCTIONS = {"sum": "add", "prod": "mul", "amax": "max", "amin": "min"}
"""PyTorch's names for reductions, and ONNX's."""

STARTS = {"sum": 0.0, "prod": 1.0}
"""What a sum and a product begin with. The largest and the smallest begin with one of the values."""


def are_means(node: torch.fx.Node) -> bool:
    """Whether the reduction is the mean of floats. torch's own translation makes something else of it."""
    x = node.args[0]
    assert isinstance(x, torch.fx.Node)
    value = x.meta["val"]
    return bool(node.args[4] == "mean" and value.is_floating_point() and value.ndim > 0)


def reduced(x: Value, dim: int, index: Value, src: Value, reduce: str, include_self: bool = True) -> Value:
    """``index_reduce``: whole slices of ``src`` are scattered along an axis, each to one place.

    Raises ValueError as ``scattered`` does.
    """
    beside = [1] * rank(x)
    beside[dim] = -1
    places = op.Expand(op.Reshape(index, ints(*beside)), op.Shape(src))
    return scattered(x, dim, places, src, reduce, include_self)


def scattered(x: Value, dim: int, index: Value, src: Value, reduce: str, include_self: bool = True) -> Value:
    """``scatter_reduce.two``. A number of ``x`` counts as one more value if ``include_self``, and stays where
    nothing is scattered to.

    Raises ValueError for a mean of integers, and for a scalar.
    """
    if rank(x) == 0 or (reduce == "mean" and not x.dtype.is_floating_point()):
        raise ValueError(
            f"scatter_reduce by {reduce} of {x.dtype}, rank {rank(x)}: expected floats, no scalar"
        )
    # src may be larger than index: PyTorch reads the part of it that index covers.
    covered = op.Slice(src, ints(*(0 for _ in range(rank(x)))), op.Shape(index))
    if reduce != "mean":
        if not include_self:
            start = _filled(STARTS[reduce], covered) if reduce in STARTS else covered
            x = op.ScatterElements(x, index, start, axis=dim)
        return op.ScatterElements(x, index, covered, axis=dim, reduction=REDUCTIONS[reduce])
    zero, zeros, ones = op.CastLike(op.Constant(value_float=0.0), x), _filled(0.0, x), _filled(1.0, x)
    sums = op.ScatterElements(x if include_self else zeros, index, covered, axis=dim, reduction="add")
    counts = op.ScatterElements(
        ones if include_self else zeros, index, _filled(1.0, covered), axis=dim, reduction="add"
    )
    if include_self:
        return op.Div(sums, counts)
    return op.Where(op.Greater(counts, zero), op.Div(sums, op.Max(counts, ones)), x)


def _filled(number: float, like: Value) -> Value:
    """The number, in the shape and the dtype of another value."""
    return op.Expand(op.CastLike(op.Constant(value_float=number), like), op.Shape(like))
