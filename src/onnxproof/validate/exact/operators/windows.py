"""How windows lie on a grid of cells: padding, dilation, strides."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor
from torch.nn import functional

Pads = Sequence[tuple[int, int]]
"""Cells before and after, of each spatial axis."""


def padding(
    auto_pad: str,
    pads: Sequence[int] | None,
    sizes: Sequence[int],
    extents: Sequence[int],
    strides: Sequence[int],
) -> list[tuple[int, int]]:
    """Cells before and after, of each spatial axis. ``extents`` are those of the dilated kernel."""
    count = len(sizes)
    if auto_pad in ("NOTSET", ""):
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


def padded(x: Tensor, pads: Pads, value: float = 0.0) -> Tensor:
    """Cells added around, or cut off where the number is negative."""
    if not any(cells for pair in pads for cells in pair):
        return x
    flat = [cells for pair in reversed(pads) for cells in pair]
    return functional.pad(x, flat, value=value)


def extents_of(kernel: Sequence[int], dilations: Sequence[int]) -> list[int]:
    """How many cells a dilated kernel reaches over, along each axis."""
    return [(size - 1) * step + 1 for size, step in zip(kernel, dilations, strict=True)]


def each(numbers: Sequence[int] | None, rank: int) -> list[int]:
    """One number for each spatial axis, 1 if they are left out."""
    return [1] * rank if numbers is None else list(numbers)


@dataclass(frozen=True, slots=True)
class Pooling:
    """A pool's windows. ``wider`` are the pads with what ``ceil_mode`` adds after the picture."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    wider: tuple[tuple[int, int], ...]

    @classmethod
    def of(
        cls,
        sizes: Sequence[int],
        kernel_shape: Sequence[int],
        *,
        auto_pad: str = "NOTSET",
        ceil_mode: int = 0,
        dilations: Sequence[int] | None = None,
        pads: Sequence[int] | None = None,
        strides: Sequence[int] | None = None,
    ) -> "Pooling":
        """From a node's attributes.

        A window that would start in the padding after the picture is left out, as PyTorch and ONNX Runtime
        do.
        """
        rank = len(kernel_shape)
        steps, dilated = each(strides, rank), each(dilations, rank)
        extents = extents_of(kernel_shape, dilated)
        around = padding(auto_pad, pads, sizes, extents, steps)
        wider = []
        for size, extent, stride, (before, after) in zip(sizes, extents, steps, around, strict=True):
            free = before + size + after - extent
            if free < 0:
                raise ValueError(f"a pool's window of {extent} does not fit into {size} cells")
            count = -(-free // stride) if ceil_mode else free // stride
            if ceil_mode and count * stride >= size + before:
                count -= 1
            wider.append((before, max(after, count * stride + extent - before - size)))
        return cls(tuple(kernel_shape), tuple(steps), tuple(dilated), tuple(around), tuple(wider))

    @property
    def added(self) -> list[tuple[int, int]]:
        """What ``ceil_mode`` adds beyond the pads."""
        pairs = zip(self.pads, self.wider, strict=True)
        return [(wide[0] - pad[0], wide[1] - pad[1]) for pad, wide in pairs]

    @property
    def cells(self) -> int:
        """How many cells a window has."""
        return int(np.prod(self.kernel))
