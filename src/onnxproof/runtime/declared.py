"""Hold an array against the input that a contract declares."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxproof.errors import RequestError
from onnxproof.runtime.port import conversion
from onnxproof.tensors import TensorSpec

Array = NDArray[Any]

BEYOND = 0.01
"""How far numbers may lie beyond a declared range, as a share of it, without a word:
resampling overshoots."""


def note_on_range(array: Array, spec: TensorSpec) -> str | None:
    """That an array's numbers lie beyond the range that the spec declares; None if they do not."""
    if spec.range is None or not array.size or array.dtype.kind not in "iuf":
        return None
    low, high = spec.range
    least, most = float(np.min(array)), float(np.max(array))
    slack = BEYOND * (high - low)
    if not (least < low - slack or most > high + slack):
        return None
    return (
        f"input {spec.name}: the array's numbers are in {least:.6g}..{most:.6g}, and the file was proved for "
        f"{spec}: are they scaled otherwise?"
    )


def as_declared(array: Array, spec: TensorSpec, rows: set[int | str]) -> Array:
    """An array as ``require_declared`` returns it, in one piece of memory."""
    laid = require_declared(array, spec, rows)
    return np.ascontiguousarray(laid) if laid.ndim else laid


def require_declared(array: Array, spec: TensorSpec, rows: set[int | str]) -> Array:
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
        return laid
    advice = []
    if laid.dtype.name != spec.dtype:
        advice.append(conversion(laid, spec.dtype))
    if not fits:
        advice.append("reshape, pad or cut it to these axes")
    got = f"{laid.dtype.name}{list(laid.shape)}"
    raise RequestError(f"input {spec.name}: got {got}, expected {spec}: {', and '.join(advice)}")
