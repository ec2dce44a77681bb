"""Convolutions in float64, faster than PyTorch's own.

PyTorch has no kernel of oneDNN for float64. It copies each window of a picture into a column (im2col), for
the whole picture at a time, which leaves the cache: a 3x3 kernel writes and reads nine times the picture.
Here each cell of the kernel is one product of matrices with the picture as it lies, shifted by where the cell
is, a block of positions after the other.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

LEAST_COLUMNS = 1 << 21
"""Numbers in the columns of all pictures below which PyTorch's own is as fast, as timed from 13 to 416 pixels
and in three dimensions. From twice that on it is 2 to 7 times as slow: each call gets new pages."""

BLOCK = 1 << 17
"""Numbers of a block, of the picture and of the result together: 1 MiB."""

LEAST_BLOCK = 256
"""Positions below which a product costs more to call than to compute."""


def convolution(
    x: Tensor,
    w: Tensor,
    b: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    _: Sequence[int],
    groups: int,
) -> Tensor | None:
    """``aten::convolution``. Returns None where PyTorch has to do it."""
    if transposed or x.ndim - 2 != len(padding):
        return None
    found = convolve(x, w, stride, dilation, groups, padding)
    return found if found is None or b is None else found.add_(b.reshape(-1, *[1] * len(padding)))


FASTER: Mapping[Any, Callable[..., Any]] = {torch.ops.aten.convolution.default: convolution}
"""What carries out an operation faster than PyTorch, or returns None where it does not."""


def convolve(
    x: Tensor,
    w: Tensor,
    strides: Sequence[int],
    dilations: Sequence[int],
    groups: int,
    pads: Sequence[int] = (),
) -> Tensor | None:
    """The convolution of ``x`` [n, c, d1, ...] with ``w`` [m, c / groups, k1, ...].

    Args:
        pads: cells of zero that are put before and after the picture, along each of its axes. None if it has
            them already.

    Returns:
        ``[n, m, o1, ...]``, float64, or None where PyTorch's own is as fast or says what is wrong: a few
        numbers, another dtype, groups of several channels, or a kernel that does not fit.
    """
    if not (x.dtype == w.dtype == torch.float64 and x.ndim == w.ndim and x.device.type == "cpu"):
        return None
    kernel, pads = w.shape[2:], pads or [0] * (x.ndim - 2)
    extents = [(size - 1) * step + 1 for size, step in zip(kernel, dilations, strict=True)]
    found = [
        (cells + 2 * around - extent) // stride + 1
        for cells, around, extent, stride in zip(x.shape[2:], pads, extents, strides, strict=True)
    ]
    if x.shape[1] != w.shape[1] * groups or min(*found, *x.shape[:2]) < 1:
        return None
    columns = math.prod(x.shape[:2]) * math.prod(kernel) * math.prod(found)
    depthwise = groups == x.shape[1] == w.shape[0]
    if not depthwise and (groups > 1 or columns < LEAST_COLUMNS or max(kernel) == 1):
        return None
    if any(pads):
        x = torch.nn.functional.pad(x, [around for around in reversed(pads) for _ in range(2)])
    if depthwise:
        return _depthwise(x, w, strides, dilations, found)
    return _by_products(x, w, strides, dilations, found)


def _depthwise(
    x: Tensor, w: Tensor, strides: Sequence[int], dilations: Sequence[int], found: Sequence[int]
) -> Tensor:
    """One filter a channel: a sum of shifted pictures. PyTorch's own goes channel by channel."""
    total = x.new_zeros((*x.shape[:2], *found))
    columns = w.flatten(1).unbind(1)
    for weights, cell in zip(columns, itertools.product(*map(range, w.shape[2:])), strict=True):
        shifted = tuple(
            slice(at * dilation, at * dilation + (count - 1) * stride + 1, stride)
            for at, dilation, count, stride in zip(cell, dilations, found, strides, strict=True)
        )
        total.addcmul_(x[(slice(None), slice(None), *shifted)], weights.reshape(-1, *[1] * len(found)))
    return total


def _by_products(
    x: Tensor, w: Tensor, strides: Sequence[int], dilations: Sequence[int], found: Sequence[int]
) -> Tensor:
    """A sum of products, one a cell of the kernel.

    With strides the picture is split into the grids of its phases, so that the cells of a product lie side by
    side. All grids have one size. In a flattened grid, a shift along every axis is one offset. Between the
    rows of the result lie positions that mean nothing; they are cut off at the end.
    """
    grid = [-(-cells // stride) for cells, stride in zip(x.shape[2:], strides, strict=True)]
    along = [math.prod(grid[axis + 1 :]) for axis in range(len(grid))]
    grids: dict[tuple[int, ...], Tensor] = {}
    cells: list[tuple[Tensor, int, Tensor]] = []
    matrices = w.flatten(2).unbind(2)
    for weights, cell in zip(matrices, itertools.product(*map(range, w.shape[2:])), strict=True):
        at = [index * dilation for index, dilation in zip(cell, dilations, strict=True)]
        phase = tuple(place % stride for place, stride in zip(at, strides, strict=True))
        if phase not in grids:
            grids[phase] = _phase(x, phase, strides, grid)
        offset = sum(place // stride * step for place, stride, step in zip(at, strides, along, strict=True))
        cells.append((grids[phase], offset, weights.contiguous()))
    wide = x.new_empty((x.shape[0], w.shape[0], found[0], *grid[1:]))
    last = sum((count - 1) * step for count, step in zip(found, along, strict=True)) + 1
    block = max(LEAST_BLOCK, BLOCK // (x.shape[1] + w.shape[0]))
    for picture, result in enumerate(wide.flatten(2)):
        for start in range(0, last, block):
            end = min(last, start + block)
            part = result[:, start:end]
            for index, (source, offset, matrix) in enumerate(cells):
                shifted = source[picture, :, start + offset : end + offset]
                if index == 0:
                    torch.mm(matrix, shifted, out=part)
                else:
                    part.addmm_(matrix, shifted)
    within = [slice(count) for count in found]
    return wide[(slice(None), slice(None), *within)].contiguous()


def _phase(x: Tensor, phase: Sequence[int], strides: Sequence[int], grid: Sequence[int]) -> Tensor:
    """Every so-and-so-many-th cell from ``phase`` on, flattened: [n, c, prod(grid)]."""
    places = [slice(first, None, stride) for first, stride in zip(phase, strides, strict=True)]
    taken = x[(slice(None), slice(None), *places)]
    missing = [whole - cells for whole, cells in zip(grid, taken.shape[2:], strict=True)]
    if any(missing):
        taken = torch.nn.functional.pad(taken, [cells for more in reversed(missing) for cells in (0, more)])
    return taken.flatten(2).contiguous()
