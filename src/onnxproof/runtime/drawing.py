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
    font = ImageFont.load_default(max(LEAST_FONT_SIZE, round(diagonal * FONT_SHARE)))
    line = max(1, round(diagonal * LINE_SHARE))
    for corners, caption, color in reversed(list(zip(boxes, captions, colors, strict=True))):
        if np.isnan(corners).any():
            continue  # a box that is nowhere
        box = _drawable(corners, picture.size)
        canvas.rectangle(box, outline=color, width=line)
        _draw_caption(canvas, picture.size, box, caption, color, font)
    return drawn


def _drawable(box: NDArray[Any], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """The box with its corners in order, which Pillow insists on, and not far outside the picture."""
    corners, limits = np.asarray(box, np.float64).reshape(2, 2), np.array(size)
    (x0, y0), (x1, y1) = np.sort(np.clip(corners, -limits, 2 * limits), axis=0).tolist()
    return x0, y0, x1, y1


def _draw_caption(
    canvas: ImageDraw.ImageDraw,
    size: tuple[int, int],
    box: Sequence[float],
    caption: str,
    color: Color,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
) -> None:
    """Above the box; inside it where there is no room above; pushed in from the picture's edges."""
    left, top, right, bottom = canvas.textbbox((0, 0), caption, font=font)
    pad = max(1, round((bottom - top) * 0.2))
    width, height = right - left + 2 * pad, bottom - top + 2 * pad
    x = max(0, min(box[0], size[0] - width))
    y = max(0, min(box[1] - height if box[1] >= height else box[1], size[1] - height))
    canvas.rectangle((x, y, x + width, y + height), fill=color)
    canvas.text((x + pad - left, y + pad - top), caption, fill=contrasting(color), font=font)


def contrasting(color: Color) -> Color:
    """Black or white, whichever reads better on ``color`` (luma of ITU-R BT.601)."""
    luma = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]
    return (0, 0, 0) if luma > 140 else (255, 255, 255)
