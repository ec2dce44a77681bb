"""Scaled dot-product attention with a mask, or of tensors with other than four axes.

A query that may look at no key gets zeros, as in PyTorch (``_safe_softmax`` in
aten/src/ATen/native/transformers/attention.cpp). torch's own translation gives it the mean of all values, or
NaN; from opset 23 on it takes four axes alone.
"""

import torch
from onnxscript import ir

from onnxproof.export.rewrites.values import Value, count_to, ints, number, op, rank, size, swapped

LOWEST = {
    ir.DataType.FLOAT: float(torch.finfo(torch.float32).min),
    ir.DataType.DOUBLE: float(torch.finfo(torch.float64).min),
    ir.DataType.FLOAT16: float(torch.finfo(torch.float16).min),
    ir.DataType.BFLOAT16: float(torch.finfo(torch.bfloat16).min),
}
"""What a masked score becomes: minus infinity would make NaN of a row that is masked whole."""


def is_masked_or_odd(node: torch.fx.Node) -> bool:
    """Whether the attention has a mask, or the queries have other axes than [batch, heads, n, width]."""
    query = _argument(node, 0, "query")
    odd = isinstance(query, torch.fx.Node) and query.meta["val"].ndim != 4
    return odd or _argument(node, 3, "attn_mask") is not None


def attention(
    query: Value,
    key: Value,
    value: Value,
    attn_mask: Value = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Value:
    """``scaled_dot_product_attention``. Raises ValueError for attention with dropout, which is random."""
    if dropout_p > 0:
        raise ValueError(f"scaled_dot_product_attention with dropout_p = {dropout_p}: expected 0")
    if enable_gqa:
        key, value = (_repeated(heads, query) for heads in (key, value))
    if is_causal:
        rows, columns = (count_to(size(of, -2)) for of in (query, key))
        attn_mask = op.GreaterOrEqual(op.Unsqueeze(rows, ints(1)), columns)
    # PyTorch scales both factors by the root, so that neither overflows.
    if scale is None:
        width = op.Cast(size(query, -1), to=ir.DataType.DOUBLE)
        scale = op.Reciprocal(op.Sqrt(width))
    root = op.CastLike(op.Sqrt(scale), query)
    scores = op.MatMul(op.Mul(query, root), op.Mul(swapped(key, rank(query)), root))
    if attn_mask is None:
        return op.MatMul(op.Softmax(scores, axis=-1), value)
    zero = op.CastLike(op.Constant(value_float=0.0), query)
    if is_causal or attn_mask.dtype == ir.DataType.BOOL:
        lowest = op.Constant(value=ir.tensor(LOWEST[query.dtype], dtype=query.dtype))
        weights = op.Softmax(op.Where(attn_mask, scores, lowest), axis=-1)
        return op.MatMul(op.Where(attn_mask, weights, zero), value)
    weights = op.Softmax(op.Add(scores, attn_mask), axis=-1)
    dead = op.IsInf(op.ReduceMax(attn_mask, ints(-1), keepdims=1), detect_positive=0)
    return op.MatMul(op.Where(dead, zero, weights), value)


def _repeated(heads: Value, query: Value) -> Value:
    """Keys or values with each head as often as queries share it."""
    shared = query.shape[-3] // heads.shape[-3]
    if shared == 1:
        return heads
    before = rank(heads) - 3
    shape = [op.Shape(heads, start=0, end=before + 1), number(shared), op.Shape(heads, start=before + 1)]
    spread = op.Expand(op.Unsqueeze(heads, ints(before + 1)), op.Concat(*shape, axis=0))
    whole = [op.Shape(heads, start=0, end=before), ints(-1), op.Shape(heads, start=before + 1)]
    return op.Reshape(spread, op.Concat(*(whole if before else whole[1:]), axis=0))


def _argument(node: torch.fx.Node, position: int, name: str) -> object:
    return node.args[position] if len(node.args) > position else node.kwargs.get(name)
