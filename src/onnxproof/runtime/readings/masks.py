"""Masks of instances: how they are cropped, and how they are resampled to the original picture."""

import math
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from onnxproof.runtime.preprocess import Transform
from onnxproof.runtime.readings.adjustable import Array
from onnxproof.runtime.readings.boxes import Detections

HALF = 0.5
"""Where a mask of 0 and 1 is cut after it was interpolated."""


@dataclass(frozen=True, slots=True)
class Patch:
    """The part of a mask that is not zero: ``pixels`` [h, w]. The first pixel is in column ``left`` and row
    ``top`` of the whole mask."""

    left: int
    top: int
    pixels: Array


@dataclass(frozen=True, slots=True)
class Instances:
    """Detections, each with a mask.

    Before ``restore`` a mask's values are probabilities, in the input's pixels; after it they are bool, in
    the picture's pixels. Either way a pixel belongs to the instance if its value is above ``threshold``.
    ``height`` and ``width`` are the size of the input, or after ``restore`` of the picture, px.
    """

    detections: Detections
    masks: tuple[Patch, ...]
    threshold: float
    height: int
    width: int

    def __len__(self) -> int:
        return len(self.detections)

    def regions(self) -> tuple[Patch, ...]:
        """For each instance the pixels that belong to it: bool."""
        return tuple(Patch(mask.left, mask.top, mask.pixels > self.threshold) for mask in self.masks)

    def cut(self) -> "Instances":
        """The same with masks of 0 and 1, cut at the threshold in the pixels that they have now."""
        masks = tuple(Patch(one.left, one.top, one.pixels.astype(np.float32)) for one in self.regions())
        return replace(self, masks=masks, threshold=HALF)


def crop(pixels: Array) -> Patch:
    """The smallest part of ``pixels`` [H, W] that contains all pixels other than zero, as a view."""
    some = pixels != 0
    rows, columns = np.flatnonzero(some.any(axis=1)), np.flatnonzero(some.any(axis=0))
    if not len(rows):
        return Patch(0, 0, pixels[:0, :0])
    top, left = int(rows[0]), int(columns[0])
    return Patch(left, top, pixels[top : rows[-1] + 1, left : columns[-1] + 1])


def restore_mask(mask: Patch, threshold: float, transform: Transform, size: tuple[int, int]) -> Patch:
    """The pixels of the original picture at which a mask's probability is above ``threshold``: bool.

    ``size`` is the input's height and width, px. Probabilities are interpolated bilinearly between the
    input's pixel centres. Between the outermost centres and the input's edge, the edge's pixel counts. Pixels
    that the model did not see are 0. Only the part of the picture that the mask covers is computed.
    """
    height, width = mask.pixels.shape
    if not mask.pixels.size:
        return Patch(0, 0, np.zeros((0, 0), bool))
    # Outside the patch the mask is zero, so its edge is interpolated with one pixel of zeros on each side.
    # A side at the input's edge gets none: there is nothing outside the input.
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
    # In Pillow pixel centres are at halves, as in the transform.
    resampled = Image.fromarray(source).transform(
        (right - left, bottom - top),
        Image.Transform.AFFINE,
        (transform.scale_x, 0, x, 0, transform.scale_y, y),
        Image.Resampling.BILINEAR,
    )
    restored = crop(np.asarray(resampled) > threshold)
    return Patch(left + restored.left, top + restored.top, restored.pixels.copy())


def _span(start: int, length: int, scale: float, offset: float, limit: int) -> tuple[float, int, int]:
    """The picture's pixels that the input's pixels ``start`` to ``start + length`` of one axis reach.

    Returns the offset of the first one's edge from ``start``, in input pixels; the first; and the one after
    the last.
    """
    first = max(0, math.floor((start - offset) / scale))
    last = min(limit, math.ceil((start + length - offset) / scale))
    return first * scale + offset - start, first, last
