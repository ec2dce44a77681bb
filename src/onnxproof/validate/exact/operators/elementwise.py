"""Arithmetic, comparisons and logic, element by element, with NumPy's broadcasting."""

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
import torch

from onnxproof.validate.exact.arrays import Array, to_numpy, to_tensor
from onnxproof.validate.exact.registry import operator

_PLAIN: dict[str, Callable[..., Any]] = {
    **{"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Neg": np.negative, "Abs": np.abs},
    **{"Floor": np.floor, "Ceil": np.ceil, "Round": np.rint, "Sign": np.sign, "Sqrt": np.sqrt},
    **{"Exp": np.exp, "Log": np.log, "Reciprocal": np.reciprocal},
    **{"Sin": np.sin, "Cos": np.cos, "Tan": np.tan, "Asin": np.arcsin, "Acos": np.arccos, "Atan": np.arctan},
    **{"Sinh": np.sinh, "Cosh": np.cosh, "Tanh": np.tanh},
    **{"Asinh": np.arcsinh, "Acosh": np.arccosh, "Atanh": np.arctanh},
    **{"And": np.logical_and, "Or": np.logical_or, "Xor": np.logical_xor, "Not": np.logical_not},
    **{"BitwiseAnd": np.bitwise_and, "BitwiseOr": np.bitwise_or, "BitwiseXor": np.bitwise_xor},
    **{"BitwiseNot": np.invert, "IsNaN": np.isnan, "Where": np.where},
    **{"Equal": np.equal, "Greater": np.greater, "Less": np.less},
    **{"GreaterOrEqual": np.greater_equal, "LessOrEqual": np.less_equal},
}


def _register(name: str, function: Callable[..., Any]) -> None:
    @operator(name)
    def _call(*inputs: Array) -> Array:
        result: Array = function(*inputs)
        return result


for _name, _function in _PLAIN.items():
    _register(_name, _function)


@operator("Erf")
def _erf(x: Array) -> Array:
    return to_numpy(torch.special.erf(to_tensor(x)))


@operator("Div")
def _div(a: Array, b: Array) -> Array:
    """Integers are divided towards zero."""
    if a.dtype.kind == "f":
        return np.asarray(np.divide(a, b))
    whole, rest = np.divmod(a, b)
    return np.asarray(whole + ((rest != 0) & ((a < 0) != (b < 0))), a.dtype)


@operator("Mod")
def _mod(a: Array, b: Array, *, fmod: int = 0) -> Array:
    """The remainder has the divisor's sign, with ``fmod`` the dividend's."""
    return np.asarray(np.fmod(a, b) if fmod else np.mod(a, b))


@operator("Pow")
def _pow(a: Array, b: Array) -> Array:
    """The result has the type of ``a``."""
    if a.dtype.kind == "f":
        return np.asarray(np.power(a, b.astype(np.float64)))
    if b.dtype.kind == "f" or (b.size and b.min() < 0):
        return np.asarray(np.power(a.astype(np.float64), b.astype(np.float64)).astype(a.dtype))
    return np.asarray(np.power(a, b)).astype(a.dtype)


@operator("Sum")
def _sum(*inputs: Array) -> Array:
    return np.asarray(reduce(np.add, inputs))


@operator("Mean")
def _mean(*inputs: Array) -> Array:
    return np.asarray(reduce(np.add, inputs) / len(inputs))


@operator("Max")
def _max(*inputs: Array) -> Array:
    return np.asarray(reduce(np.maximum, inputs))


@operator("Min")
def _min(*inputs: Array) -> Array:
    return np.asarray(reduce(np.minimum, inputs))


@operator("Clip", since=11)
def _clip(x: Array, least: Array | None = None, most: Array | None = None) -> Array:
    """If ``least`` is above ``most``, the result is ``most``."""
    low = x if least is None else np.maximum(x, least)
    return np.asarray(low if most is None else np.minimum(low, most))


@operator("Clip", since=6)
def _clip_by_attributes(x: Array, *, min: float | None = None, max: float | None = None) -> Array:
    bounds = (None if bound is None else np.array(bound, x.dtype) for bound in (min, max))
    return _clip(x, *bounds)


@operator("BitShift")
def _bit_shift(a: Array, b: Array, *, direction: str) -> Array:
    return np.asarray(np.left_shift(a, b) if direction == "LEFT" else np.right_shift(a, b))


@operator("IsInf")
def _is_inf(x: Array, *, detect_negative: int = 1, detect_positive: int = 1) -> Array:
    infinite: Array = np.isinf(x)
    if not detect_negative:
        infinite &= x > 0
    if not detect_positive:
        infinite &= x < 0
    return infinite
