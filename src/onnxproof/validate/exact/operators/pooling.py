"""Pools, and what undoes them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from onnxproof.validate.exact.arrays import Array, to_numpy, to_tensor
from onnxproof.validate.exact.errors import UnsupportedNodeError
from onnxproof.validate.exact.operators.windows import Pooling, each, padded
from onnxproof.validate.exact.registry import operator

_CONVOLUTIONS: dict[int, Any] = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_MAX_POOLS: dict[int, Any] = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
_WINDOW = ("auto_pad", "ceil_mode", "dilations", "pads", "strides")


@operator("MaxPool", accepts=_WINDOW)
def max_pool(
    x: Array, *, kernel_shape: Sequence[int], storage_order: int = 0, wanted: int = 1, **window: Any
) -> Array | tuple[Array, Array]:
    """The largest cell of each window and, if asked for, its place in the whole array.

    With ``storage_order`` the place counts as if a picture's first axis changed fastest.
    """
    plan = Pooling.of(x.shape[2:], kernel_shape, **window)
    if plan.empty:
        nothing = _none(x, plan)
        return nothing if wanted < 2 else (nothing, nothing.astype(np.int64))
    whole = padded(to_tensor(x.astype(np.float64)), plan.wider, -np.inf)
    pool = _MAX_POOLS[len(kernel_shape)]
    if wanted < 2:
        return to_numpy(pool(whole, plan.kernel, plan.strides, 0, plan.dilations)).astype(x.dtype)
    largest, places = pool(whole, plan.kernel, plan.strides, 0, plan.dilations, return_indices=True)
    cells = np.unravel_index(to_numpy(places), tuple(whole.shape[2:]))
    inner = tuple(cell - before for cell, (before, _) in zip(cells, plan.wider, strict=True))
    order = "F" if storage_order else "C"
    if any(np.any((cell < 0) | (cell >= size)) for cell, size in zip(inner, x.shape[2:], strict=True)):
        raise UnsupportedNodeError("the place of the largest cell of a window that holds padding alone")
    flat = np.ravel_multi_index(inner, x.shape[2:], order=order)  # type: ignore[call-overload]
    pictures = np.arange(x.shape[0] * x.shape[1]).reshape(*x.shape[:2], *[1] * len(kernel_shape))
    return to_numpy(largest).astype(x.dtype), np.asarray(
        flat + pictures * int(np.prod(x.shape[2:])), np.int64
    )


def _none(x: Array, plan: Pooling) -> Array:
    """What a pool without a window gives."""
    return np.zeros((*x.shape[:2], *plan.counts), x.dtype)


def _sums(cells: Tensor, plan: Pooling) -> Tensor:
    """The sum over each window of [n, c, d1, ...]."""
    rank = len(plan.kernel)
    if rank < 3 and max(plan.dilations) == 1:
        kernel, strides = ((1, *given) if rank == 1 else given for given in (plan.kernel, plan.strides))
        flat = cells.unsqueeze(2) if rank == 1 else cells
        summed = functional.avg_pool2d(flat, kernel, strides, divisor_override=1)
        return summed.squeeze(2) if rank == 1 else summed
    ones = torch.ones((1, 1, *plan.kernel), dtype=torch.float64)
    single = cells.reshape(-1, 1, *cells.shape[2:])
    summed = _CONVOLUTIONS[rank](single, ones, None, plan.strides, 0, plan.dilations)
    return torch.as_tensor(summed).reshape(*cells.shape[:2], *summed.shape[2:])


@operator("AveragePool", accepts=_WINDOW)
def average_pool(
    x: Array, *, kernel_shape: Sequence[int], count_include_pad: int = 0, **window: Any
) -> Array:
    """Sums over windows, divided by the cells that count: not what ``ceil_mode`` adds. The mean
    of a window without a cell that counts is 0.
    """
    plan = Pooling.of(x.shape[2:], kernel_shape, **window)
    if plan.empty:
        return _none(x, plan)
    cells = torch.ones((1, 1, *x.shape[2:]), dtype=torch.float64)
    counted = padded(padded(cells, plan.pads, 1.0 if count_include_pad else 0.0), plan.added)
    return to_numpy(_sums(padded(to_tensor(x), plan.wider), plan) / _sums(counted, plan).clamp(min=1.0))


@operator("LpPool", accepts=_WINDOW)
def _lp_pool(x: Array, *, kernel_shape: Sequence[int], p: int = 2, **window: Any) -> Array:
    plan = Pooling.of(x.shape[2:], kernel_shape, **window)
    if plan.empty:
        return _none(x, plan)
    return to_numpy(_sums(padded(to_tensor(np.abs(x) ** p), plan.wider), plan) ** (1 / p))


@operator("MaxUnpool")
def _max_unpool(
    x: Array,
    places: Array,
    output_shape: Array | None = None,
    *,
    kernel_shape: Sequence[int],
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Array:
    """Each number at its place, zeros elsewhere.

    The places are those of the smallest picture that the pool could have had; a larger one that is asked for
    holds it at its start.
    """
    rank = len(kernel_shape)
    steps = each(strides, rank)
    flat = [0] * (2 * rank) if pads is None else list(pads)
    sizes = [
        (x.shape[2 + axis] - 1) * steps[axis] - flat[axis] - flat[axis + rank] + kernel_shape[axis]
        for axis in range(rank)
    ]
    shape = (*x.shape[:2], *sizes)
    result = np.zeros(int(np.prod(shape)), x.dtype)
    result[places.reshape(-1)] = x.reshape(-1)
    whole = result.reshape(shape)
    if output_shape is None:
        return whole
    asked = tuple(int(size) for size in output_shape)
    return np.pad(whole, [(0, want - size) for want, size in zip(asked, shape, strict=True)])


@operator("Col2Im")
def _col2_im(
    x: Array,
    image_shape: Array,
    block_shape: Array,
    *,
    dilations: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Array:
    """Blocks [n, c * taps, blocks], added up where they lie in the picture."""
    image, block = ([int(size) for size in shape] for shape in (image_shape, block_shape))
    rank = len(image)
    steps, dilated = each(strides, rank), each(dilations, rank)
    around = [0] * (2 * rank) if pads is None else list(pads)
    whole = [size + around[axis] + around[axis + rank] for axis, size in enumerate(image)]
    counts = [
        (size - (taps - 1) * dilation - 1) // step + 1
        for size, taps, dilation, step in zip(whole, block, dilated, steps, strict=True)
    ]
    parts = x.reshape(x.shape[0], -1, int(np.prod(block)), *counts)
    result = np.zeros((*parts.shape[:2], *whole), x.dtype)
    for tap, place in enumerate(np.ndindex(*block)):
        slices = tuple(
            slice(at * dilation, at * dilation + (count - 1) * step + 1, step)
            for at, dilation, count, step in zip(place, dilated, counts, steps, strict=True)
        )
        result[:, :, *slices] += parts[:, :, tap]
    inner = tuple(slice(around[axis], around[axis] + size) for axis, size in enumerate(image))
    return result[:, :, *inner]


@operator("MaxRoiPool")
def _max_roi_pool(x: Array, rois: Array, *, pooled_shape: Sequence[int], spatial_scale: float = 1.0) -> Array:
    """``rois`` [n, 5]: the picture's index, x0, y0, x1, y1, rounded to whole cells, both ends inside."""
    height, width = x.shape[2:]
    result = np.zeros((len(rois), x.shape[1], *pooled_shape))
    for number, roi in enumerate(rois):
        left, top, right, bottom = np.floor(roi[1:] * spatial_scale + 0.5).astype(int)
        down, across = max(bottom - top + 1, 1), max(right - left + 1, 1)
        for row in range(pooled_shape[0]):
            rows = _cells(top, down, row, pooled_shape[0], height)
            for column in range(pooled_shape[1]):
                part = x[int(roi[0]), :, rows, _cells(left, across, column, pooled_shape[1], width)]
                if part.size:
                    result[number, :, row, column] = part.max(axis=(1, 2))
    return result


def _cells(start: int, length: int, cell: int, cells: int, size: int) -> slice:
    low = start + int(np.floor(cell * length / cells))
    high = start + int(np.ceil((cell + 1) * length / cells))
    return slice(min(max(low, 0), size), min(max(high, 0), size))
