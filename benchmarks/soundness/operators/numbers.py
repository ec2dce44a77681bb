"""Types, and functions of one number."""

from typing import Any

import numpy as np
import torch
from onnx import TensorProto
from soundness.operators.registry import Array, UnsupportedNodeError, operator, to_numpy, to_tensor
from torch.nn import functional

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


@operator("Cast")
def _cast(x: Array, *, to: int, **_: Any) -> Array:
    return cast(x, to)


@operator("CastLike")
def _cast_like(x: Array, like: Array, **_: Any) -> Array:
    return x.astype(like.dtype)


def logistic(x: Array) -> Array:
    """1 / (1 + exp(-x))."""
    return to_numpy(torch.sigmoid(to_tensor(x)))


def rectified(x: Array) -> Array:
    """max(x, 0)."""
    result: Array = np.maximum(x, 0)
    return result


@operator("Erf")
def _erf(x: Array, **_: Any) -> Array:
    return to_numpy(torch.special.erf(to_tensor(x)))


@operator("Gelu")
def _gelu(x: Array, *, approximate: str = "none", **_: Any) -> Array:
    return to_numpy(functional.gelu(to_tensor(x), approximate=approximate))


@operator("Sigmoid")
def _sigmoid(x: Array, **_: Any) -> Array:
    return logistic(x)
