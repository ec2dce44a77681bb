"""Products of groups of rows, each with a matrix of its own: the experts of a mixture. The rows are sorted by
expert, and ``offsets`` say where the rows of each expert end. torch's own exporter has no translation.
"""

import torch
from onnxscript import ir

from onnxproof.export.rewrites.values import Value, ints, op, size


def are_rows(node: torch.fx.Node) -> bool:
    """Whether rows [s, k] are grouped, and each group has a matrix of its own [groups, k, n]."""
    rows, matrices = (each.meta["val"].ndim for each in node.args[:2] if isinstance(each, torch.fx.Node))
    return bool(rows == 2 and matrices == 3)


def product(
    rows: Value, matrices: Value, offs: Value = None, bias: Value = None, out_dtype: int | None = None
) -> Value:
    """``grouped_mm`` of rows [s, k] and matrices [groups, k, n], and what transformers calls in its place.

    Rows behind the last group are zeros. Raises ValueError for what is not grouped by ``offs`` alone.
    """
    if offs is None or bias is not None or out_dtype is not None:
        raise ValueError("grouped_mm: expected offs, without bias and out_dtype")
    groups = matrices.shape[0]
    ends = op.Cast(offs, to=ir.DataType.INT64)
    start = ints(0)
    products = []
    for at in range(groups):
        end = op.Slice(ends, ints(at), ints(at + 1))
        group = op.Slice(rows, start, end, ints(0))
        products.append(op.MatMul(group, op.Squeeze(op.Slice(matrices, ints(at), ints(at + 1)), ints(0))))
        start = end
    behind = op.Concat(op.Sub(size(rows, 0), start), size(matrices, 2), axis=0)
    zeros = op.Expand(op.CastLike(op.Constant(value_float=0.0), rows), behind)
    return op.Concat(*products, zeros, axis=0)
