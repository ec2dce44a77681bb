"""Resampling as Pillow, OpenCV and torchvision do it, to the bit: their results for uint8 are fixed-point.

Two libraries that both say "bilinear" give other pixels. Pillow and torchvision average all pixels that an
output pixel covers; OpenCV looks at four. Pillow's weights have 22 bits, torchvision's 15 at most. A network
sees the difference, and so do the boxes that it finds.

Sources: OpenCV's modules/imgproc/src/resize.cpp (resizeGeneric_, HResizeLinear, VResizeLinear); PyTorch's
aten/src/ATen/native/cpu/UpSampleKernel.cpp (compute_index_ranges_int16_weights, antialias).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onnxproof.contract import Filter

Ints = NDArray[np.int32]
Pixels = NDArray[np.uint8]

OPENCV_BITS = 11
"""The bits of OpenCV's weights (INTER_RESIZE_COEF_BITS)."""

TORCH_MOST_BITS = 22
"""The most bits of torch's weights; they have as many as fit the largest weight into int16."""


def resample(picture: Image.Image, size: tuple[int, int], filter: Filter) -> Image.Image:
    """An RGB picture at another size (width, height), by the library and the filter that are named."""
    library, _, name = filter.partition("-")
    if library == "pillow":
        return picture.resize(size, Image.Resampling[name.upper()])
    if picture.size == size:
        return picture
    pixels = np.asarray(picture)
    resized = _opencv_linear(pixels, size) if library == "opencv" else _torch(pixels, size, _KERNELS[name])
    return Image.fromarray(resized)


def _opencv_linear(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """``cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR)`` for pixels [H, W, 3]."""
    (width, height), (rows, columns) = size, pixels.shape[:2]
    if (columns, rows) == (2 * width, 2 * height):
        # OpenCV answers exact halves with the mean of four pixels (INTER_AREA).
        sums = pixels.astype(np.int32)
        sums = sums[::2] + sums[1::2]
        return ((sums[:, ::2] + sums[:, 1::2] + 2) >> 2).astype(np.uint8)
    at, share = _between(columns, width)
    # At the left and right edge the weight of the pixel outside is dropped; above and below it is kept, and
    # the edge's row stands in for the one outside, which rounds differently.
    share = np.where((at < 0) | (at >= columns - 1), np.float32(0), share)
    near, far = (weight[:, None] for weight in _opencv_weights(share))
    source = pixels.astype(np.int32)
    left = np.clip(at, 0, columns - 1)
    across = source[:, left] * near + source[:, np.minimum(left + 1, columns - 1)] * far
    across >>= 4
    at, share = _between(rows, height)
    near, far = (weight[:, None, None] for weight in _opencv_weights(share))
    above, below = across[np.clip(at, 0, rows - 1)], across[np.clip(at + 1, 0, rows - 1)]
    return ((((above * near) >> 16) + ((below * far) >> 16) + 2) >> 2).astype(np.uint8)


def _between(source: int, target: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """For each target pixel of an axis the source pixel before its centre, and how far the centre is on the
    way to the next, 0..1. As in OpenCV the place is rounded to float32 before it is split."""
    place = ((np.arange(target) + 0.5) * (source / target) - 0.5).astype(np.float32)
    before = np.floor(place)
    return before.astype(np.int64), place - before


def _opencv_weights(share: NDArray[np.float32]) -> tuple[Ints, Ints]:
    """The weights of the pixel before and of the one after, each rounded by itself, half to even."""
    one = np.float32(1 << OPENCV_BITS)
    return np.rint((np.float32(1) - share) * one).astype(np.int32), np.rint(share * one).astype(np.int32)


@dataclass(frozen=True, slots=True)
class _Kernel:
    """An interpolation kernel: its half width in source pixels, and its value at a distance."""

    reach: float
    value: Callable[[NDArray[np.float64]], NDArray[np.float64]]


def _triangle(x: NDArray[np.float64]) -> NDArray[np.float64]:
    value: NDArray[np.float64] = np.maximum(1 - np.abs(x), 0)
    return value


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' kernel with a = -0.5 (Keys 1981)."""
    a, x = -0.5, np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def _lanczos(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)


_KERNELS = {
    "bilinear": _Kernel(1, _triangle),
    "bicubic": _Kernel(2, _cubic),
    "lanczos": _Kernel(3, _lanczos),
}


def _torch(pixels: Pixels, size: tuple[int, int], kernel: _Kernel) -> Pixels:
    """torchvision's ``resize(..., antialias=True)`` of a uint8 tensor, for pixels [H, W, 3].

    It resizes the width, rounds to uint8, then resizes the height, as Pillow does.
    """
    for axis, length in ((1, size[0]), (0, size[1])):
        if pixels.shape[axis] != length:
            pixels = _torch_axis(pixels, axis, length, kernel)
    return pixels


def _torch_axis(pixels: Pixels, axis: int, length: int, kernel: _Kernel) -> Pixels:
    at, weights, bits = _torch_weights(pixels.shape[axis], length, kernel)
    shape = [1, 1, 1]
    shape[axis] = length
    total: NDArray[Any] = np.asarray(1 << (bits - 1), np.int32)
    for tap in range(at.shape[1]):
        total = total + pixels.take(at[:, tap], axis).astype(np.int32) * weights[:, tap].reshape(shape)
    rounded: Pixels = np.clip(total >> bits, 0, 255).astype(np.uint8)
    return rounded


def _torch_weights(source: int, target: int, kernel: _Kernel) -> tuple[NDArray[np.int64], Ints, int]:
    """Which source pixels make each target pixel, [target, taps]; with which weights; and their bits."""
    scale = source / target
    reach, stretch = kernel.reach * max(scale, 1.0), 1 / max(scale, 1.0)
    centre = scale * (np.arange(target) + 0.5)
    first = np.maximum((centre - reach + 0.5).astype(np.int64), 0)
    last = np.minimum((centre + reach + 0.5).astype(np.int64), source)
    at = first[:, None] + np.arange(int((last - first).max()))
    weights = kernel.value((at - centre[:, None] + 0.5) * stretch) * (at < last[:, None])
    weights /= weights.sum(axis=1, keepdims=True)
    largest = float(weights.max())
    bits = next(
        (bits for bits in range(TORCH_MOST_BITS) if int(0.5 + largest * (1 << (bits + 1))) >= 1 << 15),
        TORCH_MOST_BITS,
    )
    whole = np.trunc(weights * (1 << bits) + np.copysign(0.5, weights)).astype(np.int32)
    return np.minimum(at, source - 1), whole, bits
