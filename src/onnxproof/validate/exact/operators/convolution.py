"""Convolutions and pools."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from onnxproof.validate.exact.arrays import Array, to_numpy, to_tensor
from onnxproof.validate.exact.errors import UnsupportedNodeError
from onnxproof.validate.exact.registry import operator


def _pads(
    auto_pad: str,
    pads: Sequence[int] | None,
    sizes: Sequence[int],
    extents: Sequence[int],
    strides: Sequence[int],
) -> list[tuple[int, int]]:
    """Cells before and after, of each spatial axis. ``extents``: of the dilated kernel."""
    count = len(sizes)
    if auto_pad in ("NOTSET", "", None):
        flat = [0] * (2 * count) if pads is None else list(pads)
        return [(flat[axis], flat[axis + count]) for axis in range(count)]
    if auto_pad == "VALID":
        return [(0, 0)] * count
    result = []
    for size, extent, stride in zip(sizes, extents, strides, strict=True):
        whole = max((-(-size // stride) - 1) * stride + extent - size, 0)
        small, large = whole // 2, whole - whole // 2
        result.append((small, large) if auto_pad == "SAME_UPPER" else (large, small))
    return result


def _padded(x: Tensor, pads: Sequence[tuple[int, int]], value: float = 0.0) -> Tensor:
    if not any(cells for pair in pads for cells in pair):
        return x
    flat = [cells for pair in reversed(pads) for cells in pair]
    return functional.pad(x, flat, value=value)


def _extents(kernel: Sequence[int], dilations: Sequence[int]) -> list[int]:
    return [(size - 1) * step + 1 for size, step in zip(kernel, dilations, strict=True)]


_CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSED = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d}
_MAX_POOLS: dict[int, Any] = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}


@operator("Conv", ignores=("kernel_shape",))
def _conv(
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Sequence[int] | None = None,
    group: int = 1,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Array:
    """Convolution of [n, c, d1, ...] with [m, c / group, k1, ...]."""
    rank = x.ndim - 2
    strides = [1] * rank if strides is None else list(strides)
    dilations = [1] * rank if dilations is None else list(dilations)
    around = _pads(auto_pad, pads, x.shape[2:], _extents(w.shape[2:], dilations), strides)
    padded = _padded(to_tensor(x), around)
    if rank == 2 and group == x.shape[1] == w.shape[0]:
        result = _depthwise(padded, to_tensor(w), strides, dilations)
    else:
        result = _CONVOLUTIONS[rank](padded, to_tensor(w), None, strides, 0, dilations, group)
    if b is not None:
        result = result + to_tensor(b).reshape(-1, *[1] * rank)
    return to_numpy(result)


def _depthwise(x: Tensor, w: Tensor, strides: Sequence[int], dilations: Sequence[int]) -> Tensor:
    """One filter a channel: a sum of shifted pictures. PyTorch's own goes channel by channel in float64."""
    free = [size - extent for size, extent in zip(x.shape[2:], _extents(w.shape[2:], dilations), strict=True)]
    down, across = (cells // stride + 1 for cells, stride in zip(free, strides, strict=True))
    if min(free) < 0:
        raise ValueError(f"Conv: a kernel {tuple(w.shape[2:])} does not fit into {tuple(x.shape[2:])}")
    total = x.new_zeros((x.shape[0], x.shape[1], down, across))
    for i in range(w.shape[2]):
        for j in range(w.shape[3]):
            top, left = i * dilations[0], j * dilations[1]
            rows = slice(top, top + (down - 1) * strides[0] + 1, strides[0])
            columns = slice(left, left + (across - 1) * strides[1] + 1, strides[1])
            total.addcmul_(x[:, :, rows, columns], w[:, 0, i, j].reshape(-1, 1, 1))
    return total


@operator("ConvTranspose", ignores=("kernel_shape",))
def _conv_transpose(
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Sequence[int] | None = None,
    group: int = 1,
    output_padding: Sequence[int] | None = None,
    output_shape: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Array:
    """Transposed convolution of [n, c, d1, ...] with [c, m / group, k1, ...]: computed unpadded, then cut."""
    rank = x.ndim - 2
    strides = [1] * rank if strides is None else list(strides)
    dilations = [1] * rank if dilations is None else list(dilations)
    extra = [0] * rank if output_padding is None else list(output_padding)
    extents = _extents(w.shape[2:], dilations)
    if output_shape is not None or auto_pad not in ("NOTSET", "", None):
        raise UnsupportedNodeError("ConvTranspose with output_shape or auto_pad")
    flat = [0] * (2 * rank) if pads is None else list(pads)
    whole = _TRANSPOSED[rank](to_tensor(x), to_tensor(w), None, strides, 0, 0, group, dilations)
    whole = _padded(whole, [(0, cells) for cells in extra])
    for axis, (size, extent) in enumerate(zip(x.shape[2:], extents, strict=True)):
        length = (size - 1) * strides[axis] + extent + extra[axis] - flat[axis] - flat[axis + rank]
        whole = whole.narrow(axis + 2, flat[axis], length)
    if b is not None:
        whole = whole + to_tensor(b).reshape(-1, *[1] * rank)
    return to_numpy(whole.contiguous())


def _pool_plan(
    x: Array,
    kernel_shape: Sequence[int],
    auto_pad: str,
    ceil_mode: int,
    dilations: Sequence[int] | None,
    pads: Sequence[int] | None,
    strides: Sequence[int] | None,
) -> tuple[list[int], list[int], list[tuple[int, int]], list[tuple[int, int]]]:
    """Strides, dilations, pads, and pads with what ``ceil_mode`` adds after. A window that would start in the
    padding after the picture is left out, as PyTorch and ONNX Runtime do."""
    rank = len(kernel_shape)
    strides = [1] * rank if strides is None else list(strides)
    dilations = [1] * rank if dilations is None else list(dilations)
    extents = _extents(kernel_shape, dilations)
    around = _pads(auto_pad, pads, x.shape[2:], extents, strides)
    wider = []
    for size, extent, stride, (before, after) in zip(x.shape[2:], extents, strides, around, strict=True):
        free = before + size + after - extent
        if free < 0:
            raise ValueError(f"a pool's window of {extent} does not fit into {size} cells")
        steps = -(-free // stride) if ceil_mode else free // stride
        if ceil_mode and steps * stride >= size + before:
            steps -= 1
        wider.append((before, max(after, steps * stride + extent - before - size)))
    return strides, dilations, around, wider


@operator("MaxPool", ignores=("storage_order",))
def _max_pool(
    x: Array,
    *,
    kernel_shape: Sequence[int],
    wanted: int,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Array:
    if wanted > 1:
        raise UnsupportedNodeError("MaxPool with indices")
    plan = _pool_plan(x, kernel_shape, auto_pad, ceil_mode, dilations, pads, strides)
    strides, dilations, _around, wider = plan
    padded = _padded(to_tensor(x.astype(np.float64)), wider, -np.inf)
    pool: Callable[..., Tensor] = _MAX_POOLS[len(kernel_shape)]
    return to_numpy(pool(padded, kernel_shape, strides, 0, dilations)).astype(x.dtype)


@operator("AveragePool")
def _average_pool(
    x: Array,
    *,
    kernel_shape: Sequence[int],
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    dilations: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Array:
    """Sums over windows, divided by the cells that count: not what ``ceil_mode`` adds."""
    plan = _pool_plan(x, kernel_shape, auto_pad, ceil_mode, dilations, pads, strides)
    strides, dilations, around, wider = plan
    rank = len(kernel_shape)
    ones = torch.ones((1, 1, *kernel_shape), dtype=torch.float64)
    cells = torch.ones((1, 1, *x.shape[2:]), dtype=torch.float64)
    added = [(wide[0] - pad[0], wide[1] - pad[1]) for pad, wide in zip(around, wider, strict=True)]
    counted = _padded(_padded(cells, around, 1.0 if count_include_pad else 0.0), added)
    padded = _padded(to_tensor(x), wider)
    flat = padded.reshape(-1, 1, *padded.shape[2:])
    convolve = _CONVOLUTIONS[rank]
    sums, counts = (convolve(cells, ones, None, strides, 0, dilations) for cells in (flat, counted))
    result = sums / counts
    return to_numpy(result.reshape(*x.shape[:2], *result.shape[2:]))
