"""Colours for the values of a map, and the bar that says which colour is which value.

The colours go from dark violet over red to light yellow. They lie on a curve of the colour space OKLab
(Ottosson 2020, "A perceptual color space for image processing"): lightness grows evenly from end to end, so
that equal steps of the values look equal, in grey too.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from onnxproof.runtime.drawing import FONT_SHARE, LEAST_FONT_SIZE, contrasting
from onnxproof.runtime.readings.adjustable import Array

COUNT = 256
"""How many colours there are."""

LIGHTNESS = (0.20, 0.95)
"""OKLab's L at the least and at the largest value."""

HUES = (300.0, 465.0)
"""Degrees, at the least and at the largest value: violet, red at 390, yellow."""

CHROMA = 0.16
"""OKLab's distance from grey in the middle. At the ends it is half of it: they are darker and lighter."""

BAR_SHARE = 0.03
"""The height of the bar as a share of the picture's diagonal."""

LEAST_BAR = 8
"""px."""


def colors() -> NDArray[np.uint8]:
    """The colours of the scale, RGB [COUNT, 3], the least value's first."""
    share = np.linspace(0, 1, COUNT)
    lightness = LIGHTNESS[0] + share * (LIGHTNESS[1] - LIGHTNESS[0])
    hue = np.deg2rad(HUES[0] + share * (HUES[1] - HUES[0]))
    chroma = CHROMA * (0.5 + 0.5 * np.sin(np.pi * share))
    a, b = chroma * np.cos(hue), chroma * np.sin(hue)
    # From OKLab to linear sRGB: Ottosson's two matrices.
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = np.stack(
        (
            4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
            -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
            -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
        ),
        axis=-1,
    ).clip(0, 1)
    # sRGB's transfer function (IEC 61966-2-1).
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    rounded: NDArray[np.uint8] = (255 * encoded).round().astype(np.uint8)
    return rounded


def paint(picture: Image.Image, values: Array, unit: str = "") -> Image.Image:
    """A copy of an RGB picture with the values [H, W] in colours, and a bar at the lower edge with their
    range.

    Pixels whose value is not finite stay as they are.
    """
    finite = np.isfinite(values)
    low, high = (float(values[finite].min()), float(values[finite].max())) if finite.any() else (0.0, 0.0)
    share = (np.where(finite, values, low).astype(np.float64) - low) / ((high - low) or 1)
    pixels = np.array(picture.convert("RGB"))
    pixels[finite] = colors()[(share * (COUNT - 1)).round().astype(np.int64)][finite]
    painted = Image.fromarray(pixels)
    _draw_bar(painted, f"{low:.4g}{unit}", f"{high:.4g}{unit}")
    return painted


def _draw_bar(picture: Image.Image, low: str, high: str) -> None:
    """Draw the scale along the lower edge, with the text of its ends inside it."""
    width, height = picture.size
    diagonal = float(np.hypot(width, height))
    bar = min(height, max(LEAST_BAR, round(diagonal * BAR_SHARE)))
    scale = colors()
    strip = np.repeat(scale[np.linspace(0, COUNT - 1, width).round().astype(np.int64)][None], bar, axis=0)
    picture.paste(Image.fromarray(np.ascontiguousarray(strip)), (0, height - bar))
    canvas = ImageDraw.Draw(picture)
    font = ImageFont.load_default(max(LEAST_FONT_SIZE, round(diagonal * FONT_SHARE)))
    middle = height - bar / 2
    for text, x, anchor, end in ((low, 2, "lm", scale[0]), (high, width - 3, "rm", scale[-1])):
        red, green, blue = end.tolist()
        canvas.text((x, middle), text, fill=contrasting((red, green, blue)), font=font, anchor=anchor)
