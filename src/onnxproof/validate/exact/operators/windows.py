"""How windows lie on a grid of cells: padding, dilation, strides."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from onnxproof.validate.exact.errors import ForbiddenNodeError

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
    """A pool's windows. ``counts`` is how many there are along each axis. ``wider`` are the pads with what
    ``ceil_mode`` adds after the picture."""

    counts: tuple[int, ...]
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
        do. With ``ceil_mode`` a window may be larger than the padded picture: there is one, cut to it, if it
        is larger by less than a stride. If it is larger by a stride there is none, and the output is empty.

        Raises ForbiddenNodeError if the output's size is negative, and without ``ceil_mode`` if the window is
        larger than the padded picture: by ONNX's formula nothing is left, and PyTorch refuses it. ONNX
        Runtime gives one window, since its division of integers cuts off and does not round down.
        """
        rank = len(kernel_shape)
        steps, dilated = each(strides, rank), each(dilations, rank)
        extents = extents_of(kernel_shape, dilated)
        around = padding(auto_pad, pads, sizes, extents, steps)
        counts, kernel, wider = [], list(kernel_shape), []
        for axis, (size, extent, stride) in enumerate(zip(sizes, extents, steps, strict=True)):
            before, after = around[axis]
            whole = before + size + after
            free = whole - extent
            count = (-(-free // stride) if ceil_mode else free // stride) + 1
            if ceil_mode and (count - 1) * stride >= size + before:
                count -= 1
            if count < 0 or (free < 0 and not ceil_mode and free != -stride):
                raise ForbiddenNodeError(
                    f"a window of {extent} cells does not fit into {whole}: by ONNX's formula none is left, "
                    "whatever a runtime makes of it"
                )
            if free < 0:
                # One window at most. Taps beyond the padded picture count for nothing.
                kernel[axis] = max((whole - 1) // dilated[axis] + 1, 1)
                steps[axis] = max(whole, 1)
            counts.append(count)
            end = (count - 1) * steps[axis] + (kernel[axis] - 1) * dilated[axis] + 1
            wider.append((before, max(after, end - before - size)))
        return cls(*(tuple(counts), tuple(kernel), tuple(steps), tuple(dilated)), tuple(around), tuple(wider))

    @property
    def empty(self) -> bool:
        """Whether there is no window."""
        return not all(self.counts)

    @property
    def added(self) -> list[tuple[int, int]]:
        """What ``ceil_mode`` adds beyond the pads."""
        pairs = zip(self.pads, self.wider, strict=True)
        return [(wide[0] - pad[0], wide[1] - pad[1]) for pad, wide in pairs]
