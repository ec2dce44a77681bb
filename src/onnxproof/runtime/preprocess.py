"""From a picture to the model's input, and the way back for coordinates."""

import struct
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from onnxproof.errors import PictureError
from onnxproof.runtime.manifest import Preprocess

PADDING_GREY = 114
"""The grey of letterbox padding, 0..255, as in YOLOX (Ge et al. 2021, its reference code)."""

Picture: TypeAlias = str | PathLike[str] | Image.Image | NDArray[Any]
"""What a user may hand in: a path, a PIL image, or a uint8 array [H, W, 3] (RGB) or [H, W] (grey)."""

# What Pillow's readers raise on bytes that are no picture, or not a whole one.
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)


@dataclass(frozen=True, slots=True)
class Transform:
    """How a picture was laid into the input: input = picture * scale + offset, per axis, in pixels."""

    scale_x: float
    scale_y: float
    offset_x: float
    offset_y: float
    picture_width: int
    picture_height: int

    def restore(self, boxes_xyxy: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Boxes [n, 4] (x0, y0, x1, y1) from input pixels to picture pixels, clipped to the picture."""
        offset = np.array([self.offset_x, self.offset_y] * 2)
        scale = np.array([self.scale_x, self.scale_y] * 2)
        limit = np.array([self.picture_width, self.picture_height] * 2)
        restored: NDArray[np.float32] = np.clip((boxes_xyxy - offset) / scale, 0, limit).astype(np.float32)
        return restored


def read_picture(picture: Picture) -> Image.Image:
    """A picture as RGB, upright (EXIF orientation applied).

    Raises PictureError where the file is missing or unreadable, or the array is of another form.
    """
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.shape[2:] not in ((), (3,)) or picture.ndim not in (2, 3):
            raise PictureError(
                f"got an array {picture.dtype}{list(picture.shape)}; "
                "expected uint8[H, W, 3] in RGB order, or uint8[H, W]"
            )
        return _upright(Image.fromarray(picture), "the array")
    if isinstance(picture, Image.Image):
        # Pillow reads a file's pixels when they are first asked for, which is here.
        return _upright(picture, "the picture")
    path = Path(fspath(picture))
    try:
        if not path.is_file():
            raise PictureError(f"picture {path} does not exist, or is no file")
        with Image.open(path) as image:
            return _upright(image, f"picture {path}")
    except _UNREADABLE as error:
        raise _unreadable(f"picture {path}", error) from error


def _unreadable(name: str, error: Exception) -> PictureError:
    return PictureError(f"{name} cannot be read ({error}): is it whole, and a PNG, JPEG, BMP, TIFF or WebP?")


def _upright(image: Image.Image, name: str) -> Image.Image:
    if 0 in image.size:
        raise PictureError(f"{name} is {image.width}x{image.height} pixels: there is nothing to see")
    try:
        return ImageOps.exif_transpose(image).convert("RGB")
    except _UNREADABLE as error:
        raise _unreadable(name, error) from error


def prepare(picture: Picture, spec: Preprocess) -> tuple[NDArray[Any], Transform]:
    """Lay a picture into the model's input.

    Returns the input, [1, 3, H, W] or [1, H, W, 3] as ``spec.layout`` says, with H and W among the
    declared sizes, and the transform for the way back. Raises PictureError where the picture cannot
    be read, or "crop" cannot keep its aspect within the declared sizes.
    """
    resize = {"crop": _crop, "letterbox": _letterbox, "stretch": _stretch}[spec.resize]
    image = read_picture(picture)
    try:
        laid, transform = resize(image, spec)
    except PictureError as error:
        if isinstance(picture, str | PathLike):
            raise PictureError(f"{fspath(picture)}: {error}") from error
        raise
    return to_input(laid, spec)[None], transform


def to_input(picture: Image.Image, spec: Preprocess) -> NDArray[Any]:
    """The pixels of an RGB picture as [3, H, W] or [H, W, 3], in the input's dtype and range."""
    pixels = np.asarray(picture)
    if spec.dtype == "float32":
        pixels = pixels.astype(np.float32)
        if spec.divide_by != 1:
            pixels /= np.float32(spec.divide_by)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)) if spec.layout == "NCHW" else pixels


def _crop(picture: Image.Image, spec: Preprocess) -> tuple[Image.Image, Transform]:
    width, height = picture.size
    short = spec.size
    long_limit = spec.width.max if width >= height else spec.height.max
    # A picture too long for the declared sizes is made smaller: cropping would lose its ends.
    if max(width, height) * short > min(width, height) * (long_limit + spec.width.multiple - 1):
        short = min(width, height) * long_limit // max(width, height)
    ratio = min(width, height) / short if short else float("inf")
    # Of a square the width is computed and the height given, as in the tutorial: now and then the
    # division falls just short, and then the square loses a step.
    resized_size = (short, int(height / ratio)) if width < height else (int(width / ratio), short)
    target = (spec.width.floor(resized_size[0]), spec.height.floor(resized_size[1]))
    if target[0] > resized_size[0] or target[1] > resized_size[1]:
        raise PictureError(
            f"a picture of {width}x{height} pixels cannot be cropped to a width in {spec.width} and a "
            f'height in {spec.height}: use resize = "letterbox"'
        )
    resized = picture.resize(resized_size)
    left, top = ((resized_size[axis] - target[axis]) // 2 for axis in (0, 1))
    cropped = resized.crop((left, top, left + target[0], top + target[1]))
    scales = (resized_size[0] / width, resized_size[1] / height)
    return cropped, Transform(*scales, -left, -top, width, height)


def _letterbox(picture: Image.Image, spec: Preprocess) -> tuple[Image.Image, Transform]:
    width, height = picture.size
    scale = min(spec.size / max(width, height), spec.width.max / width, spec.height.max / height)
    resized_size = (max(round(width * scale), 1), max(round(height * scale), 1))
    target = (spec.width.ceil(resized_size[0]), spec.height.ceil(resized_size[1]))
    left, top = ((target[axis] - resized_size[axis]) // 2 for axis in (0, 1))
    canvas = Image.new("RGB", target, (PADDING_GREY,) * 3)
    canvas.paste(picture.resize(resized_size), (left, top))
    scales = (resized_size[0] / width, resized_size[1] / height)
    return canvas, Transform(*scales, left, top, width, height)


def _stretch(picture: Image.Image, spec: Preprocess) -> tuple[Image.Image, Transform]:
    width, height = picture.size
    target = (spec.width.floor(spec.size), spec.height.floor(spec.size))
    return picture.resize(target), Transform(target[0] / width, target[1] / height, 0, 0, width, height)
