"""Overlaps of many boxes with many in NumPy, in the arithmetic of torchvision's CPU kernel."""

import math
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.floating[Any]]


def columns_of(boxes: Floats) -> Floats:
    """Boxes ``[N, 4]`` as contiguous rows ``[5, N]``: x2, y2, -x1, -y1, area.

    With these signs one call finds all four sides of an intersection, and a negation rounds nothing.
    """
    columns = np.empty((5, len(boxes)), dtype=boxes.dtype)
    corners = boxes.T
    columns[:2] = corners[2:]
    np.negative(corners[:2], out=columns[2:4])
    width, height = columns[:2] + columns[2:4]
    np.multiply(width, height, out=columns[4])
    return columns


class Tile:
    """Scratch for the overlaps of up to ``pairs`` pairs of boxes, written in place over and over.

    Each operation is that of torchvision's kernel for the pair, in the same order and dtype. The only
    difference is ``maximum(NaN, 0)``, which is 0 in C++. It needs a box whose area is NaN, and then the IoU
    is NaN in both.
    """

    def __init__(self, dtype: np.dtype[Any], pairs: int) -> None:
        self._planes = np.empty(4 * pairs, dtype=dtype)
        # maximum() of two planes is vectorised; of a plane and one zero it was five times slower.
        self._zeros = np.zeros(2 * pairs, dtype=dtype)

    def outer(self, first: Floats, second: Floats) -> Floats:
        """``[5, K]`` and ``[5, M]`` columns to ``[K, M]`` overlaps: a view that lasts until the next call."""
        shape = (first.shape[1], second.shape[1])
        return self.iou(first[:, :, np.newaxis], second[:, np.newaxis], shape)

    def iou(self, first: Floats, second: Floats, shape: tuple[int, ...]) -> Floats:
        """Overlaps of columns whose axes after the first broadcast to ``shape``: a view as ``outer``'s."""
        size = math.prod(shape)
        planes = self._planes
        sides = planes[: 4 * size].reshape(4, *shape)
        np.minimum(first[:4], second[:4], out=sides)
        lengths = planes[: 2 * size]
        np.add(lengths, planes[2 * size : 4 * size], out=lengths)
        np.maximum(lengths, self._zeros[: 2 * size], out=lengths)
        inter: Floats = sides[0]
        union: Floats = sides[2]
        np.multiply(inter, sides[1], out=inter)
        np.add(first[4], second[4], out=union)
        np.subtract(union, inter, out=union)
        np.divide(inter, union, out=inter)
        return inter
