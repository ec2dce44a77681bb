"""Sums, extremes and other numbers that are taken along axes."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from onnxproof.validate.exact.arrays import Array, to_numpy, to_tensor
from onnxproof.validate.exact.registry import operator

Axes = tuple[int, ...]


def _log_sum_exp(x: Array, axis: Axes, keepdims: bool) -> Array:
    # torch takes no axes for all of them.
    return to_numpy(torch.logsumexp(to_tensor(x), axis, keepdims)) if axis else x


def _mean(x: Array, axis: Axes, keepdims: bool) -> Array:
    total = np.sum(x, axis=axis, keepdims=keepdims)
    count = int(np.prod([x.shape[one] for one in axis], dtype=np.int64))
    if x.dtype.kind == "f":
        return np.asarray(total / count)
    return np.asarray(np.trunc(total / count).astype(x.dtype))


def _extreme(function: Callable[..., Any], empty: float) -> Callable[..., Array]:
    def reduced(x: Array, axis: Axes, keepdims: bool) -> Array:
        # Of nothing: infinity, or the least or largest number of the type.
        kinds = {"f": empty, "b": empty > 0}
        initial = {"initial": kinds[x.dtype.kind]} if x.dtype.kind in kinds else {}
        return np.asarray(function(x, axis=axis, keepdims=keepdims, **initial))

    return reduced


_REDUCTIONS: dict[str, Callable[[Array, Axes, bool], Any]] = {
    "ReduceSum": lambda x, axis, keep: np.sum(x, axis=axis, keepdims=keep, dtype=x.dtype),
    "ReduceMean": _mean,
    "ReduceProd": lambda x, axis, keep: np.prod(x, axis=axis, keepdims=keep, dtype=x.dtype),
    "ReduceMax": _extreme(np.max, -np.inf),
    "ReduceMin": _extreme(np.min, np.inf),
    "ReduceL1": lambda x, axis, keep: np.sum(np.abs(x), axis=axis, keepdims=keep, dtype=x.dtype),
    "ReduceL2": lambda x, axis, keep: np.sqrt(np.sum(x * x, axis=axis, keepdims=keep, dtype=x.dtype)),
    "ReduceSumSquare": lambda x, axis, keep: np.sum(x * x, axis=axis, keepdims=keep, dtype=x.dtype),
    "ReduceLogSum": lambda x, axis, keep: np.log(np.sum(x, axis=axis, keepdims=keep)),
    "ReduceLogSumExp": _log_sum_exp,
}


def _register(name: str, function: Callable[[Array, Axes, bool], Any]) -> None:
    def reduced(x: Array, axes: Sequence[int] | None, keepdims: int, noop: int) -> Array:
        if not axes and noop:
            # Only the axes are left out: the operator still squares, takes the logarithm and so on.
            chosen: Axes = ()
        elif axes:
            chosen = tuple(axis % x.ndim for axis in axes)
        else:
            chosen = tuple(range(x.ndim))
        return np.asarray(function(x, chosen, bool(keepdims))).astype(x.dtype)

    @operator(name, since=13 if name == "ReduceSum" else 18)
    def _by_input(
        x: Array, axes: Array | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
    ) -> Array:
        return reduced(
            x, None if axes is None else [int(axis) for axis in axes], keepdims, noop_with_empty_axes
        )

    @operator(name)
    def _by_attribute(x: Array, *, axes: Sequence[int] | None = None, keepdims: int = 1) -> Array:
        return reduced(x, axes, keepdims, 0)


for _name, _function in _REDUCTIONS.items():
    _register(_name, _function)


def _place(x: Array, axis: int, keepdims: int, last: int, find: Callable[..., Any]) -> Array:
    if last:
        found = x.shape[axis] - 1 - np.asarray(find(np.flip(x, axis), axis=axis))
    else:
        found = np.asarray(find(x, axis=axis))
    return np.asarray(np.expand_dims(found, axis) if keepdims else found, np.int64)


@operator("ArgMax")
def _arg_max(x: Array, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Array:
    return _place(x, axis, keepdims, select_last_index, np.argmax)


@operator("ArgMin")
def _arg_min(x: Array, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Array:
    return _place(x, axis, keepdims, select_last_index, np.argmin)


def _running(function: Callable[..., Any], first: int) -> Callable[..., Array]:
    def run(x: Array, axis: Array, *, exclusive: int = 0, reverse: int = 0) -> Array:
        along = int(np.asarray(axis).reshape(-1)[0])
        whole = np.flip(x, along) if reverse else x
        result = np.asarray(function(whole, axis=along, dtype=x.dtype))
        if exclusive:
            shifted = np.full_like(result, first)
            kept = np.moveaxis(result, along, 0)[:-1]
            np.moveaxis(shifted, along, 0)[1:] = kept
            result = shifted
        return np.flip(result, along) if reverse else result

    return run


operator("CumSum")(_running(np.cumsum, 0))
operator("CumProd")(_running(np.cumprod, 1))


@operator("GlobalAveragePool")
def _global_average_pool(x: Array) -> Array:
    return np.asarray(np.mean(x, axis=tuple(range(2, x.ndim)), keepdims=True))


@operator("GlobalMaxPool")
def _global_max_pool(x: Array) -> Array:
    return np.asarray(np.max(x, axis=tuple(range(2, x.ndim)), keepdims=True))


@operator("GlobalLpPool")
def _global_lp_pool(x: Array, *, p: int = 2) -> Array:
    total = np.sum(np.abs(x) ** p, axis=tuple(range(2, x.ndim)), keepdims=True)
    return np.asarray(total ** (1 / p))


@operator("LpNormalization")
def _lp_normalization(x: Array, *, axis: int = -1, p: int = 2) -> Array:
    """A row of zeros stays zeros."""
    norm = np.sum(np.abs(x), axis, keepdims=True) if p == 1 else np.sqrt(np.sum(x * x, axis, keepdims=True))
    return np.asarray(np.divide(x, norm, out=np.zeros_like(x), where=norm != 0))
