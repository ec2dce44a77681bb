"""Reading a picture: from whatever a user gives to RGB of 8 bits, upright."""

import io
import re
from collections.abc import Iterable
from os import PathLike, fsdecode
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from onnxproof.errors import PictureError, RequestError
from onnxproof.runtime.archive import ALLOW
from onnxproof.runtime.picture_file import EXPECTED, open_picture, other_format
from onnxproof.runtime.remote import RemotePicture, is_url
from onnxproof.runtime.video import Frame

TRANSPARENT: tuple[int, int, int] = (255, 255, 255)
"""The background of transparent pixels, RGB: white, as in a viewer or on a page.

Nobody sees the colours of fully transparent pixels, and they are often leftovers of an editor, so they must
not reach the model. White, because drawings, icons and scans with an alpha channel are made for a light
background.
"""


@runtime_checkable
class Readable(Protocol):
    """A file that is open for reading bytes, such as ``io.BytesIO``."""

    def read(self) -> Any:
        """The bytes from where the file stands."""


Bytes: TypeAlias = bytes | bytearray | memoryview
Picture: TypeAlias = (
    str | PathLike[str] | Bytes | Readable | Image.Image | NDArray[Any] | RemotePicture | Frame
)
"""A picture as a user gives it: a path, the bytes of a picture file, such a file that is open, a PIL image, a
uint8 array [H, W, 3] (RGB) or [H, W] (grey), a picture in a bucket, or a frame of a video."""


def pictures_of(given: Any) -> Iterable[Any]:
    """Several pictures as an iterable; one that is given in their place is the only one.

    An array is taken for several: its first axis says how many. Raises RequestError for what is neither.
    """
    if isinstance(given, str | PathLike | Bytes | Readable | Image.Image | RemotePicture | Frame):
        return (given,)
    try:
        several: Iterable[Any] = iter(given)
    except TypeError as error:
        raise RequestError(
            f"pictures is a {type(given).__name__}, expected a list of pictures, or one"
        ) from error
    return several


_EIGHT_BIT = ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV", "LA", "PA", "RGBA", "RGBa")
"""Pillow's modes of 8 bits a channel (or a bit a pixel) that convert to RGB without loss of range."""
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")
_SIXTEEN_BIT_AS_32 = ("PNG", "PPM")
"""Formats whose grey of 16 bits some Pillow versions return in 32 (mode "I"), with values up to 65535."""

# The second is a warning, which the warnings' filters may turn into an exception.
_TOO_LARGE = (Image.DecompressionBombError, Image.DecompressionBombWarning)


def read_picture(picture: Picture) -> Image.Image:
    """A picture as RGB of 8 bits, upright (EXIF orientation applied).

    Grey, palettes and CMYK are converted as Pillow does. Transparent pixels are laid on white
    (``TRANSPARENT``). Greys of 16 bits are scaled from 0..65535 to 0..255. Of an animation, the first frame
    is read; of a PIL image with several frames, the current one.

    Raises PictureError if it is nothing of that, if the file is missing, unreadable or of a format that is
    not read (``picture_file.FORMATS``), if it has more pixels than Pillow's ``Image.MAX_IMAGE_PIXELS``
    (before they are decoded), if pixels are floats or integers of 32 bits, or if an array has another form.
    """
    if isinstance(picture, np.ndarray):
        return _upright(_from_array(picture), "the array")
    if isinstance(picture, Frame):
        return _upright(_from_array(picture.read()), str(picture))
    if isinstance(picture, Image.Image):
        # Pillow reads a file's pixels only now, when they are first needed.
        return _upright(picture, "the picture")
    if isinstance(picture, Bytes):
        return _decode(io.BytesIO(bytes(picture)), "the picture", empty=not picture)
    if isinstance(picture, RemotePicture):
        content = picture.read()
        return _decode(io.BytesIO(content), f"picture {picture}", empty=not content)
    if not isinstance(picture, str | PathLike):
        return _from_open(picture)
    path = Path(fsdecode(picture))
    name = f"picture {path}"
    try:
        if not path.is_file():
            if is_url(str(picture)):
                raise PictureError(
                    f"picture {picture} is a URL, and no path: fetch it and give its bytes; URLs are read by "
                    "onnxproof predict BUNDLE URL (through fsspec), and in a request with --allow-urls (in "
                    "Python, allow_urls=True)"
                )
            raise PictureError(f"{name} does not exist, or is no file")
        with path.open("rb") as file:
            return _decode(file, name, empty=not path.stat().st_size)
    except PermissionError as error:
        raise PictureError(f"{name} cannot be read ({error.strerror or error}): {ALLOW}") from error
    except (OSError, ValueError) as error:  # a null character in a name is a ValueError
        raise _unreadable(name, error) from error


def _from_open(picture: Any) -> Image.Image:
    """The picture in a file that is open. Raises PictureError if it is something else."""
    if type(picture).__module__.partition(".")[0] == "torch":
        raise PictureError(
            f"got a {type(picture).__name__}; expected uint8[H, W, 3] in RGB order: give tensor.numpy(), "
            "after .permute(1, 2, 0) if its channels come first"
        )
    try:
        content = picture.read() if isinstance(picture, Readable) else None
    except (OSError, ValueError) as error:  # a file that is closed is a ValueError
        raise _unreadable("the picture", error) from error
    if not isinstance(content, Bytes):
        got = type(picture).__name__ if content is None else f"file of {type(content).__name__}"
        raise PictureError(
            f"got a {got}; expected a path, the bytes of a picture's file, a file that is open for reading "
            "bytes, a PIL image, or an array uint8[H, W, 3] in RGB order"
        )
    return _decode(io.BytesIO(content), "the picture", empty=not content)


def _from_array(array: NDArray[Any]) -> Image.Image:
    got, expected = f"{array.dtype}{list(array.shape)}", "uint8[H, W, 3] in RGB order, or uint8[H, W]"
    if array.dtype != np.uint8:
        advice = "scale the pixels to 0..255 and use array.astype(numpy.uint8)"
    elif array.ndim == 4:
        advice = "hand in one picture at a time"
    elif array.ndim == 3 and array.shape[0] in (1, 3) and array.shape[2] != 3:
        advice = "put the channels last, array.transpose(1, 2, 0)"
    elif array.ndim == 3 and array.shape[2] == 4:
        advice = "lay the alpha channel on a background, or hand in PIL.Image.fromarray(array)"
    elif array.ndim == 3 and array.shape[2] == 1:
        advice = "take array[:, :, 0]"
    elif array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3):
        _require_pixels(array.shape[1], array.shape[0], "the array")  # before older versions of Pillow fail
        return Image.fromarray(array)
    else:
        advice = "choose the channels that are red, green and blue"
    raise PictureError(f"got an array {got}; expected {expected}: {advice}")


def _decode(file: BinaryIO, name: str, *, empty: bool) -> Image.Image:
    """The picture that a file holds. Its pixels are decoded only if they are not too many."""
    if empty:
        raise _unreadable(name, EOFError("no bytes at all"))
    try:
        with open_picture(file) as image:
            limit = Image.MAX_IMAGE_PIXELS  # None if a user has lifted it
            if limit is not None and image.width * image.height > limit:
                raise _too_large(name, image.width * image.height)
            return _upright(image, name)
    except _TOO_LARGE as error:
        # Only Pillow's message has the count. The limit in it is twice the one that a user sets.
        count = re.search(r"(\d+) pixels", str(error))
        raise _too_large(name, int(count[1]) if count else None) from error
    except PictureError:
        raise
    except Exception as error:  # see _unreadable
        other = other_format(file) if _is_unknown(error) else None
        if other is not None:
            raise PictureError(f"{name} cannot be read (it is {other}): expected {EXPECTED}") from error
        raise _unreadable(name, error) from error


def _too_large(name: str, pixels: int | None) -> PictureError:
    count = "too many" if pixels is None else f"{pixels:,}"
    return PictureError(
        f"{name} is too large: {count} pixels, expected at most {Image.MAX_IMAGE_PIXELS:,}; "
        "make it smaller, or in Python raise PIL.Image.MAX_IMAGE_PIXELS if you trust its source"
    )


def _unreadable(name: str, error: Exception) -> PictureError:
    """The error for a picture that Pillow cannot read.

    On damaged files its readers raise errors of many types: OSError, but also SyntaxError, RuntimeError,
    NotImplementedError, AttributeError, struct.error and others.
    """
    # For bytes that it does not know, Pillow's message names the Python object that holds them.
    reason = "no picture of a known format" if _is_unknown(error) else str(error) or type(error).__name__
    return PictureError(f"{name} cannot be read ({reason}): is it whole, and {EXPECTED}?")


def _is_unknown(error: Exception) -> bool:
    """Whether Pillow does not know what a file is.

    A package that replaced Image.open (ultralytics) then raises ImportError for want of a plugin.
    """
    return any(isinstance(one, UnidentifiedImageError) for one in (error, error.__context__))


def _upright(image: Image.Image, name: str) -> Image.Image:
    _require_pixels(*image.size, name)
    deep = image.mode in _SIXTEEN_BIT or (image.mode == "I" and image.format in _SIXTEEN_BIT_AS_32)
    if not deep and image.mode not in _EIGHT_BIT:
        raise PictureError(
            f'{name} has pixels of mode "{image.mode}", whose range is not known; expected 8 bits a channel '
            "or grey of 16: scale them to 0..255 and save the picture again"
        )
    try:
        turned = ImageOps.exif_transpose(image)
        return _scale_down(turned) if deep else _opaque(turned)
    except Exception as error:  # see _unreadable
        raise _unreadable(name, error) from error


def _require_pixels(width: int, height: int, name: str) -> None:
    if not (width and height):
        raise PictureError(f"{name} is {width}x{height} pixels: there is nothing to see")


def _scale_down(image: Image.Image) -> Image.Image:
    """A grey picture of 16 bits as RGB: 0..65535 is scaled to 0..255 and rounded to the nearest.

    Pillow's own conversion clips, which makes every value above 255 white.
    """
    values = np.asarray(image).astype(np.uint32)
    greys = ((values + 128) // 257).astype(np.uint8)  # 257 = 65535 / 255
    pixels = np.stack((greys,) * 3, axis=-1)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        pixels[values == transparent] = TRANSPARENT
    return Image.fromarray(pixels)


def _opaque(image: Image.Image) -> Image.Image:
    """A picture of 8 bits as RGB, with transparent pixels laid on white."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    canvas = Image.new("RGBA", image.size, (*TRANSPARENT, 255))
    return Image.alpha_composite(canvas, image.convert("RGBA")).convert("RGB")
