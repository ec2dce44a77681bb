"""Hold an array against the input that a contract declares."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxproof.errors import RequestError
from onnxproof.tensors import TensorSpec

Array = NDArray[Any]


def as_declared(array: Array, spec: TensorSpec, rows: set[int | str]) -> Array:
    """An array that has the spec's dtype, rank and fixed sizes. Raises RequestError for any other.

    If only the first axis is missing and it counts rows, it is added, with size 1. It counts rows if the spec
    says that it is 1, or if it is the first axis of an output (``rows``).
    """
    laid = np.asarray(array)
    first = spec.shape[0] if spec.shape else None
    if laid.ndim == len(spec.shape) - 1 and (first == 1 or (isinstance(first, str) and first in rows)):
        laid = laid[None]
    fits = laid.ndim == len(spec.shape) and all(
        size == axis for size, axis in zip(laid.shape, spec.shape, strict=True) if isinstance(axis, int)
    )
    if fits and laid.dtype.name == spec.dtype:
        return np.ascontiguousarray(laid) if laid.ndim else laid
    advice = (
        f'convert it with array.astype("{spec.dtype}")' if fits else "reshape, pad or cut it to these axes"
    )
    raise RequestError(
        f"input {spec.name}: got {laid.dtype.name}{list(laid.shape)}, expected {spec}: {advice}"
    )
