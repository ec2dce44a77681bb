"""From a picture to the model's input, and from the input's coordinates back to the picture's."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from os import PathLike
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onnxproof.contract import Preprocess, Resize, StepRounding
from onnxproof.errors import PictureError
from onnxproof.runtime.preprocess.picture import Picture, read_picture
from onnxproof.runtime.preprocess.resample import resample
from onnxproof.runtime.remote import RemotePicture
from onnxproof.runtime.video import Frame
from onnxproof.system.signatures import checks_arguments
from onnxproof.tensors import Dim

FITS_ALL = 'export the model with predict.resize = "letterbox" in its job'
"""What to do where a picture fits no declared size."""

Size = tuple[int, int]
"""A width and a height, px."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a picture lies in the input, px: it is ``resized`` (width, height), and its corner is at ``left``
    and ``top`` of the ``target``. These are below 0 if the picture is cut there. The scales are for the way
    back."""

    resized: Size
    target: Size
    left: int
    top: int
    scale_x: float
    scale_y: float


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


@checks_arguments
def prepare(picture: Picture, spec: Preprocess) -> tuple[NDArray[Any], Transform]:
    """Lay a picture into the model's input.

    Returns the input, [1, 3, H, W] or [1, H, W, 3] as ``spec.layout`` says, with H and W among the
    declared sizes, and the transform for the way back. Raises PictureError if the picture cannot be read,
    or if its aspect does not fit the declared sizes.
    """
    return prepare_read(read_picture(picture), spec, picture)


def prepare_read(image: Image.Image, spec: Preprocess, picture: Picture) -> tuple[NDArray[Any], Transform]:
    """As ``prepare``, for an image that ``read_picture`` returned for the picture."""
    try:
        laid = image if spec.network is not None else lay(image, spec)[0]
        transform = transform_of(image.size, spec)
    except PictureError as error:
        if isinstance(picture, str | PathLike | RemotePicture | Frame):
            raise PictureError(f"{picture}: {error}") from error
        raise
    return to_input(laid, spec)[None], transform


def lay(picture: Image.Image, spec: Preprocess) -> tuple[Image.Image, Transform]:
    """An RGB picture at the input's size, and the transform. Raises PictureError as ``prepare``."""
    placed = place(picture.size, spec)
    laid = resample(picture, placed.resized, spec.filter)
    if (placed.left, placed.top, placed.target) != (0, 0, placed.resized):
        canvas = Image.new("RGB", placed.target, spec.padding)
        canvas.paste(laid, (placed.left, placed.top))
        laid = canvas
    return laid, _way_back(placed, picture.size)


def transform_of(size: Size, spec: Preprocess) -> Transform:
    """The way back for a picture of that size (width, height), whether the host or the graph fits it.

    Raises PictureError if the file does not take pictures of that size.
    """
    if spec.network is None:
        return _way_back(place(size, spec), size)
    width, height = size
    if not (spec.width.admits(width) and spec.height.admits(height)):
        raise PictureError(
            f"a picture of {width}x{height} pixels; the file was proved for a width in {spec.width} and a "
            f"height in {spec.height}: make it smaller, or export with other dims.{spec.width.name} and "
            f"dims.{spec.height.name}"
        )
    if spec.boxes == "picture":
        return Transform(1, 1, 0, 0, width, height)
    return _way_back(place(size, as_network_sees(spec)), size)


def as_network_sees(spec: Preprocess) -> Preprocess:
    """How a host would fit pictures to what the network sees, if the graph does it."""
    assert spec.network is not None
    height, width = (
        Dim(name, side, side) for name, side in zip(("height", "width"), spec.network, strict=True)
    )
    return replace(spec, network=None, height=height, width=width)


def place(size: Size, spec: Preprocess) -> Placement:
    """Where a picture of that size (width, height) lies in the input. Raises PictureError as ``prepare``."""
    resized, target, ratio = _PLANS[spec.resize](size, spec)
    centred = spec.resize in ("crop", "stretch-crop") or spec.place == "centre"
    left, top = (_before(target[axis] - resized[axis], spec) if centred else 0 for axis in (0, 1))
    scales = (ratio, ratio) if spec.way_back == "ratio" else (resized[0] / size[0], resized[1] / size[1])
    return Placement(resized, target, left, top, *scales)


def _way_back(placed: Placement, size: Size) -> Transform:
    return Transform(placed.scale_x, placed.scale_y, placed.left, placed.top, *size)


def _before(excess: int, spec: Preprocess) -> int:
    """How many of ``excess`` pixels lie before the picture: half. If it is below 0, so many are cut off."""
    half = round(abs(excess) / 2) if spec.half == "even" else abs(excess) // 2
    return half if excess > 0 else -half


def to_input(picture: Image.Image, spec: Preprocess) -> NDArray[Any]:
    """The pixels of an RGB picture as [3, H, W] or [H, W, 3], in the input's dtype, range and channels."""
    return as_input(in_order(picture, spec), spec)


def in_order(picture: Image.Image, spec: Preprocess) -> NDArray[np.uint8]:
    """The pixels of an RGB picture, uint8 [H, W, 3], their channels in the input's order."""
    pixels = np.asarray(picture)
    return pixels[:, :, ::-1] if spec.channels == "bgr" else pixels


def as_input(pixels: NDArray[np.uint8], spec: Preprocess) -> NDArray[Any]:
    """Pixels [H, W, 3] as [3, H, W] or [H, W, 3], in the input's dtype and range."""
    values: NDArray[Any] = pixels
    if spec.dtype == "float32":
        values = pixels.astype(np.float32)
        if spec.divide_by != 1:
            values /= np.float32(spec.divide_by)
    return np.ascontiguousarray(values.transpose(2, 0, 1) if spec.layout == "NCHW" else values)


# Each of the functions below returns the size of the resized picture, the input's size, and the ratio of the
# first to the picture before its sides were rounded.


def _crop(picture: Size, spec: Preprocess) -> tuple[Size, Size, float]:
    width, height = picture
    short = spec.size
    long_limit = spec.width.max if width >= height else spec.height.max
    if spec.width.fixed and spec.height.fixed:
        # Classifiers get only the centre, as in their training: the ends are lost on purpose.
        resized = _with_short_side(width, height, short)
    else:
        # A picture that is too long for the declared sizes is made smaller: a crop would lose its ends.
        if max(width, height) * short > min(width, height) * (long_limit + spec.width.multiple - 1):
            smaller = min(width, height) * long_limit // max(width, height)
            long, least = (spec.width, spec.height.min) if width >= height else (spec.height, spec.width.min)
            # To one long side, as above, it is cut if the short side would then be less than is declared.
            short = short if long.fixed and smaller < least <= short else smaller
        ratio = min(width, height) / short if short else float("inf")
        # As in the tutorial, the width of a square is computed and its height given. Sometimes the division
        # is rounded down, and the square's width is a step smaller.
        resized = (short, int(height / ratio)) if width < height else (int(width / ratio), short)
    target = (spec.width.floor(resized[0]), spec.height.floor(resized[1]))
    if target[0] > resized[0] or target[1] > resized[1]:
        raise PictureError(
            f"a picture of {width}x{height} pixels cannot be cropped to a width in {spec.width} and a "
            f"height in {spec.height}: {FITS_ALL}"
        )
    return resized, target, short / min(width, height)


def _with_short_side(width: int, height: int, short: int) -> Size:
    """The size with the short side at ``short`` pixels and the long one in proportion, rounded down.

    The division is of integers: one of floats may be rounded down, so that a square is no square any more.
    """
    return (short, height * short // width) if width < height else (width * short // height, short)


def _letterbox(picture: Size, spec: Preprocess) -> tuple[Size, Size, float]:
    width, height = picture
    ratio = min(spec.size / max(width, height), spec.width.max / width, spec.height.max / height)
    if not spec.enlarge:
        ratio = min(ratio, 1.0)
    whole = round if spec.rounding == "nearest" else int
    resized = (max(whole(width * ratio), 1), max(whole(height * ratio), 1))
    least = (max(side, spec.size) for side in resized) if spec.pad_to == "size" else resized
    width, height = least
    return resized, (spec.width.ceil(width), spec.height.ceil(height)), ratio


def _short_side(picture: Size, spec: Preprocess) -> tuple[Size, Size, float]:
    width, height = picture
    long, short = max(picture), min(picture)
    declared = spec.width.max if width >= height else spec.height.max
    longest = min(spec.longest, declared)
    ratio = min(spec.size / short, longest / long)
    sides = _with_short_side(long, short, spec.size)[::-1]
    if spec.rounding == "down" and sides[1] > longest:
        # As in torchvision's Resize(size, max_size=longest).
        sides = (longest * sides[0] // sides[1], longest)
    elif spec.rounding == "nearest" and long / short * spec.size > longest:
        # As in DETR (transformers' get_size_with_aspect_ratio). Its floats may miss ``longest`` by 1, and it
        # leaves a picture as it is whose short side would stay the same.
        raw = longest * short / long
        sides = (round(raw), int(raw * long / short))
        if sides[0] == short and long <= declared:
            sides = (short, long)
    least, most = (max(side, 1) for side in sides)
    resized = _in_steps((least, most) if width < height else (most, least), spec)
    return resized, _holding(resized, picture, spec), ratio


def _nearest_side(picture: Size, spec: Preprocess) -> tuple[Size, Size, float]:
    """As DPT (transformers' DPTImageProcessor with keep_aspect_ratio)."""
    ratios = [spec.size / side for side in picture]
    # Of equal changes the height's is taken.
    ratio = ratios[0] if abs(1 - ratios[0]) < abs(1 - ratios[1]) else ratios[1]
    resized = _in_steps((ratio * picture[0], ratio * picture[1]), spec)
    return resized, _holding(resized, picture, spec), ratio


def _keep(picture: Size, spec: Preprocess) -> tuple[Size, Size, float]:
    """As GLPN (transformers' GLPNImageProcessor)."""
    resized = _in_steps(picture, spec)
    return resized, _holding(resized, picture, spec), 1.0


def _in_steps(sides: tuple[float, float], spec: Preprocess) -> Size:
    """The sides rounded to multiples of ``spec.step``, at least one."""
    width, height = (max(_ROUNDINGS[spec.step_rounding](side / spec.step), 1) * spec.step for side in sides)
    return width, height


def _holding(resized: Size, picture: Size, spec: Preprocess) -> Size:
    """The smallest declared size that holds the resized picture. Raises PictureError if none does."""
    target = (spec.width.ceil(resized[0]), spec.height.ceil(resized[1]))
    width, height = picture
    if target[0] < resized[0] or target[1] < resized[1]:
        raise PictureError(
            f"a picture of {width}x{height} pixels becomes {resized[0]}x{resized[1]}, expected a width in "
            f"{spec.width} and a height in {spec.height}: {FITS_ALL}, or with a smaller predict.size"
        )
    return target


def _stretch(picture: Size, spec: Preprocess) -> tuple[Size, Size, float]:
    target = (spec.width.floor(spec.size), spec.height.floor(spec.size))
    return target, target, min(target[0] / picture[0], target[1] / picture[1])


def _stretch_crop(picture: Size, spec: Preprocess) -> tuple[Size, Size, float]:
    resized = (spec.size, spec.size)
    target = (spec.width.floor(spec.size), spec.height.floor(spec.size))
    return resized, target, min(spec.size / side for side in picture)


_ROUNDINGS: Mapping[StepRounding, Callable[[float], int]] = MappingProxyType(
    {"nearest": round, "down": math.floor, "up": math.ceil}
)
_PLANS: Mapping[Resize, Callable[[Size, Preprocess], tuple[Size, Size, float]]] = MappingProxyType(
    {
        "crop": _crop,
        "letterbox": _letterbox,
        "short-side": _short_side,
        "nearest-side": _nearest_side,
        "keep": _keep,
        "stretch": _stretch,
        "stretch-crop": _stretch_crop,
    }
)
