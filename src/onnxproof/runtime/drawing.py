"""Boxes, captions and masks on pictures."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

FONT_SHARE = 0.022
"""Font size as a share of the picture's diagonal, so that captions look alike at every size."""
LEAST_FONT_SIZE = 9
LINE_SHARE = 0.004
EDGE_SHARE = 0.002
"""Widths of boxes' lines and of masks' edges as shares of the picture's diagonal."""

OPACITY = 0.5
"""How much a colour that is laid over a picture covers of it."""

Color = tuple[int, int, int]


def draw_boxes(
    picture: Image.Image,
    boxes: NDArray[Any],
    captions: Sequence[str],
    colors: Sequence[Color],
    line_share: float = LINE_SHARE,
) -> Image.Image:
    """A copy of an RGB picture with boxes [n, 4] (x0, y0, x1, y1, pixels) and their captions.

    The first box is the best. The boxes are drawn from the last to the first, so that none covers a better
    one. Captions are drawn after all boxes, so that no line crosses them. ``line_share`` is the lines' width
    as a share of the picture's diagonal.
    """
    drawn = picture.convert("RGB")
    canvas = ImageDraw.Draw(drawn)
    font = _font(picture.size)
    line = _width(picture.size, line_share)
    order = [
        (_drawable(corners, picture.size), caption, color)
        for corners, caption, color in zip(boxes, captions, colors, strict=True)
        if not np.isnan(corners).any()  # such a box has no place
    ][::-1]
    for box, _, color in order:
        canvas.rectangle(box, outline=color, width=line)
    for box, caption, color in order:
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


def blend(
    pixels: NDArray[np.uint8], where: NDArray[np.bool_], color: Color, opacity: float = OPACITY
) -> None:
    """Lay a colour over the pixels [H, W, 3] where ``where`` [H, W] is true; in place."""
    for channel, value in enumerate(color):
        # A table with the mixed value of each byte: to mix every pixel takes ten times as long.
        mixed = (np.arange(256) * (1 - opacity) + value * opacity).round().astype(np.uint8)
        np.copyto(pixels[..., channel], mixed[pixels[..., channel]], where=where)


def draw_masks(
    picture: Image.Image, masks: Sequence[tuple[int, int, NDArray[np.bool_]]], colors: Sequence[Color]
) -> Image.Image:
    """A copy of an RGB picture with masks laid over it, half transparent.

    Their edges have the full colour, beside a thin line of a contrasting one, so that they are seen on any
    picture. A mask is its left column, its top row, and its pixels [h, w], all within the picture. The masks
    are drawn from the last to the first, as boxes are.
    """
    line = _width(picture.size, EDGE_SHARE)
    margin = 2 * line
    # Masks are drawn with a margin around them, so the canvas has one, too.
    canvas = np.pad(np.asarray(picture.convert("RGB")), ((margin, margin), (margin, margin), (0, 0)))
    for (left, top, mask), color in reversed(list(zip(masks, colors, strict=True))):
        padded = np.pad(mask, margin)
        region = canvas[top : top + padded.shape[0], left : left + padded.shape[1]]
        near = _nearness(padded, line)
        blend(region, near == 255, color)
        region[padded & (near < 255)] = color
        blend(region, ~padded & (near > 0), contrasting(color))
    return Image.fromarray(np.ascontiguousarray(canvas[margin:-margin, margin:-margin]))


def _nearness(mask: NDArray[np.bool_], line: int) -> NDArray[np.uint8]:
    """For each pixel, the share of the mask in the square that reaches ``line`` px from it: 0 is none of the
    square, 255 all of it."""
    blurred = Image.fromarray(mask.astype(np.uint8) * 255).filter(ImageFilter.BoxBlur(line))
    return np.asarray(blurred)


def _font(size: tuple[int, int]) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(max(LEAST_FONT_SIZE, round(float(np.hypot(*size)) * FONT_SHARE)))


def _width(size: tuple[int, int], share: float) -> int:
    """The width of a line, px: a share of the diagonal of a picture of that size."""
    return max(1, round(float(np.hypot(*size)) * share))


def _drawable(box: NDArray[Any], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """The box with its corners in order, as Pillow demands, and clipped near the picture."""
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
    """Draw a caption above the box, or inside it if there is no room above; always within the picture."""
    x = max(0, min(box[0], size[0] - label.width))
    above = box[1] - label.height
    y = max(0, min(above if above >= 0 else box[1], size[1] - label.height))
    label.draw(x, y, color)


def contrasting(color: Color) -> Color:
    """Black or white, whichever reads better on ``color`` (luma of ITU-R BT.601)."""
    luma = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]
    return (0, 0, 0) if luma > 140 else (255, 255, 255)
