"""Convolutions."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from onnxproof.validate.exact.arrays import Array, to_numpy, to_tensor
from onnxproof.validate.exact.operators.windows import each, extents_of, padded, padding
from onnxproof.validate.exact.registry import operator
from onnxproof.wrappers.double.convolution import convolve as faster

WINDOW = ("auto_pad", "dilations", "group", "pads", "strides")
"""The attributes of a convolution that ``convolve`` takes."""

_CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSED = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d}


def convolve(
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
    """The convolution of [n, c, d1, ...] with [m, c / group, k1, ...]."""
    rank = x.ndim - 2
    if rank not in _CONVOLUTIONS:
        raise NotImplementedError(f"a convolution over {rank} axes")
    steps, dilated = each(strides, rank), each(dilations, rank)
    around = padding(auto_pad, pads, x.shape[2:], extents_of(w.shape[2:], dilated), steps)
    whole, weights = padded(to_tensor(x), around), to_tensor(w)
    result = faster(whole, weights, steps, dilated, group)
    if result is None:
        result = _CONVOLUTIONS[rank](whole, weights, None, steps, 0, dilated, group)
    if b is not None:
        result = result + to_tensor(b).reshape(-1, *[1] * rank)
    return to_numpy(result)


operator("Conv", ignores=("kernel_shape",))(convolve)


@operator("ConvTranspose", ignores=("kernel_shape",))
def conv_transpose(
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
    """The transposed convolution of [n, c, d1, ...] with [c, m / group, k1, ...]: unpadded, then cut."""
    rank = x.ndim - 2
    steps, dilated = each(strides, rank), each(dilations, rank)
    extra = [0] * rank if output_padding is None else list(output_padding)
    sizes = [
        (size - 1) * step + extent + more
        for size, step, extent, more in zip(
            x.shape[2:], steps, extents_of(w.shape[2:], dilated), extra, strict=True
        )
    ]
    asked = output_shape
    if asked is None and auto_pad.startswith("SAME"):
        asked = [size * step for size, step in zip(x.shape[2:], steps, strict=True)]
    if asked is None:
        flat = [0] * (2 * rank) if pads is None or auto_pad == "VALID" else list(pads)
        cut = list(zip(flat[:rank], flat[rank:], strict=True))
    else:
        cut = [_halves(size - want, auto_pad) for size, want in zip(sizes, asked[-rank:], strict=True)]
    whole = _TRANSPOSED[rank](to_tensor(x), to_tensor(w), None, steps, 0, 0, group, dilated)
    after = [(0, more) for more in extra]
    whole = padded(padded(whole, after), [(-before, -behind) for before, behind in cut])
    if b is not None:
        whole = whole + to_tensor(b).reshape(-1, *[1] * rank)
    return to_numpy(whole.contiguous())


def _halves(total: int, auto_pad: str) -> tuple[int, int]:
    """How a transposed convolution divides what it cuts off, so that a size comes out that was asked for.

    The larger half is cut at the start, with SAME_UPPER at the end. Nothing is cut if too little is there.
    """
    if total < 0:
        return 0, total
    small, large = total // 2, total - total // 2
    return (small, large) if auto_pad == "SAME_UPPER" else (large, small)


@operator("DeformConv", ignores=("kernel_shape",))
def _deform_conv(
    x: Array,
    w: Array,
    offset: Array,
    b: Array | None = None,
    mask: Array | None = None,
    *,
    dilations: Sequence[int] | None = None,
    group: int = 1,
    offset_group: int = 1,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Array:
    """A convolution of which each tap is moved by an offset (Dai et al. 2017) and weighted by a mask.

    ``offset`` [n, offset_group * taps * 2, h, w] holds down and across of each tap. A neighbour that lies
    outside of the picture counts as 0.
    """
    if x.ndim != 4:
        raise NotImplementedError(f"a deformable convolution over {x.ndim - 2} axes")
    n, c, height, width = x.shape
    m, taps = w.shape[0], w.shape[2] * w.shape[3]
    steps, dilated = each(strides, 2), each(dilations, 2)
    (top, _), (left, _) = padding("NOTSET", pads, x.shape[2:], w.shape[2:], steps)
    down, across = offset.shape[2:]
    rows, columns = np.divmod(np.arange(taps), w.shape[3])
    base_y = (rows * dilated[0])[:, None, None] + (np.arange(down) * steps[0] - top)[None, :, None]
    base_x = (columns * dilated[1])[:, None, None] + (np.arange(across) * steps[1] - left)[None, None, :]
    moves = to_tensor(offset).reshape(n, offset_group, taps, 2, down, across)
    weights = None if mask is None else to_tensor(mask).reshape(n, offset_group, 1, taps, down, across)
    pictures = to_tensor(x).reshape(n, offset_group, c // offset_group, height * width)
    filters = to_tensor(w).reshape(group, m // group, c // group * taps)
    result = torch.empty((n, m, down, across), dtype=torch.float64)
    for one in range(n):
        parts = []
        for part in range(offset_group):
            y, z = moves[one, part, :, 0] + to_tensor(base_y), moves[one, part, :, 1] + to_tensor(base_x)
            sampled = _sampled(pictures[one, part], y, z, height, width)
            parts.append(sampled if weights is None else sampled * weights[one, part])
        columns_of = torch.cat(parts).reshape(group, c // group * taps, down * across)
        result[one] = torch.bmm(filters, columns_of).reshape(m, down, across)
    if b is not None:
        result = result + to_tensor(b).reshape(-1, 1, 1)
    return to_numpy(result)


def _sampled(flat: Tensor, y: Tensor, x: Tensor, height: int, width: int) -> Tensor:
    """``flat`` [c, height * width], interpolated at the places y, x [...]: [c, ...]."""
    low_y, low_x = y.floor(), x.floor()
    total = flat.new_zeros((flat.shape[0], *y.shape))
    for i in (0, 1):
        for j in (0, 1):
            row, column = low_y + i, low_x + j
            weight = (1 - (y - row).abs()) * (1 - (x - column).abs())
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            place = torch.where(inside, row * width + column, torch.zeros_like(row)).long()
            taken = flat[:, place.reshape(-1)].reshape(total.shape)
            total += taken * torch.where(inside, weight, torch.zeros_like(weight))
    return total
