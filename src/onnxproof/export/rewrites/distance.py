"""Distances between all rows of two sets."""

import math

from onnxproof.export.rewrites.values import Value, ints, op


def distances(x: Value, y: Value, p: float = 2.0, compute_mode: int | None = None) -> Value:
    """``cdist``: [..., n, m] and [..., k, m] become [..., n, k].

    PyTorch computes large sets by products, to the same distances with more rounding. ``compute_mode`` says
    when. Here they are always computed from the differences.
    """
    del compute_mode
    apart = op.Abs(op.Sub(op.Unsqueeze(x, ints(-2)), op.Unsqueeze(y, ints(-3))))
    if p == 2:
        return op.Sqrt(op.ReduceSum(op.Mul(apart, apart), ints(-1), keepdims=0))
    if p == 1:
        return op.ReduceSum(apart, ints(-1), keepdims=0)
    if p == 0:
        differs = op.CastLike(op.Greater(apart, op.CastLike(op.Constant(value_float=0.0), x)), x)
        return op.ReduceSum(differs, ints(-1), keepdims=0)
    if math.isinf(p):
        return op.ReduceMax(apart, ints(-1), keepdims=0)
    power = op.CastLike(op.Constant(value_float=p), x)
    root = op.CastLike(op.Constant(value_float=1 / p), x)
    return op.Pow(op.ReduceSum(op.Pow(apart, power), ints(-1), keepdims=0), root)
