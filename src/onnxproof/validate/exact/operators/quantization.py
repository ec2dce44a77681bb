"""Quantization, and operators of integers that stand for quantized numbers.

Sums of products of 8-bit integers are exact in float64: it holds every integer up to 2**53.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import TensorProto

from onnxproof.validate.exact.arrays import Array, widen
from onnxproof.validate.exact.operators.casts import cast, dtype_of
from onnxproof.validate.exact.operators.convolution import WINDOW, convolve
from onnxproof.validate.exact.operators.products import product
from onnxproof.validate.exact.registry import operator

_RANGES: dict[int, tuple[int, int]] = {
    **{TensorProto.UINT8: (0, 255), TensorProto.INT8: (-128, 127)},
    **{TensorProto.UINT16: (0, 65535), TensorProto.INT16: (-32768, 32767)},
    **{TensorProto.UINT4: (0, 15), TensorProto.INT4: (-8, 7)},
    **{TensorProto.UINT2: (0, 3), TensorProto.INT2: (-2, 1)},
}
"""The least and the largest number of each integer type that numbers are quantized to."""

_BY_NAME: dict[str, int] = {
    name.lower(): kind for name, kind in TensorProto.DataType.items() if kind in _RANGES
}


def _spread(parameter: Array, shape: Sequence[int], axis: int, block: int) -> Array:
    """A scale or zero point in the shape of what it belongs to: one number, one an index of ``axis``, or one
    for each ``block`` of indices."""
    if parameter.size == 1 and not block:
        return parameter.reshape(())
    if not block:
        sizes = [1] * len(shape)
        sizes[axis] = -1
        return parameter.reshape(sizes)
    return np.repeat(parameter, block, axis).take(range(shape[axis]), axis)


def quantize(x: Array, scale: Array, zero: Array | None, kind: int, saturate: bool = True) -> Array:
    """x / scale, rounded to nearest even, plus the zero point, cut to the type's range."""
    shifted = x / scale
    if kind not in _RANGES:
        return cast(shifted, kind, saturate)
    whole = np.rint(shifted) + (0 if zero is None else zero.astype(np.float64))
    return np.clip(whole, *_RANGES[kind]).astype(dtype_of(kind))


def kind_of(array: Array) -> int:
    """The ONNX type of quantized numbers."""
    name = array.dtype.name
    if name in _BY_NAME:
        return _BY_NAME[name]
    kinds: dict[str, int] = {
        "float8_e4m3fn": TensorProto.FLOAT8E4M3FN,
        "float8_e4m3fnuz": TensorProto.FLOAT8E4M3FNUZ,
    }
    kinds |= {"float8_e5m2": TensorProto.FLOAT8E5M2, "float8_e5m2fnuz": TensorProto.FLOAT8E5M2FNUZ}
    kinds |= {"float4_e2m1fn": TensorProto.FLOAT4E2M1}
    return kinds[name]


@operator("QuantizeLinear", ignores=("precision",))
def quantize_linear(
    x: Array,
    scale: Array,
    zero: Array | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
    saturate: int = 1,
) -> Array:
    """``axis`` and ``block_size`` say which number of the scale belongs to which of ``x``."""
    kind = output_dtype or (TensorProto.UINT8 if zero is None else kind_of(zero))
    scales = _spread(widen(scale), x.shape, axis, block_size)
    zeros = None if zero is None else _spread(zero, x.shape, axis, block_size)
    return quantize(x.astype(np.float64), scales, zeros, kind, bool(saturate))


@operator("DequantizeLinear", ignores=("output_dtype",))
def _dequantize_linear(
    x: Array, scale: Array, zero: Array | None = None, *, axis: int = 1, block_size: int = 0
) -> Array:
    return dequantize(x, scale, zero, axis, block_size)


def dequantize(x: Array, scale: Array, zero: Array | None, axis: int = 1, block: int = 0) -> Array:
    """(x - zero) * scale."""
    shifted = x.astype(np.float64)
    if zero is not None:
        shifted = shifted - _spread(zero, x.shape, axis, block).astype(np.float64)
    return np.asarray(shifted * _spread(scale, x.shape, axis, block))


@operator("DynamicQuantizeLinear")
def dynamic_quantize_linear(x: Array) -> tuple[Array, Array, Array]:
    """To uint8, with its scale and zero point; the range always holds 0."""
    least, most = min(0.0, float(x.min())), max(0.0, float(x.max()))
    scale = (most - least) / 255 or 1.0
    zero = np.clip(np.rint(-least / scale), 0, 255)
    return (
        quantize(x, np.array(scale), np.array(zero), TensorProto.UINT8),
        np.array(scale),
        np.array(zero, np.uint8),
    )


def _less(x: Array, zero: Array | None, column: bool = False) -> Array:
    """Integers as float64, less their zero point: one number, or one for each row or column."""
    shifted = x.astype(np.float64)
    if zero is None:
        return shifted
    wide = zero.astype(np.float64)
    if wide.ndim == 1 and wide.size > 1 and not column:
        wide = wide[:, None]
    return np.asarray(shifted - (wide.reshape(()) if wide.size == 1 else wide))


@operator("MatMulInteger")
def _mat_mul_integer(a: Array, b: Array, a_zero: Array | None = None, b_zero: Array | None = None) -> Array:
    return product(_less(a, a_zero), _less(b, b_zero, column=True)).astype(np.int32)


@operator("QLinearMatMul")
def _q_linear_mat_mul(
    a: Array,
    a_scale: Array,
    a_zero: Array,
    b: Array,
    b_scale: Array,
    b_zero: Array,
    y_scale: Array,
    y_zero: Array,
) -> Array:
    whole = product(_less(a, a_zero), _less(b, b_zero, column=True))
    rows = a_scale[:, None] if a_scale.ndim == 1 and a_scale.size > 1 else a_scale
    return quantize(whole * rows * b_scale, y_scale, y_zero, kind_of(y_zero))


def _filters(w: Array, zero: Array | None) -> Array:
    shifted = w.astype(np.float64)
    return shifted if zero is None else shifted - _along_filters(zero.astype(np.float64), w.ndim)


def _along_filters(parameter: Array, rank: int) -> Array:
    return parameter.reshape(()) if parameter.size == 1 else parameter.reshape(-1, *[1] * (rank - 1))


@operator("ConvInteger", ignores=("kernel_shape",), accepts=WINDOW)
def _conv_integer(
    x: Array, w: Array, x_zero: Array | None = None, w_zero: Array | None = None, **window: Any
) -> Array:
    """Padding stands for the number 0."""
    return convolve(_less(x, x_zero, column=True), _filters(w, w_zero), **window).astype(np.int32)


@operator("QLinearConv", ignores=("kernel_shape",), accepts=WINDOW)
def q_linear_conv(
    x: Array,
    x_scale: Array,
    x_zero: Array,
    w: Array,
    w_scale: Array,
    w_zero: Array,
    y_scale: Array,
    y_zero: Array,
    b: Array | None = None,
    **window: Any,
) -> Array:
    """A convolution of quantized numbers; the bias is in units of both scales."""
    whole = convolve(_less(x, x_zero, column=True), _filters(w, w_zero), **window)
    if b is not None:
        whole = whole + b.astype(np.float64).reshape(-1, *[1] * (x.ndim - 2))
    scales = x_scale * (_along_filters(w_scale, x.ndim - 1) if w_scale.size > 1 else w_scale.reshape(()))
    return quantize(whole * scales, y_scale, y_zero, kind_of(y_zero))
