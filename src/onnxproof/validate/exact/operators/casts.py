"""Types: casts, and constants of a type."""

from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from onnxproof.validate.exact.arrays import Array, to_numpy, to_tensor
from onnxproof.validate.exact.errors import UnsupportedNodeError
from onnxproof.validate.exact.registry import operator

_WIDE = (TensorProto.FLOAT, TensorProto.DOUBLE)

_SATURATING = (
    TensorProto.FLOAT8E4M3FN,
    TensorProto.FLOAT8E4M3FNUZ,
    TensorProto.FLOAT8E5M2,
    TensorProto.FLOAT8E5M2FNUZ,
)


def dtype_of(kind: int) -> np.dtype[Any]:
    """The dtype in which values of an ONNX type are held."""
    held_wide = (*_WIDE, TensorProto.FLOAT16, TensorProto.BFLOAT16)
    return np.dtype(np.float64 if kind in held_wide else helper.tensor_dtype_to_np_dtype(kind))


def cast(values: Array, kind: int, saturate: bool = True, round_mode: str = "up") -> Array:
    """``values`` as the ONNX type ``kind``.

    float32 does not round. float16 and bfloat16 round to nearest even and are held in float64. Narrower
    floats are kept as they are, and so are integers of fewer than 8 bits.
    """
    if kind == TensorProto.STRING or values.dtype.kind in "OSU":
        raise UnsupportedNodeError("a cast from or to text")
    if values.dtype.kind == "V" or (values.dtype.kind == "f" and values.dtype.itemsize == 1):
        values = values.astype(np.float64)
    if kind in _WIDE:
        return values.astype(np.float64)
    if kind == TensorProto.FLOAT16:
        return values.astype(np.float16).astype(np.float64)
    if kind == TensorProto.BFLOAT16:
        return to_numpy(to_tensor(values.astype(np.float64)).bfloat16().double())
    if kind == TensorProto.FLOAT8E8M0:
        # onnx's own function reads float32; a float64 in its place is rounded once more.
        single = values.astype(np.float32)
        return numpy_helper.to_float8e8m0(single, saturate, round_mode).astype(dtype_of(kind))
    if kind in _SATURATING and saturate:
        return numpy_helper.saturate_cast(values, dtype_of(kind))
    return values.astype(dtype_of(kind))


@operator("Cast")
def _cast(x: Array, *, to: int, saturate: int = 1, round_mode: str = "up") -> Array:
    return cast(x, to, bool(saturate), round_mode)


@operator("CastLike")
def _cast_like(
    x: Array, like: Array, *, to: int | None = None, saturate: int = 1, round_mode: str = "up"
) -> Array:
    """``to`` is the type of ``like`` if values of that type are held in float64."""
    kind = helper.np_dtype_to_tensor_dtype(like.dtype) if to is None else to
    return cast(x, kind, bool(saturate), round_mode)


@operator("ConstantOfShape")
def _constant_of_shape(shape: Array, *, value: Array | None = None) -> Array:
    filler = np.zeros(1) if value is None else value
    return np.full(tuple(map(int, shape)), filler.reshape(-1)[0], filler.dtype)


@operator("EyeLike")
def _eye_like(x: Array, *, dtype: int | None = None, k: int = 0) -> Array:
    ones = np.eye(x.shape[0], x.shape[1], k)
    return ones.astype(x.dtype if dtype is None else dtype_of(dtype))


@operator("BitCast")
def _bit_cast(x: Array, *, to: int) -> Array:
    """Only between types of which the bits are held."""
    held = dtype_of(to)
    if "f" in (x.dtype.kind, held.kind) or x.dtype.itemsize != held.itemsize:
        raise UnsupportedNodeError("the bits of a float32 are not held in float64")
    return x.view(held)


@operator("Bernoulli", ignores=("dtype", "seed"))
@operator("Multinomial", ignores=("dtype", "sample_size", "seed"))
@operator("RandomNormal", "RandomNormalLike", ignores=("dtype", "mean", "scale", "seed", "shape"))
@operator("RandomUniform", "RandomUniformLike", ignores=("dtype", "high", "low", "seed", "shape"))
def _random(*_: Array) -> Array:
    raise UnsupportedNodeError("it draws random numbers")
