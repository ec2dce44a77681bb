"""Boxes and captions on pictures."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

FONT_SHARE = 0.022
"""Font size as a share of the picture's diagonal, so that captions look alike at every size."""
LEAST_FONT_SIZE = 9
LINE_SHARE = 0.004
"""Line width as a share of the picture's diagonal."""

Color = tuple[int, int, int]


def draw_boxes(
    picture: Image.Image, boxes: NDArray[Any], captions: Sequence[str], colors: Sequence[Color]
) -> Image.Image:
    """A copy of an RGB picture with boxes [n, 4] (x0, y0, x1, y1, pixels) and their captions.

    The best come last in drawing order, so that they are never covered by the others.
    """
    drawn = picture.convert("RGB")
    canvas = ImageDraw.Draw(drawn)
    diagonal = float(np.hypot(*picture.size))
    font = _font(picture.size)
    line = max(1, round(diagonal * LINE_SHARE))
    for corners, caption, color in reversed(list(zip(boxes, captions, colors, strict=True))):
        if np.isnan(corners).any():
            continue  # a box that is nowhere
        box = _drawable(corners, picture.size)
        canvas.rectangle(box, outline=color, width=line)
        _draw_caption(_Label(canvas, caption, font), picture.size, box, color)
    return drawn


def draw_captions(picture: Image.Image, captions: Sequence[str], colors: Sequence[Color]) -> Image.Image:
    """A copy of an RGB picture with captions one below the other, from its top left corner."""
    drawn = picture.convert("RGB")
    canvas = ImageDraw.Draw(drawn)
    font = _font(picture.size)
    top = 0.0
    for caption, color in zip(captions, colors, strict=True):
        label = _Label(canvas, caption, font)
        label.draw(0, top, color)
        top += label.height
    return drawn


def _font(size: tuple[int, int]) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(max(LEAST_FONT_SIZE, round(float(np.hypot(*size)) * FONT_SHARE)))


def _drawable(box: NDArray[Any], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """The box with its corners in order, which Pillow insists on, and not far outside the picture."""
    corners, limits = np.asarray(box, np.float64).reshape(2, 2), np.array(size)
    (x0, y0), (x1, y1) = np.sort(np.clip(corners, -limits, 2 * limits), axis=0).tolist()
    return x0, y0, x1, y1


class _Label:
    """A caption on a patch of its colour; ``width`` and ``height`` are the patch's, in pixels."""

    def __init__(
        self,
        canvas: ImageDraw.ImageDraw,
        caption: str,
        font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
    ) -> None:
        self._canvas, self._caption, self._font = canvas, caption, font
        self._left, self._top, right, bottom = canvas.textbbox((0, 0), caption, font=font)
        self._pad = max(1, round((bottom - self._top) * 0.2))
        self.width = right - self._left + 2 * self._pad
        self.height = bottom - self._top + 2 * self._pad

    def draw(self, x: float, y: float, color: Color) -> None:
        """Put the patch's top left corner at ``x``, ``y``."""
        self._canvas.rectangle((x, y, x + self.width, y + self.height), fill=color)
        corner = (x + self._pad - self._left, y + self._pad - self._top)
        self._canvas.text(corner, self._caption, fill=contrasting(color), font=self._font)


def _draw_caption(label: _Label, size: tuple[int, int], box: Sequence[float], color: Color) -> None:
    """Above the box; inside it where there is no room above; pushed in from the picture's edges."""
    x = max(0, min(box[0], size[0] - label.width))
    above = box[1] - label.height
    y = max(0, min(above if above >= 0 else box[1], size[1] - label.height))
    label.draw(x, y, color)


def contrasting(color: Color) -> Color:
    """Black or white, whichever reads better on ``color`` (luma of ITU-R BT.601)."""
    luma = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]
    return (0, 0, 0) if luma > 140 else (255, 255, 255)
