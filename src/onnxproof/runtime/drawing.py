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
DOT_SHARE = 0.006
"""The radius of a point, as such a share."""

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
    one. Captions are drawn after all boxes, so that no line crosses them, and move apart where they would
    overlap. ``line_share`` is the lines' width as a share of the picture's diagonal.
    """
    drawn = picture.convert("RGB")
    canvas = ImageDraw.Draw(drawn)
    line = _width(picture.size, line_share)
    order = [
        (_drawable(corners, picture.size), caption, color)
        for corners, caption, color in zip(boxes, captions, colors, strict=True)
        if not np.isnan(corners).any()  # such a box has no place
    ]
    for box, _, color in reversed(order):
        canvas.rectangle(box, outline=color, width=line)
    _draw_labels(canvas, picture.size, order)
    return drawn


def draw_outlines(
    picture: Image.Image, outlines: NDArray[Any], captions: Sequence[str], colors: Sequence[Color]
) -> Image.Image:
    """A copy of an RGB picture with four-cornered outlines [n, 4, 2] (x, y, pixels) and their captions, as
    ``draw_boxes`` draws boxes."""
    drawn = picture.convert("RGB")
    canvas = ImageDraw.Draw(drawn)
    line = _width(picture.size, LINE_SHARE)
    limits = np.array(picture.size)
    order = []
    for outline, caption, color in zip(outlines, captions, colors, strict=True):
        if not np.isfinite(outline).all():
            continue
        clipped = np.clip(np.asarray(outline, np.float64), -limits, 2 * limits)
        box = np.concatenate((clipped.min(axis=0), clipped.max(axis=0)))
        order.append((clipped, _drawable(box, picture.size), caption, color))
    for corners, _, _, color in reversed(order):
        ring = [(x, y) for x, y in (*corners.tolist(), *corners[:2].tolist())]
        canvas.line(ring, fill=color, width=line, joint="curve")
    _draw_labels(canvas, picture.size, [entry[1:] for entry in order])
    return drawn


def draw_points(picture: Image.Image, points: Sequence[NDArray[Any]], colors: Sequence[Color]) -> Image.Image:
    """A copy of an RGB picture with dots at points [k, 2] (x, y, pixels), a list of them for each colour.

    A dot has a thin edge of a contrasting colour, so that it is seen on any picture. The first list is the
    best; it is drawn last.
    """
    drawn = picture.convert("RGB")
    canvas = ImageDraw.Draw(drawn)
    radius = _width(picture.size, DOT_SHARE)
    edge = max(1, radius // 3)
    for of, color in reversed(list(zip(points, colors, strict=True))):
        for x, y in of[np.isfinite(of).all(axis=1)].tolist():
            canvas.ellipse(
                (x - radius, y - radius, x + radius, y + radius),
                fill=color,
                outline=contrasting(color),
                width=edge,
            )
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


def draw_legend(picture: Image.Image, names: Sequence[str], colors: Sequence[Color]) -> Image.Image:
    """A copy of an RGB picture with the names of its colours, one below the other, from its top left corner.

    The first matter most: names that would reach beyond the picture's middle are left out.
    """
    drawn = picture.convert("RGB")
    canvas = ImageDraw.Draw(drawn)
    font = _font(picture.size)
    top = 0.0
    for name, color in zip(names, colors, strict=True):
        label = _Label(canvas, name, font)
        if label.width > drawn.width / 2 or top + label.height > drawn.height / 2:
            break
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


Placed = tuple[tuple[float, float, float, float], str, Color]
"""A box (x0, y0, x1, y1, pixels), its caption and its colour."""


def _draw_labels(canvas: ImageDraw.ImageDraw, size: tuple[int, int], entries: Sequence[Placed]) -> None:
    """Draw the captions of boxes, the best first: each where it fits without covering one before it.

    A caption stands above its box, or at its upper edge inside, or below; if these places are taken, as near
    above or below as there is room. It is always within the picture.
    """
    font = _font(size)
    taken: list[tuple[float, float, float, float]] = []
    for box, caption, color in entries:
        if not caption:
            continue
        label = _Label(canvas, caption, font)
        x = max(0, min(box[0], size[0] - label.width))
        y = _free(x, box, label, size, taken)
        taken.append((x, y, x + label.width, y + label.height))
        label.draw(x, y, color)


def _free(
    x: float,
    box: Sequence[float],
    label: _Label,
    size: tuple[int, int],
    taken: Sequence[tuple[float, float, float, float]],
) -> float:
    """The row for a label at column ``x``: the first of its places that is free; the first if none is."""
    last = max(size[1] - label.height, 0)
    above = box[1] - label.height
    first = above if above >= 0 else box[1]
    near = [
        first,
        box[1],
        box[3],
        *(edge for place in taken for edge in (place[3] + 1, place[1] - label.height - 1)),
    ]
    places = sorted({max(0, min(y, last)) for y in near[3:]}, key=lambda y: abs(y - first))
    for y in (*(max(0, min(y, last)) for y in near[:3]), *places):
        if not any(
            x < right and left < x + label.width and y < bottom and top < y + label.height
            for left, top, right, bottom in taken
        ):
            return y
    return max(0, min(first, last))


def contrasting(color: Color) -> Color:
    """Black or white, whichever reads better on ``color`` (luma of ITU-R BT.601)."""
    luma = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]
    return (0, 0, 0) if luma > 140 else (255, 255, 255)
