"""Operators of com.microsoft on quantized numbers.

Each is what its name says between a dequantization and a quantization.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from onnxproof.validate.exact.arrays import Array
from onnxproof.validate.exact.errors import UnsupportedNodeError
from onnxproof.validate.exact.operators.activations import leaky, logistic, softmax
from onnxproof.validate.exact.operators.convolution import WINDOW
from onnxproof.validate.exact.operators.microsoft import MICROSOFT, channels_first
from onnxproof.validate.exact.operators.microsoft import channels_last as to_last
from onnxproof.validate.exact.operators.pooling import average_pool
from onnxproof.validate.exact.operators.products import product
from onnxproof.validate.exact.operators.quantization import (
    dequantize,
    dynamic_quantize_linear,
    kind_of,
    q_linear_conv,
    quantize,
    quantize_linear,
)
from onnxproof.validate.exact.registry import operator, single

operator("QuantizeLinear", domain=MICROSOFT)(quantize_linear)


@operator("DequantizeLinear", domain=MICROSOFT)
def _dequantize_linear(x: Array, scale: Array, zero: Array | None = None, *, axis: int = 1) -> Array:
    return dequantize(x, scale, zero, axis)


def _back(x: Array, scale: Array, zero: Array | None, like: Array) -> Array:
    """Quantized to the type of the zero point, or of ``like`` if there is none."""
    return quantize(x, scale, zero, kind_of(like if zero is None else zero))


def _register(name: str, function: Callable[[Array, Array], Any]) -> None:
    @operator(name, domain=MICROSOFT)
    def _binary(
        a: Array,
        a_scale: Array,
        a_zero: Array | None,
        b: Array,
        b_scale: Array,
        b_zero: Array | None,
        c_scale: Array,
        c_zero: Array | None = None,
    ) -> Array:
        whole = function(dequantize(a, a_scale, a_zero), dequantize(b, b_scale, b_zero))
        return _back(np.asarray(whole), c_scale, c_zero, a)


_register("QLinearAdd", np.add)
_register("QLinearMul", np.multiply)


@operator("QLinearLeakyRelu", domain=MICROSOFT)
def _q_linear_leaky_relu(
    x: Array,
    x_scale: Array,
    x_zero: Array | None,
    y_scale: Array,
    y_zero: Array | None = None,
    *,
    alpha: float = single(0.01),
) -> Array:
    return _back(leaky(dequantize(x, x_scale, x_zero), alpha), y_scale, y_zero, x)


@operator("QLinearSigmoid", domain=MICROSOFT)
def _q_linear_sigmoid(
    x: Array, x_scale: Array, x_zero: Array | None, y_scale: Array, y_zero: Array | None = None
) -> Array:
    return _back(logistic(dequantize(x, x_scale, x_zero)), y_scale, y_zero, x)


@operator("QLinearSoftmax", domain=MICROSOFT)
def _q_linear_softmax(
    x: Array,
    x_scale: Array,
    x_zero: Array | None,
    y_scale: Array,
    y_zero: Array,
    *,
    axis: int = -1,
    opset: int,
) -> Array:
    """``opset`` is the one of the Softmax that it replaces."""
    wide = dequantize(x, x_scale, x_zero)
    if opset < 13:
        raise UnsupportedNodeError("a Softmax of before opset 13 on quantized numbers")
    return _back(softmax(wide, axis), y_scale, y_zero, x)


@operator(
    "QLinearAveragePool",
    domain=MICROSOFT,
    accepts=("auto_pad", "ceil_mode", "count_include_pad", "pads", "strides"),
)
def _q_linear_average_pool(
    x: Array,
    x_scale: Array,
    x_zero: Array | None,
    y_scale: Array,
    y_zero: Array | None = None,
    *,
    channels_last: int = 0,
    kernel_shape: Sequence[int],
    **window: Any,
) -> Array:
    wide = dequantize(x, x_scale, x_zero)
    pooled = average_pool(
        channels_first(wide) if channels_last else wide, kernel_shape=kernel_shape, **window
    )
    return _back(to_last(pooled) if channels_last else pooled, y_scale, y_zero, x)


@operator("QLinearGlobalAveragePool", domain=MICROSOFT)
def _q_linear_global_average_pool(
    x: Array, x_scale: Array, x_zero: Array, y_scale: Array, y_zero: Array, *, channels_last: int = 0
) -> Array:
    axes = tuple(range(1, x.ndim - 1)) if channels_last else tuple(range(2, x.ndim))
    return _back(np.mean(dequantize(x, x_scale, x_zero), axis=axes, keepdims=True), y_scale, y_zero, x)


@operator("QLinearReduceMean", domain=MICROSOFT)
def _q_linear_reduce_mean(
    x: Array,
    x_scale: Array,
    x_zero: Array | None,
    y_scale: Array,
    y_zero: Array | None = None,
    *,
    axes: Sequence[int],
    keepdims: int,
) -> Array:
    mean = np.mean(dequantize(x, x_scale, x_zero), axis=tuple(axes), keepdims=bool(keepdims))
    return _back(np.asarray(mean), y_scale, y_zero, x)


@operator("QLinearConcat", domain=MICROSOFT)
def _q_linear_concat(y_scale: Array, y_zero: Array, *parts: Array, axis: int) -> Array:
    """``parts`` are numbers, their scale and their zero point, again and again."""
    wide = [dequantize(parts[start], parts[start + 1], parts[start + 2]) for start in range(0, len(parts), 3)]
    return _back(np.concatenate(wide, axis), y_scale, y_zero, y_zero)


@operator("QLinearWhere", domain=MICROSOFT)
def _q_linear_where(
    condition: Array,
    x: Array,
    x_scale: Array,
    x_zero: Array,
    y: Array,
    y_scale: Array,
    y_zero: Array,
    z_scale: Array,
    z_zero: Array,
) -> Array:
    chosen = np.where(condition, dequantize(x, x_scale, x_zero), dequantize(y, y_scale, y_zero))
    return _back(chosen, z_scale, z_zero, z_zero)


@operator("QLinearConv", domain=MICROSOFT, ignores=("kernel_shape",), accepts=WINDOW)
def _q_linear_conv(x: Array, *others: Array | None, channels_last: int = 0, **window: Any) -> Array:
    first = channels_first(x) if channels_last else x
    result = q_linear_conv(first, *others, **window)  # type: ignore[arg-type]
    return to_last(result) if channels_last else result


@operator("QGemm", domain=MICROSOFT)
def _q_gemm(
    a: Array,
    a_scale: Array,
    a_zero: Array | None,
    b: Array,
    b_scale: Array,
    b_zero: Array | None,
    c: Array | None = None,
    y_scale: Array | None = None,
    y_zero: Array | None = None,
    *,
    alpha: float = 1.0,
    transA: int = 0,  # noqa: N803
    transB: int = 0,  # noqa: N803
) -> Array:
    """``c`` is in units of both scales. Without a scale of the result it stays a float."""
    left = dequantize(a, np.array(1.0), a_zero)
    right = dequantize(b, np.array(1.0), b_zero, 0 if transB else 1)
    whole = product(left.T if transA else left, right.T if transB else right)
    whole = whole if c is None else whole + c
    wide = alpha * whole * a_scale * b_scale
    return wide if y_scale is None else _back(wide, y_scale, y_zero, a)


@operator("MatMulIntegerToFloat", domain=MICROSOFT)
def _mat_mul_integer_to_float(
    a: Array,
    b: Array,
    a_scale: Array,
    b_scale: Array,
    a_zero: Array | None = None,
    b_zero: Array | None = None,
    bias: Array | None = None,
) -> Array:
    whole = product(dequantize(a, a_scale, a_zero, a.ndim - 2), dequantize(b, b_scale, b_zero, b.ndim - 1))
    return whole if bias is None else whole + bias


@operator("DynamicQuantizeMatMul", domain=MICROSOFT)
def _dynamic_quantize_mat_mul(
    a: Array, b: Array, b_scale: Array, b_zero: Array | None = None, bias: Array | None = None
) -> Array:
    numbers, scale, zero = dynamic_quantize_linear(a)
    return _mat_mul_integer_to_float(numbers, b, scale, b_scale, zero, b_zero, bias)


def _unpacked(packed: Array, bits: int) -> Array:
    """Unsigned numbers of ``bits`` bits from bytes, the lowest bits first, along the last axis."""
    shifts = np.arange(0, 8, bits)
    numbers = (packed[..., None] >> shifts.astype(np.uint8)) & (2**bits - 1)
    return np.asarray(numbers).reshape(*packed.shape[:-1], -1)


@operator("MatMulNBits", domain=MICROSOFT, ignores=("accuracy_level",))
def _mat_mul_n_bits(
    a: Array,
    b: Array,
    scales: Array,
    zeros: Array | None = None,
    groups: Array | None = None,
    bias: Array | None = None,
    *,
    K: int,  # noqa: N803
    N: int,  # noqa: N803
    bits: int = 4,
    block_size: int,
    weight_prepacked: int = 0,
) -> Array:
    """``b`` uint8 [n, blocks, bytes of a block] with a scale for each block; zero points are packed, too."""
    if weight_prepacked or groups is not None or bits not in (2, 4, 8):
        raise UnsupportedNodeError("weights that are packed for one device, or in another order")
    blocks = -(-K // block_size)
    numbers = _unpacked(b.reshape(N, blocks, -1), bits).astype(np.float64)
    if zeros is None:
        middle: Array = np.array(2.0 ** (bits - 1))
    elif zeros.dtype == np.uint8:
        middle = _unpacked(zeros.reshape(N, -1), bits)[:, :blocks, None].astype(np.float64)
    else:
        middle = zeros.reshape(N, blocks, 1)
    wide = (numbers - middle) * scales.reshape(N, blocks, 1)
    whole = product(a, wide.reshape(N, -1)[:, :K].T)
    return whole if bias is None else whole + bias
