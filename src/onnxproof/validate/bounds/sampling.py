"""Bounds of operators that read between pixels.

A kernel computes in float32 where it reads, so that a place in a map of s pixels is off by a few times s
roundoffs. That moves the result by as much of the step from one pixel to the next. Which pixel is the nearest
is no rounding: it has to be the exact one.
"""

import numpy as np

from onnxproof.validate.bounds.registry import Allowed, Asked, bounded
from onnxproof.validate.exact.arrays import Array
from onnxproof.validate.exact.operators.blocked import NCHWC, plain

PLACE = 4.0
"""How far a place may be off, in roundoffs of the map's size: the scale, its product, two additions."""

WEIGHTS = 16.0
"""What weights and their sums may err, in roundoffs of the largest pixel."""


def _between_pixels(x: Array, unit: float, reach: float = 1.0) -> Array:
    """What is allowed for a picture [n, c, ...] that is read between its pixels; spatial axes have size 1.

    ``reach`` is how many steps between pixels one result may depend on.
    """
    axes = tuple(range(2, x.ndim))
    if not x.size or not axes:
        return np.zeros(1)
    largest = np.abs(x).max(axes, keepdims=True)
    step = np.zeros_like(largest)
    for axis in axes:
        if x.shape[axis] > 1:
            step = np.maximum(step, np.abs(np.diff(x, axis=axis)).max(axes, keepdims=True))
    size = max(x.shape[axis] for axis in axes)
    return np.asarray(unit * (PLACE * size * reach * len(axes) * step + WEIGHTS * reach * largest))


@bounded("Upsample", domain=NCHWC)
def _blocked_upsample(asked: Asked) -> Allowed:
    if str(asked.attribute("mode", "nearest")) == "nearest":
        return None
    return float(_between_pixels(plain(asked.x), asked.unit).max(initial=0.0))


@bounded("Resize", "Upsample")
def _resize(asked: Asked) -> Allowed:
    mode = str(asked.attribute("mode", "nearest"))
    if mode == "nearest":
        return None
    if asked.x.ndim < 3:
        return np.asarray(_between_pixels(asked.x[None, None], asked.unit, reach=4.0).reshape(-1)[0])
    return _between_pixels(asked.x, asked.unit, reach=4.0 if mode == "cubic" else 1.0)


@bounded("GridSample")
def _grid_sample(asked: Asked) -> Allowed:
    mode = str(asked.attribute("mode", "linear"))
    if mode == "nearest":
        return None
    # Outside the picture zeros are read: the step there is the largest pixel.
    x = np.pad(asked.x, [(0, 0), (0, 0), *[(1, 1)] * (asked.x.ndim - 2)])
    return _between_pixels(x, asked.unit, reach=4.0 if "cubic" in mode else 1.0)


@bounded("RoiAlign")
def _roi_align(asked: Asked) -> Allowed:
    batch = np.asarray(asked.inputs[2]).reshape(-1)
    x = np.pad(asked.x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    # Regions may lie outside, so their coordinates count as well as the map's size.
    scale = float(asked.attribute("spatial_scale", 1.0))
    regions = np.asarray(asked.inputs[1])
    largest = scale * float(np.abs(regions).max(initial=0.0))
    beyond = max(1.0, largest / max(asked.x.shape[2:]))
    return np.asarray(beyond * _between_pixels(x, asked.unit)[batch])
