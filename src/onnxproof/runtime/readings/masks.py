"""Masks of instances: the part of a picture where a mask is, and how it is taken back to the picture."""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from onnxproof.runtime.preprocess import Transform
from onnxproof.runtime.readings.adjustable import Array
from onnxproof.runtime.readings.boxes import Detections


@dataclass(frozen=True, slots=True)
class Patch:
    """The part of a picture where it is not zero: ``pixels`` [h, w], the first of them in column ``left``
    and row ``top``."""

    left: int
    top: int
    pixels: Array


@dataclass(frozen=True, slots=True)
class Instances:
    """Detections with a mask each.

    A mask's pixels are probabilities, in the input's pixels; once restored they are bool, in the
    picture's. Either way a pixel belongs to the instance where it is above ``threshold``. ``height`` and
    ``width`` are the size of what the masks lie in.
    """

    detections: Detections
    masks: tuple[Patch, ...]
    threshold: float
    height: int
    width: int

    def __len__(self) -> int:
        return len(self.detections)

    def regions(self) -> tuple[Patch, ...]:
        """The pixels that belong to each instance: bool."""
        return tuple(Patch(mask.left, mask.top, mask.pixels > self.threshold) for mask in self.masks)


def crop(pixels: Array) -> Patch:
    """The part of ``pixels`` [H, W] that holds all that is not zero, as a view of them."""
    some = pixels != 0
    rows, columns = np.flatnonzero(some.any(axis=1)), np.flatnonzero(some.any(axis=0))
    if not len(rows):
        return Patch(0, 0, pixels[:0, :0])
    top, left = int(rows[0]), int(columns[0])
    return Patch(left, top, pixels[top : rows[-1] + 1, left : columns[-1] + 1])


def restore_mask(mask: Patch, threshold: float, transform: Transform, size: tuple[int, int]) -> Patch:
    """The pixels of the original picture where a mask's probability is above ``threshold``: bool.

    ``size`` is the input's height and width. A probability is taken bilinearly between the input's pixel
    centres, and at its edge from the edge's pixel; what the model did not see is 0. Only the part of the
    picture that the mask covers is made.
    """
    height, width = mask.pixels.shape
    if not mask.pixels.size:
        return Patch(0, 0, np.zeros((0, 0), bool))
    # Beyond the patch is zero, and half a pixel around it is mixed with that; beyond the input is nothing.
    before = (min(1, mask.top), min(1, mask.left))
    after = (min(1, size[0] - mask.top - height), min(1, size[1] - mask.left - width))
    source = np.pad(mask.pixels.astype(np.float32), tuple(zip(before, after, strict=True)))
    y, top, bottom = _span(
        mask.top - before[0], source.shape[0], transform.scale_y, transform.offset_y, transform.picture_height
    )
    x, left, right = _span(
        mask.left - before[1], source.shape[1], transform.scale_x, transform.offset_x, transform.picture_width
    )
    if right <= left or bottom <= top:
        return Patch(0, 0, np.zeros((0, 0), bool))
    # Pillow's coordinates have pixel centres at halves, as the transform's have.
    resampled = Image.fromarray(source).transform(
        (right - left, bottom - top),
        Image.Transform.AFFINE,
        (transform.scale_x, 0, x, 0, transform.scale_y, y),
        Image.Resampling.BILINEAR,
    )
    restored = crop(np.asarray(resampled) > threshold)
    return Patch(left + restored.left, top + restored.top, restored.pixels.copy())


def _span(start: int, length: int, scale: float, offset: float, limit: int) -> tuple[float, int, int]:
    """Of input pixels ``start`` to ``start + length`` along an axis: the picture's pixels that they reach,
    first and last excluded, and where the first one's edge lies from ``start``."""
    first = max(0, math.floor((start - offset) / scale))
    last = min(limit, math.ceil((start + length - offset) / scale))
    return first * scale + offset - start, first, last
