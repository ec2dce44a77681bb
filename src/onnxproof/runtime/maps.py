"""Maps that a network computes coarser than its picture, brought to the picture's own pixels.

A value belongs to the centre of its pixel. Between the centres, maps are interpolated linearly, or by the
cubic
convolution of Keys 1981 ("Cubic convolution interpolation for digital image processing") with a = -0.75, both
as PyTorch's ``interpolate`` does it with ``align_corners=False``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from onnxproof.runtime.preprocess import Transform
from onnxproof.runtime.readings.adjustable import Array

Interpolation = Literal["nearest", "linear", "cubic"]

STEEPNESS = -0.75
"""Keys's a, PyTorch's choice."""

STRIP = 2**24
"""How many values of all maps are interpolated at once."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where the rows and the columns of a picture lie in a map, in pixels of the map.

    ``rows`` and ``columns`` are the centres of the picture's pixels, from the map's upper left corner.
    ``seen_rows`` and ``seen_columns`` say which of them the model saw.
    """

    rows: Array
    columns: Array
    seen_rows: NDArray[np.bool_]
    seen_columns: NDArray[np.bool_]

    @property
    def seen(self) -> NDArray[np.bool_]:
        """Which pixels [H, W] of the picture the model saw."""
        return self.seen_rows[:, None] & self.seen_columns[None, :]


def places_in(transform: Transform, of_input: tuple[int, int], of_map: tuple[int, int]) -> Places:
    """Where a picture's pixels lie in a map that covers the whole input. Sizes are height and width, px."""
    rows, seen_rows = _along(
        transform.picture_height, transform.scale_y, transform.offset_y, of_input[0], of_map[0]
    )
    columns, seen_columns = _along(
        transform.picture_width, transform.scale_x, transform.offset_x, of_input[1], of_map[1]
    )
    return Places(rows, columns, seen_rows, seen_columns)


def places_across(height: int, width: int, of_map: tuple[int, int]) -> Places:
    """Where the pixels of a picture lie in a map that covers just the picture."""
    return places_in(Transform(1, 1, 0, 0, width, height), (height, width), of_map)


def interpolate(maps: Array, places: Places, how: Interpolation) -> Array:
    """The maps [n, h, w] at the picture's pixels: float [n, H, W]."""
    return np.concatenate([strip for _, strip in strips(maps, places, how)], axis=1)


def strips(maps: Array, places: Places, how: Interpolation) -> Iterator[tuple[slice, Array]]:
    """As ``interpolate``, but some rows at a time: the rows, and the maps [n, r, W] there.

    So the maps of a large picture with many classes need not fit into memory.
    """
    columns, weights = _taps(places.columns, maps.shape[2], how, maps.dtype)
    across = _weighted([maps[..., at] for at in columns], weights)
    rows, weights = _taps(places.rows, maps.shape[1], how, maps.dtype)
    count = len(places.rows)
    step = max(1, STRIP // max(1, len(maps) * len(places.columns)))
    for start in range(0, count, step):
        part = slice(start, min(start + step, count))
        down = [across[:, at[part]] for at in rows]
        yield part, _weighted(down, [weight[part, None] for weight in weights])


def _along(
    count: int, scale: float, offset: float, of_input: int, of_map: int
) -> tuple[Array, NDArray[np.bool_]]:
    inside = (np.arange(count) + 0.5) * scale + offset
    seen: NDArray[np.bool_] = (inside >= 0) & (inside < of_input)
    return inside * (of_map / of_input), seen


def _taps(
    places: Array, size: int, how: Interpolation, dtype: np.dtype[np.floating]
) -> tuple[list[NDArray[np.int64]], list[Array]]:
    """The pixels that each place takes its value from, and their weights."""
    if how == "nearest":
        return [np.clip(np.floor(places), 0, size - 1).astype(np.int64)], [np.ones(len(places), dtype)]
    centres = places - 0.5
    if how == "linear":
        centres = np.clip(centres, 0, size - 1)
    first = np.floor(centres)
    share = centres - first
    if how == "linear":
        weights = {0: 1 - share, 1: share}
    else:
        weights = {-1: _outer(share + 1), 0: _inner(share), 1: _inner(1 - share), 2: _outer(2 - share)}
    taps = [np.clip(first + number, 0, size - 1).astype(np.int64) for number in weights]
    return taps, [weight.astype(dtype) for weight in weights.values()]


def _inner(x: Array) -> Array:
    """Keys's kernel up to a distance of 1."""
    value: Array = ((STEEPNESS + 2) * x - (STEEPNESS + 3)) * x * x + 1
    return value


def _outer(x: Array) -> Array:
    """Keys's kernel from a distance of 1 to 2."""
    value: Array = ((STEEPNESS * x - 5 * STEEPNESS) * x + 8 * STEEPNESS) * x - 4 * STEEPNESS
    return value


def _weighted(values: list[Array], weights: list[Array]) -> Array:
    total = values[0] * weights[0]
    for value, weight in zip(values[1:], weights[1:], strict=True):
        total += value * weight
    return total
