"""Operators of com.microsoft into which ONNX Runtime fuses others."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from onnxproof.validate.exact.arrays import Array
from onnxproof.validate.exact.operators.activations import gelu, logistic
from onnxproof.validate.exact.operators.convolution import WINDOW, conv_transpose, convolve
from onnxproof.validate.exact.operators.named import activation
from onnxproof.validate.exact.operators.normalization import (
    layer_normalization,
    rms_normalization,
)
from onnxproof.validate.exact.operators.pooling import max_pool
from onnxproof.validate.exact.operators.products import gemm, product
from onnxproof.validate.exact.registry import operator, single

MICROSOFT = "com.microsoft"
EPSILON = single(1e-12)
"""The default of Microsoft's normalisations."""


def channels_first(x: Array) -> Array:
    """[n, d1, ..., c] as [n, c, d1, ...]."""
    return np.moveaxis(x, -1, 1)


def channels_last(x: Array) -> Array:
    """[n, c, d1, ...] as [n, d1, ..., c]."""
    return np.moveaxis(x, 1, -1)


@operator("FusedConv", domain=MICROSOFT, ignores=("kernel_shape",), accepts=WINDOW)
def _fused_conv(
    x: Array,
    w: Array,
    b: Array | None = None,
    z: Array | None = None,
    *,
    activation: str = "",
    activation_params: Sequence[float] = (),
    **window: Any,
) -> Array:
    """A convolution, a sum, an activation."""
    whole = convolve(x, w, b, **window)
    return _activated(whole if z is None else whole + z, activation, activation_params)


def _activated(x: Array, name: str, parameters: Sequence[float]) -> Array:
    return activation(name, parameters)(x)


@operator("NhwcConv", "NhwcFusedConv", domain=MICROSOFT, ignores=("kernel_shape",), accepts=WINDOW)
def _nhwc_conv(
    x: Array,
    w: Array,
    b: Array | None = None,
    z: Array | None = None,
    *,
    activation: str = "",
    activation_params: Sequence[float] = (),
    **window: Any,
) -> Array:
    """As FusedConv, of pictures with their channels last; the filters are as ever."""
    whole = channels_last(convolve(channels_first(x), w, b, **window))
    return _activated(whole if z is None else whole + z, activation, activation_params)


@operator("NhwcMaxPool", domain=MICROSOFT, accepts=("auto_pad", "ceil_mode", "dilations", "pads", "strides"))
def _nhwc_max_pool(x: Array, *, kernel_shape: Sequence[int], **window: Any) -> Array:
    pooled = max_pool(channels_first(x), kernel_shape=kernel_shape, **window)
    return channels_last(np.asarray(pooled))


@operator(
    "ConvTransposeWithDynamicPads",
    domain=MICROSOFT,
    ignores=("kernel_shape",),
    accepts=("auto_pad", "dilations", "group", "output_padding", "strides"),
)
def _conv_transpose_with_dynamic_pads(
    x: Array, w: Array, pads: Array | None = None, b: Array | None = None, **window: Any
) -> Array:
    cells = None if pads is None else [int(number) for number in pads]
    return conv_transpose(x, w, b, pads=cells, **window)


@operator("FusedGemm", domain=MICROSOFT)
def _fused_gemm(
    a: Array,
    b: Array,
    c: Array | None = None,
    *,
    activation: str = "",
    activation_alpha: float | None = None,
    activation_beta: float | None = None,
    activation_gamma: float | None = None,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,  # noqa: N803
    transB: int = 0,  # noqa: N803
) -> Array:
    whole = gemm(a, b, c, alpha=alpha, beta=beta, transA=transA, transB=transB)
    given = [one for one in (activation_alpha, activation_beta, activation_gamma) if one is not None]
    return _activated(whole, activation, given)


def _turned(x: Array, matrix: int, batch: int) -> Array:
    """``batch`` moves the first axis before the last but one; ``matrix`` swaps the last two."""
    moved = np.moveaxis(x, 0, -2) if batch else x
    return np.swapaxes(moved, -1, -2) if matrix and moved.ndim > 1 else moved


@operator("FusedMatMul", "TransposeMatMul", domain=MICROSOFT)
def fused_mat_mul(
    a: Array,
    b: Array,
    *,
    alpha: float = 1.0,
    transA: int = 0,  # noqa: N803
    transB: int = 0,  # noqa: N803
    transBatchA: int = 0,  # noqa: N803
    transBatchB: int = 0,  # noqa: N803
) -> Array:
    """alpha times the product."""
    return alpha * product(_turned(a, transA, transBatchA), _turned(b, transB, transBatchB))


@operator("FusedMatMulActivation", domain=MICROSOFT, ignores=("activation_axis",), accepts=("alpha",))
def _fused_mat_mul_activation(
    a: Array,
    b: Array,
    *,
    activation: str,
    activation_alpha: float | None = None,
    activation_beta: float | None = None,
    activation_gamma: float | None = None,
    transA: int = 0,  # noqa: N803
    transB: int = 0,  # noqa: N803
    transBatchA: int = 0,  # noqa: N803
    transBatchB: int = 0,  # noqa: N803
    **factor: float,
) -> Array:
    whole = fused_mat_mul(
        a, b, transA=transA, transB=transB, transBatchA=transBatchA, transBatchB=transBatchB, **factor
    )
    given = [one for one in (activation_alpha, activation_beta, activation_gamma) if one is not None]
    return _activated(whole, activation, given)


@operator("Gelu", domain=MICROSOFT)
def _gelu(x: Array) -> Array:
    return gelu(x)


@operator("BiasGelu", domain=MICROSOFT)
def _bias_gelu(x: Array, bias: Array) -> Array:
    return gelu(x + bias)


@operator("FastGelu", domain=MICROSOFT)
def _fast_gelu(x: Array, bias: Array | None = None) -> Array:
    """GELU, approximated by tanh."""
    return gelu(x if bias is None else x + bias, "tanh")


@operator("QuickGelu", domain=MICROSOFT)
def _quick_gelu(x: Array, *, alpha: float = single(1.702)) -> Array:
    return np.asarray(x * logistic(alpha * x))


@operator("SimplifiedLayerNormalization", ignores=("stash_type",))
def _simplified_layer_normalization(
    x: Array, scale: Array, *, axis: int = -1, epsilon: float = single(1e-5)
) -> tuple[Array, Array]:
    """ONNX Runtime's name for an RMS normalisation, in ONNX's own domain."""
    axes = tuple(range(axis + x.ndim if axis < 0 else axis, x.ndim))
    inverse = 1 / np.sqrt(np.mean(x * x, axis=axes, keepdims=True) + epsilon)
    return rms_normalization(x, scale, axis=axis, epsilon=epsilon), np.asarray(inverse)


@operator("SkipLayerNormalization", domain=MICROSOFT)
def _skip_layer_normalization(
    x: Array,
    skip: Array,
    gamma: Array,
    beta: Array | None = None,
    bias: Array | None = None,
    *,
    epsilon: float = EPSILON,
) -> tuple[Array, ...]:
    whole = x + skip if bias is None else x + skip + bias
    return *layer_normalization(whole, gamma, beta, epsilon=epsilon), whole


@operator("SkipSimplifiedLayerNormalization", domain=MICROSOFT)
def _skip_simplified_layer_normalization(
    x: Array, skip: Array, gamma: Array, bias: Array | None = None, *, epsilon: float = EPSILON
) -> tuple[Array, ...]:
    whole = x + skip if bias is None else x + skip + bias
    result, inverse = _simplified_layer_normalization(whole, gamma, epsilon=epsilon)
    return result, np.mean(whole, axis=-1, keepdims=True), inverse, whole


@operator("EmbedLayerNormalization", domain=MICROSOFT, ignores=("mask_index_type",))
def _embed_layer_normalization(
    words: Array,
    segments: Array | None,
    word_table: Array,
    position_table: Array,
    segment_table: Array | None,
    gamma: Array,
    beta: Array,
    mask: Array | None = None,
    positions: Array | None = None,
    *,
    epsilon: float = EPSILON,
) -> tuple[Array, Array, Array]:
    """The normalised sum of the embeddings, each row's number of words, and the sum."""
    places = np.arange(words.shape[1])[None] if positions is None else positions
    whole = word_table[words] + position_table[places]
    if segments is not None and segment_table is not None:
        whole = whole + segment_table[segments]
    result, _, _ = layer_normalization(whole, gamma, beta, epsilon=epsilon)
    counts = np.zeros(len(words)) if mask is None else np.sum(mask == 1, axis=1)
    return result, counts.astype(np.int32), whole


@operator("Inverse", domain=MICROSOFT)
def _inverse(x: Array) -> Array:
    return np.asarray(np.linalg.inv(x))
