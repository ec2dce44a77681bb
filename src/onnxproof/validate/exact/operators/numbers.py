"""Types and constants."""

import numpy as np
from onnx import TensorProto

from onnxproof.validate.exact.arrays import Array, to_numpy, to_tensor
from onnxproof.validate.exact.errors import UnsupportedNodeError
from onnxproof.validate.exact.registry import operator

_FLOAT32_KINDS = (TensorProto.FLOAT, TensorProto.DOUBLE)

_PLAIN: dict[int, type[np.generic]] = {
    TensorProto.BOOL: np.bool_,
    TensorProto.INT8: np.int8,
    TensorProto.INT16: np.int16,
    TensorProto.INT32: np.int32,
    TensorProto.INT64: np.int64,
    TensorProto.UINT8: np.uint8,
    TensorProto.UINT16: np.uint16,
    TensorProto.UINT32: np.uint32,
    TensorProto.UINT64: np.uint64,
}


def cast(values: Array, kind: int) -> Array:
    """``values`` as the ONNX type ``kind``. float16 and bfloat16 round to nearest even and are held in
    float64; float32 does not round."""
    if kind in _FLOAT32_KINDS:
        return values.astype(np.float64)
    if kind == TensorProto.FLOAT16:
        return values.astype(np.float16).astype(np.float64)
    if kind == TensorProto.BFLOAT16:
        return to_numpy(to_tensor(values.astype(np.float64)).bfloat16().double())
    if kind not in _PLAIN:
        raise UnsupportedNodeError(f"Cast to {TensorProto.DataType.Name(kind)}")
    return values.astype(_PLAIN[kind])


@operator("Cast", ignores=("saturate", "round_mode"))
def _cast(x: Array, *, to: int) -> Array:
    return cast(x, to)


@operator("CastLike", ignores=("saturate", "round_mode"))
def _cast_like(x: Array, like: Array, *, to: int | None = None) -> Array:
    """``to`` is the type of ``like`` if values of that type are held in float64."""
    return x.astype(like.dtype) if to is None else cast(x, to)


@operator("ConstantOfShape")
def _constant_of_shape(shape: Array, *, value: Array | None = None) -> Array:
    filler = np.zeros(1) if value is None else value
    return np.full(tuple(map(int, shape)), filler.reshape(-1)[0], filler.dtype)


@operator("EyeLike")
def _eye_like(x: Array, *, dtype: int | None = None, k: int = 0) -> Array:
    ones = np.eye(x.shape[0], x.shape[1], k)
    return ones.astype(x.dtype) if dtype is None else cast(ones, dtype)
