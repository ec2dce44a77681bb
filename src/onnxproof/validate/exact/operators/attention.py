"""Attention as com.microsoft has it: heads packed into the last axis, masks of several forms, a past.

ONNX's own Attention is left to ``onnx.reference``, which computes it in the type of its inputs.
"""

from collections.abc import Sequence

import numpy as np

from onnxproof.validate.exact.arrays import Array
from onnxproof.validate.exact.errors import UnsupportedNodeError
from onnxproof.validate.exact.operators.activations import softmax
from onnxproof.validate.exact.operators.products import product
from onnxproof.validate.exact.registry import operator

MICROSOFT = "com.microsoft"
LOWEST = float(np.finfo(np.float32).min)
"""What ONNX Runtime adds where a step would look ahead."""


def heads_of(x: Array, heads: int) -> Array:
    """[batch, steps, heads * size] as [batch, heads, steps, size]."""
    return np.swapaxes(x.reshape(*x.shape[:2], heads, -1), 1, 2)


def merged(x: Array) -> Array:
    """[batch, heads, steps, size] as [batch, steps, heads * size]."""
    turned = np.swapaxes(x, 1, 2)
    return turned.reshape(*turned.shape[:2], -1)


def attend(
    query: Array, key: Array, value: Array, scale: float | None, bias: Array | None
) -> tuple[Array, Array]:
    """What heads [batch, heads, steps, size] see, and the scores before softmax."""
    factor = scale or 1 / np.sqrt(query.shape[-1])
    scores = factor * product(query, np.swapaxes(key, -1, -2))
    if bias is not None:
        scores = scores + bias
    return product(softmax(scores), value), scores


def _from_lengths(lengths: Array, batch: int, total: int) -> Array:
    """Which keys count, [batch, total]: those before each row's end, from its start on if starts follow."""
    ends = lengths[:batch, None]
    starts = lengths[batch : 2 * batch, None] if lengths.size == 2 * batch else 0
    places = np.arange(total)[None]
    return np.asarray((places < ends) & (places >= starts))


def mask_bias(mask: Array | None, batch: int, steps: int, total: int, filler: float) -> Array:
    """What is added to scores [batch, heads, steps, total]: ``filler`` where the mask is 0."""
    if mask is None:
        return np.zeros((1, 1, 1, 1))
    if mask.ndim == 1:
        if mask.size not in (batch, 2 * batch):
            raise UnsupportedNodeError(f"a mask of {mask.size} numbers for a batch of {batch}")
        kept = _from_lengths(mask, batch, total)[:, None, None]
    elif mask.ndim == 2:
        kept = mask[:, None, None] > 0
    elif mask.ndim == 3:
        kept = mask[:, None] > 0
    else:
        past = total - steps
        kept = mask[:, :, past : past + steps, :total] > 0
    return np.where(kept, 0.0, filler)


def _ahead(steps: int, total: int) -> Array:
    """What keeps a step from looking ahead, [steps, total]."""
    places = np.arange(total)[None] > np.arange(steps)[:, None] + total - steps
    return np.where(places, LOWEST, 0.0)


@operator("Attention", domain=MICROSOFT, ignores=("past_present_share_buffer",))
def _attention(
    x: Array,
    weights: Array,
    bias: Array | None = None,
    mask: Array | None = None,
    past: Array | None = None,
    attention_bias: Array | None = None,
    *,
    do_rotary: int = 0,
    mask_filter_value: float = -10000.0,
    num_heads: int,
    qkv_hidden_sizes: Sequence[int] | None = None,
    rotary_embedding_dim: int = 0,
    scale: float | None = None,
    unidirectional: int = 0,
) -> tuple[Array, Array]:
    """Self-attention with its projection. ``past`` and the present are keys and values [2, batch, ...]."""
    if do_rotary or rotary_embedding_dim:
        raise UnsupportedNodeError("a rotary embedding inside of Attention")
    whole = product(x, weights)
    whole = whole if bias is None else whole + bias
    ends = np.cumsum(qkv_hidden_sizes)[:2] if qkv_hidden_sizes else 3
    query, key, value = (heads_of(part, num_heads) for part in np.split(whole, ends, axis=-1))
    if past is not None:
        key, value = (np.concatenate([old, new], 2) for old, new in zip(past, (key, value), strict=True))
    batch, steps, total = x.shape[0], x.shape[1], key.shape[2]
    added = mask_bias(mask, batch, steps, total, mask_filter_value)
    if unidirectional:
        added = added + _ahead(steps, total)
    if attention_bias is not None:
        added = added + attention_bias
    seen, _ = attend(query, key, value, scale, added)
    present = np.stack([key, value]) if key.shape == value.shape else key
    return merged(seen), present


@operator("MultiHeadAttention", domain=MICROSOFT)
def _multi_head_attention(
    query: Array,
    key: Array | None = None,
    value: Array | None = None,
    bias: Array | None = None,
    mask: Array | None = None,
    attention_bias: Array | None = None,
    past_key: Array | None = None,
    past_value: Array | None = None,
    *,
    mask_filter_value: float = -10000.0,
    num_heads: int,
    scale: float | None = None,
    unidirectional: int = 0,
) -> tuple[Array, ...]:
    """Attention of projected queries, keys and values, which may be packed into one array."""
    if query.ndim == 5:
        # [batch, steps, heads, 3, size]
        query, key, value = (merged(np.swapaxes(query[:, :, :, part], 1, 2)) for part in range(3))
    elif key is not None and key.ndim == 5:
        # [batch, steps, heads, 2, size]
        key, value = (merged(np.swapaxes(key[:, :, :, part], 1, 2)) for part in range(2))
    if key is None or value is None:
        raise UnsupportedNodeError("queries without keys")
    ahead_of_time = key.ndim == 4
    parts: list[Array] = [query] if ahead_of_time else [query, key, value]
    if bias is not None:
        sizes = [query.shape[-1], key.shape[-1], value.shape[-1]] if not ahead_of_time else [query.shape[-1]]
        shifts = np.split(bias[: sum(sizes)], np.cumsum(sizes)[:-1])
        parts = [part + shift for part, shift in zip(parts, shifts, strict=True)]
    heads = [heads_of(part, num_heads) for part in parts]
    q = heads[0]
    k, v = (key, value) if ahead_of_time else (heads[1], heads[2])
    if past_key is not None and past_value is not None:
        k, v = np.concatenate([past_key, k], 2), np.concatenate([past_value, v], 2)
    steps, total = q.shape[2], k.shape[2]
    added = mask_bias(mask, len(query), steps, total, mask_filter_value)
    if unidirectional:
        added = added + _ahead(steps, total)
    if attention_bias is not None:
        added = added + attention_bias
    seen, scores = attend(q, k, v, scale, added)
    return merged(seen), k, v, scores


@operator("RotaryEmbedding", domain=MICROSOFT)
def _rotary_embedding(
    x: Array,
    positions: Array,
    cosines: Array,
    sines: Array,
    *,
    interleaved: int = 0,
    is_packed_batching: int = 0,
    num_heads: int = 0,
    rotary_embedding_dim: int = 0,
    scale: float = 1.0,
) -> Array:
    """Pairs of numbers, turned by an angle of their step. ``cosines`` [steps, size / 2]."""
    if is_packed_batching or scale != 1.0:
        raise UnsupportedNodeError("packed batches, or a scale")
    heads = x if x.ndim == 4 else heads_of(x, num_heads or x.shape[-1] // (2 * cosines.shape[-1]))
    steps = heads.shape[2]
    places = np.arange(steps)[None] + positions.reshape(-1, 1) if positions.size == 1 else positions
    cos, sin = (table[places][:, None] for table in (cosines, sines))
    size = rotary_embedding_dim or heads.shape[-1]
    turned, rest = heads[..., :size], heads[..., size:]
    if interleaved:
        left, right = turned[..., 0::2], turned[..., 1::2]
    else:
        left, right = np.split(turned, 2, axis=-1)
    pair = (left * cos - right * sin, left * sin + right * cos)
    whole = np.stack(pair, -1).reshape(turned.shape) if interleaved else np.concatenate(pair, -1)
    result = np.concatenate([whole, rest], -1)
    return result if x.ndim == 4 else merged(result)
