"""From a picture to the input and back: reading, cropping, letterboxing, stretching, restoring boxes."""

import contextlib
import io
import json
import os
import struct
import sys
import warnings
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from examples import examples
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import EpsImagePlugin, Image
from PIL.PngImagePlugin import PngImageFile

from onnxproof.contract import PADDING, Preprocess
from onnxproof.document import Entry
from onnxproof.errors import ModelFileError, PictureError, RequestError
from onnxproof.runtime.drawings import is_drawing
from onnxproof.runtime.preprocess import (
    TRANSPARENT,
    Transform,
    as_network_sees,
    prepare,
    read_picture,
    to_input,
)
from onnxproof.tensors import Dim

HEIGHT, WIDTH = Dim("height", 64, 640, 32), Dim("width", 64, 640, 32)
CROP = Preprocess("input", "NCHW", "float32", 255, "crop", 256, HEIGHT, WIDTH)
LETTERBOX = replace(CROP, resize="letterbox", size=320)
STRETCH = replace(CROP, resize="stretch", size=320)
GREYS = "uint8[H, W]"


def pixels(width: int, height: int) -> NDArray[np.uint8]:
    """Noise, uint8 [height, width, 3]."""
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def picture(width: int, height: int) -> Image.Image:
    return Image.fromarray(pixels(width, height))


def gradient(width: int, height: int) -> Image.Image:
    """Red grows with x, green with y, so that a pixel tells where it came from."""
    x, y = np.linspace(0, 255, width), np.linspace(0, 255, height)
    grey = np.broadcast_arrays(x[None], y[:, None], np.zeros((1, 1)))
    return Image.fromarray(np.stack(grey, axis=-1).round().astype(np.uint8))


GREY, COLOR = 0, 2
"""Colour types of PNG."""


def png_of_16_bits(kind: int, values: list[int], *, transparent: int | None = None) -> bytes:
    """A PNG of one row, 16 bits a channel; by hand, because Pillow writes no colours like that, and its
    older versions no transparency either."""
    width = len(values) // (3 if kind == COLOR else 1)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, 1, 16, kind, 0, 0, 0))]
    if transparent is not None:
        chunks.append((b"tRNS", struct.pack(">H", transparent)))
    chunks += [(b"IDAT", zlib.compress(b"\0" + np.array(values, ">u2").tobytes())), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    )


def tiff_of_16_bits(values: list[int]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.array([values], np.uint16)).save(file, "TIFF")
    return file.getvalue()


def size_of(array: NDArray[Any]) -> tuple[int, int]:
    """Width and height of an NCHW input of one picture."""
    assert array.shape[:2] == (1, 3)
    return array.shape[3], array.shape[2]


class TestReadPicture:
    def test_path_text_picture_and_array_are_the_same(self, tmp_path: Path) -> None:
        wanted = pixels(7, 5)
        file = tmp_path / "picture.png"
        Image.fromarray(wanted).save(file)
        for source in (file, str(file), Image.fromarray(wanted), wanted):
            read = read_picture(source)
            assert (read.mode, read.size) == ("RGB", (7, 5))
            np.testing.assert_array_equal(np.asarray(read), wanted)

    @pytest.mark.parametrize(
        ("image", "expected"),
        [
            pytest.param(Image.new("L", (2, 2), 9), (9, 9, 9), id="grey-becomes-three-channels"),
            pytest.param(Image.new("1", (2, 2), 1), (255, 255, 255), id="black-and-white"),
            pytest.param(Image.new("CMYK", (2, 2), (0, 255, 255, 0)), (255, 0, 0), id="cmyk"),
            pytest.param(
                Image.new("RGB", (2, 2), (7, 8, 9)).convert("P", palette=Image.Palette.ADAPTIVE),
                (7, 8, 9),
                id="palette-is-looked-up",
            ),
        ],
    )
    def test_any_mode_becomes_rgb(self, image: Image.Image, expected: tuple[int, int, int]) -> None:
        read = read_picture(image)
        assert read.mode == "RGB"
        assert read.getpixel((0, 0)) == expected

    @pytest.mark.parametrize(
        ("alpha", "expected"),
        [
            pytest.param(255, (200, 100, 50), id="opaque-is-untouched"),
            pytest.param(0, TRANSPARENT, id="what-hides-below-transparency-stays-hidden"),
            pytest.param(51, (244, 224, 214), id="one-fifth-of-the-colour-on-white"),
        ],
    )
    @pytest.mark.parametrize("suffix", ["png", "webp"])
    def test_transparency_is_laid_on_white(
        self, tmp_path: Path, suffix: str, alpha: int, expected: tuple[int, int, int]
    ) -> None:
        file = tmp_path / f"glass.{suffix}"
        Image.new("RGBA", (8, 8), (200, 100, 50, alpha)).save(file, lossless=True, exact=True)
        assert read_picture(file).getpixel((3, 3)) == expected

    def test_grey_with_alpha_is_laid_on_white(self) -> None:
        image = Image.new("LA", (2, 1), (9, 255))
        image.putpixel((1, 0), (9, 0))
        assert np.asarray(read_picture(image)).tolist() == [[[9, 9, 9], [255, 255, 255]]]

    @pytest.mark.parametrize("form", ["PNG", "GIF"])
    def test_a_palettes_transparent_entry_is_white(self, form: str) -> None:
        image = Image.new("P", (2, 1))
        image.putpalette([10, 20, 30, 200, 100, 50])
        image.putpixel((1, 0), 1)
        file = io.BytesIO()
        image.save(file, form, transparency=0)
        assert np.asarray(read_picture(file.getvalue())).tolist() == [[[255, 255, 255], [200, 100, 50]]]

    @pytest.mark.parametrize(
        ("image", "transparent"),
        [
            pytest.param(Image.new("RGB", (1, 1), (5, 6, 7)), (5, 6, 7), id="rgb"),
            pytest.param(Image.new("L", (1, 1), 5), 5, id="grey"),
        ],
    )
    def test_a_colour_that_png_declares_transparent_is_white(
        self, image: Image.Image, transparent: int | tuple[int, int, int]
    ) -> None:
        file = io.BytesIO()
        image.save(file, "PNG", transparency=transparent)
        assert read_picture(file.getvalue()).getpixel((0, 0)) == TRANSPARENT

    def test_a_grey_of_16_bits_that_png_declares_transparent_is_white(self) -> None:
        file = png_of_16_bits(GREY, [500, 501], transparent=500)
        assert np.asarray(read_picture(file))[0, :, 0].tolist() == [255, 2]

    @pytest.mark.parametrize(
        "write",
        [
            pytest.param(lambda values: png_of_16_bits(GREY, values), id="png"),
            pytest.param(tiff_of_16_bits, id="tiff"),
            pytest.param(lambda values: b"P5 8 1 65535\n" + np.array(values, ">u2").tobytes(), id="pgm"),
        ],
    )
    def test_16_bit_greys_are_scaled_to_8(self, write: Callable[[list[int]], bytes]) -> None:
        read = np.asarray(read_picture(write([0, 128, 129, 257, 256 * 128, 65406, 65407, 65535])))
        assert read.shape == (1, 8, 3)
        assert read[0, :, 0].tolist() == [0, 0, 1, 1, 128, 254, 255, 255]
        assert (read == read[..., :1]).all()

    def test_16_bit_greys_of_the_other_byte_order(self) -> None:
        image = Image.frombytes("I;16B", (2, 1), np.array([[257, 65535]], ">u2").tobytes())
        assert np.asarray(read_picture(image))[0, :, 0].tolist() == [1, 255]

    def test_16_bit_colours_come_with_their_high_byte(self) -> None:
        file = png_of_16_bits(COLOR, [0x1234, 0xFFFF, 0x00FF])
        assert read_picture(file).getpixel((0, 0)) == (0x12, 0xFF, 0x00)

    @pytest.mark.parametrize(
        "image",
        [
            pytest.param(Image.new("F", (2, 2), 0.5), id="floats-could-be-of-any-range"),
            pytest.param(Image.new("I", (2, 2), 70_000), id="integers-of-32-bits-too"),
            pytest.param(Image.new("LAB", (2, 2)), id="lab-needs-a-profile"),
        ],
    )
    def test_a_mode_of_unknown_range_is_refused(self, image: Image.Image) -> None:
        with pytest.raises(
            PictureError, match=rf'mode "{image.mode}".*expected 8 bits.*scale them to 0\.\.255'
        ):
            read_picture(image)

    @pytest.mark.parametrize("form", ["TIFF"])
    def test_a_file_of_floats_is_refused_by_its_name(self, tmp_path: Path, form: str) -> None:
        file = tmp_path / "depth.tif"
        Image.new("F", (2, 2), 0.5).save(file, form)
        with pytest.raises(PictureError, match=r'depth\.tif has pixels of mode "F"'):
            read_picture(file)

    @pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
    def test_of_an_animation_the_first_frame_is_taken(self, form: str) -> None:
        frames = [Image.new("RGB", (8, 8), color) for color in ("red", "lime", "blue")]
        file = io.BytesIO()
        frames[0].save(file, form, save_all=True, append_images=frames[1:])
        red, green, blue = np.asarray(read_picture(file.getvalue()))[4, 4].tolist()
        assert red > 240
        assert max(green, blue) < 15

    def test_of_an_opened_animation_the_frame_it_stands_at(self) -> None:
        file = io.BytesIO()
        Image.new("L", (8, 8), 0).save(file, "TIFF", save_all=True, append_images=[Image.new("L", (8, 8), 9)])
        image = Image.open(file)
        image.seek(1)
        assert read_picture(image).getpixel((0, 0)) == (9, 9, 9)

    def test_a_deep_picture_is_turned_upright_too(self) -> None:
        file = io.BytesIO()
        image = Image.fromarray(np.array([[65535, 0]], np.uint16))
        exif = image.getexif()
        exif[0x0112] = 6
        image.save(file, "PNG", exif=exif)
        assert np.asarray(read_picture(file.getvalue()))[..., 0].tolist() == [[255], [0]]

    @pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
    def test_exif_orientation_is_applied(self, tmp_path: Path, suffix: str) -> None:
        file = tmp_path / f"turned.{suffix}"
        image = Image.new("RGB", (32, 16), "black")
        image.paste("white", (0, 0, 8, 16))
        exif = image.getexif()
        exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise: the left edge is the top
        image.save(file, exif=exif)
        upright = np.asarray(read_picture(file).convert("L"))
        assert upright.shape == (32, 16)
        assert upright[2].min() > 200
        assert upright[20].max() < 50

    def test_array_of_greys(self) -> None:
        assert read_picture(np.full((5, 7), 9, np.uint8)).getpixel((0, 0)) == (9, 9, 9)

    def test_array_may_be_a_view(self) -> None:
        bgr = pixels(7, 5)
        np.testing.assert_array_equal(np.asarray(read_picture(bgr[:, ::-1, ::-1])), bgr[:, ::-1, ::-1])

    @pytest.mark.parametrize(
        ("array", "advice"),
        [
            pytest.param(np.zeros((4, 4, 3), np.float32), "0..255", id="float-could-be-of-either-range"),
            pytest.param(np.zeros((4, 4, 3), np.uint16), "0..255", id="16-bit"),
            pytest.param(np.zeros((4, 4), bool), "0..255", id="a-mask"),
            pytest.param(np.zeros((3, 4, 4), np.uint8), "array.transpose(1, 2, 0)", id="channels-first"),
            pytest.param(np.zeros((1, 4, 5), np.uint8), "array.transpose(1, 2, 0)", id="grey-channel-first"),
            pytest.param(np.zeros((4, 4, 4), np.uint8), "alpha", id="alpha"),
            pytest.param(np.zeros((4, 4, 1), np.uint8), "array[:, :, 0]", id="grey-with-an-axis-too-many"),
            pytest.param(np.zeros((4, 4, 2), np.uint8), "red, green and blue", id="two-channels"),
            pytest.param(np.zeros((4, 4, 13), np.uint8), "red, green and blue", id="a-satellites-bands"),
            pytest.param(np.zeros((1, 4, 4, 3), np.uint8), "one picture at a time", id="a-batch"),
            pytest.param(np.zeros(4, np.uint8), "", id="a-row"),
            pytest.param(np.zeros((), np.uint8), "", id="a-number"),
        ],
    )
    def test_other_arrays_are_refused(self, array: NDArray[Any], advice: str) -> None:
        with pytest.raises(PictureError) as caught:
            read_picture(array)
        for part in (f"{array.dtype}{list(array.shape)}", GREYS, advice):
            assert part in str(caught.value)

    @pytest.mark.parametrize(
        "source",
        [
            pytest.param(np.zeros((0, 5, 3), np.uint8), id="an-array-without-rows"),
            pytest.param(np.zeros((5, 0), np.uint8), id="an-array-without-columns"),
            pytest.param(Image.new("RGB", (0, 5)), id="a-picture-without-columns"),
        ],
    )
    def test_no_pixels_are_refused(self, source: Any) -> None:
        with pytest.raises(PictureError, match=r"0x5|5x0"):
            read_picture(source)

    @pytest.mark.parametrize(
        "name",
        [
            pytest.param("nowhere.png", id="missing"),
            pytest.param("", id="a-folder"),
            pytest.param("x" * 5000, id="a-name-too-long-for-the-file-system"),
        ],
    )
    def test_no_file(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(PictureError, match=r"does not exist|cannot be read"):
            read_picture(tmp_path / name)

    @pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP"])
    @pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9], ids=["empty", "header", "half", "most"])
    @pytest.mark.filterwarnings("ignore::UserWarning:PIL")
    def test_a_file_cut_short(self, tmp_path: Path, form: str, share: float) -> None:
        whole = io.BytesIO()
        picture(32, 32).save(whole, form)
        file = tmp_path / "cut"
        file.write_bytes(whole.getvalue()[: int(share * len(whole.getvalue()))])
        with pytest.raises(PictureError, match=r"cut cannot be read .*is it whole"):
            read_picture(file)

    @pytest.mark.parametrize(
        "content",
        [
            pytest.param(b"hello, world", id="text"),
            pytest.param(b"P6 4x 4 255\n" + bytes(48), id="a-size-that-is-no-number"),
            pytest.param(b"\x89PNG\r\n\x1a\n" + bytes(64), id="nothing-after-the-signature"),
            pytest.param(b"DDS " + struct.pack("<I", 124) + bytes(120), id="a-reader-raises-notimplemented"),
            pytest.param(b"BLP1" + struct.pack("<i", 9) + bytes(200), id="a-reader-raises-its-own-error"),
        ],
    )
    def test_a_file_of_something_else(self, tmp_path: Path, content: bytes) -> None:
        file = tmp_path / "odd.png"
        file.write_bytes(content)
        with pytest.raises(PictureError, match=r"odd\.png cannot be read"):
            read_picture(file)

    @pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for Ghostscript is a shell script")
    def test_postscript_under_any_name_starts_no_program(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ghostscript, ran = tmp_path / "gs", tmp_path / "ran"
        ghostscript.write_text(f'#!/bin/sh\ntouch "{ran}"\n', encoding="utf-8")
        ghostscript.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
        whole = io.BytesIO()
        picture(32, 32).save(whole, "EPS")
        with Image.open(io.BytesIO(whole.getvalue())) as image, contextlib.suppress(OSError, ImportError):
            image.load()
        assert ran.is_file(), "Pillow itself starts no Ghostscript: the test cannot fail"
        ran.unlink()
        file = tmp_path / "scene.png"
        file.write_bytes(whole.getvalue())
        for source in (file, whole.getvalue(), io.BytesIO(whole.getvalue())):
            with pytest.raises(PictureError, match=r"\(it is PostScript\): expected PNG, JPEG"):
                read_picture(source)
        assert not is_drawing(file)
        assert not ran.exists()

    def test_a_library_that_opens_pictures_in_pillows_place(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Ultralytics imports a reader of HEIF for whatever Pillow does not know."""

        def opened(*_: object, **__: object) -> None:
            raise ModuleNotFoundError("No module named 'pi_heif'")

        monkeypatch.setattr(Image, "open", opened)
        with pytest.raises(PictureError, match=r"cannot be read \("):
            read_picture(b"no picture")

    @pytest.mark.parametrize("form", ["ICO", "PCX", "TGA", "JPEG2000"])
    def test_a_format_that_is_not_named_is_refused(self, form: str) -> None:
        whole = io.BytesIO()
        picture(32, 32).save(whole, form)
        with pytest.raises(PictureError, match=r"cannot be read \(.*(expected|is it whole, and) PNG, JPEG"):
            read_picture(whole.getvalue())

    def test_a_picture_that_was_opened_and_not_read_yet(self, tmp_path: Path) -> None:
        whole = io.BytesIO()
        picture(32, 32).save(whole, "PNG")
        half = io.BytesIO(whole.getvalue()[:1500])
        with pytest.raises(PictureError, match="cannot be read"):
            read_picture(Image.open(half))

    def test_bytes_are_a_file_in_memory(self) -> None:
        file = io.BytesIO()
        picture(7, 5).save(file, "PNG")
        np.testing.assert_array_equal(np.asarray(read_picture(file.getvalue())), pixels(7, 5))

    @pytest.mark.parametrize("content", [b"", b"hello"], ids=["no-bytes", "text"])
    def test_bytes_that_are_no_picture(self, content: bytes) -> None:
        with pytest.raises(PictureError, match=r"the picture cannot be read .*is it whole"):
            read_picture(content)

    def test_a_file_without_bytes_is_said_to_be_empty(self, tmp_path: Path) -> None:
        (tmp_path / "empty.png").touch()
        with pytest.raises(PictureError, match=r"empty\.png cannot be read \(no bytes at all\)"):
            read_picture(tmp_path / "empty.png")

    @pytest.mark.parametrize(
        ("limit", "warned"),
        [
            pytest.param(40, "ignore", id="up-to-twice-the-limit-pillow-only-warns"),
            pytest.param(40, "error", id="and-raises-where-warnings-are-errors"),
            pytest.param(30, "ignore", id="above-twice-the-limit-it-raises"),
        ],
    )
    def test_too_many_pixels_are_not_decoded(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, warned: Literal["ignore", "error"]
    ) -> None:
        file = tmp_path / "huge.png"
        picture(8, 8).save(file)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)

        def load(*_: object) -> None:
            raise AssertionError("the pixels were decoded")

        monkeypatch.setattr(PngImageFile, "load", load)
        with warnings.catch_warnings():
            warnings.simplefilter(warned, Image.DecompressionBombWarning)
            with pytest.raises(PictureError) as caught:
                read_picture(file)
        for part in ("huge.png is too large", "64 pixels", str(limit), "make it smaller", "MAX_IMAGE_PIXELS"):
            assert part in str(caught.value)

    @pytest.mark.parametrize("limit", [64, None], ids=["just-within", "lifted"])
    def test_pillows_limit_is_the_users_to_set(
        self, monkeypatch: pytest.MonkeyPatch, limit: int | None
    ) -> None:
        file = io.BytesIO()
        picture(8, 8).save(file, "PNG")
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        assert read_picture(file.getvalue()).size == (8, 8)


def tutorial_crop(image: Image.Image, size: int) -> Image.Image:
    """Short side to ``size``, the long one truncated; then the largest centred multiples of 32.

    cjm_pil_utils.core.resize_img with divisor 0, written out, and the crop of the YOLOX tutorial.
    """
    ratio = min(image.size) / size
    resized = [0, 0]
    resized[int(np.argmin(image.size))] = size
    if image.width == image.height:
        resized = [int(image.width / ratio), size]
    else:
        resized[int(np.argmax(image.size))] = int(max(image.size) / ratio)
    image = image.resize((resized[0], resized[1]))
    dims = [side - side % 32 for side in image.size]
    left, top = ((side - dim) // 2 for side, dim in zip(image.size, dims, strict=True))
    return image.crop((left, top, left + dims[0], top + dims[1]))


class TestCrop:
    @pytest.mark.parametrize(
        ("width", "height", "expected"),
        [
            pytest.param(320, 240, (320, 256), id="landscape-cropped-in-width"),
            pytest.param(240, 320, (256, 320), id="portrait-cropped-in-height"),
            pytest.param(256, 256, (256, 256), id="a-square-that-fits"),
            pytest.param(1000, 1000, (256, 256), id="a-large-square"),
            pytest.param(100, 70, (352, 256), id="a-small-picture-grows"),
            pytest.param(641, 480, (320, 256), id="a-fraction-is-cut-off"),
            pytest.param(640, 259, (608, 256), id="nearly-as-long-as-declared"),
            pytest.param(1, 1, (256, 256), id="one-pixel"),
        ],
    )
    def test_is_the_tutorials(self, width: int, height: int, expected: tuple[int, int]) -> None:
        image = picture(width, height)
        array, _ = prepare(image, CROP)
        wanted = tutorial_crop(image, CROP.size)
        assert size_of(array) == wanted.size == expected
        np.testing.assert_array_equal(array, to_input(wanted, CROP)[None])

    @examples(60)
    @given(short=st.integers(20, 300), stretch=st.floats(1, 2.4), portrait=st.booleans())
    def test_is_the_tutorials_at_any_size(self, short: int, stretch: float, *, portrait: bool) -> None:
        width, height = int(short * stretch), short
        image = Image.new("RGB", (height, width) if portrait else (width, height))
        assert size_of(prepare(image, CROP)[0]) == tutorial_crop(image, CROP.size).size

    @pytest.mark.parametrize(
        ("size", "fixed", "expected"),
        [
            pytest.param((60, 50), "width", (32, 32), id="cut-to-the-fixed-width"),
            pytest.param((50, 60), "height", (32, 32), id="cut-to-the-fixed-height"),
            pytest.param((50, 60), "width", (32, 32), id="the-other-side-varies"),
            pytest.param((50, 80), "width", (32, 48), id="and-is-longer"),
        ],
    )
    def test_a_picture_too_long_for_a_fixed_side_is_cut(
        self, size: tuple[int, int], fixed: str, expected: tuple[int, int]
    ) -> None:
        height, width = (Dim(name, 32, 32 if name == fixed else 48, 16) for name in ("height", "width"))
        array, transform = prepare(picture(*size), replace(CROP, size=32, height=height, width=width))
        assert size_of(array) == expected
        assert transform.scale_x == pytest.approx(32 / 50, rel=0.03)

    def test_a_square_that_the_division_misses_is_the_tutorials_too(self) -> None:
        # 27 / (27 / 416) is 415.99999999999994, so one side comes out a step smaller.
        array, _ = prepare(Image.new("RGB", (27, 27)), replace(CROP, size=416))
        assert size_of(array) == tutorial_crop(Image.new("RGB", (27, 27)), 416).size == (384, 416)

    @pytest.mark.parametrize(
        ("width", "height"),
        [
            pytest.param(1280, 400, id="landscape"),
            pytest.param(400, 1280, id="portrait"),
            pytest.param(3000, 350, id="nearly-too-long"),
        ],
    )
    def test_a_long_picture_is_made_smaller_and_keeps_its_ends(self, width: int, height: int) -> None:
        array, transform = prepare(gradient(width, height), CROP)
        assert HEIGHT.admits(array.shape[2])
        assert WIDTH.admits(array.shape[3])
        corners = np.array([[0, 0, *size_of(array)]], np.float32)
        x0, y0, x1, y1 = transform.restore(corners)[0] / (width, height, width, height)
        long_share = x1 - x0 if width > height else y1 - y0
        assert long_share > 1 - 32 / 640 - 1e-3

    @pytest.mark.parametrize(
        ("width", "height"),
        [
            pytest.param(10_000, 10, id="a-line"),
            pytest.param(10, 10_000, id="an-upright-line"),
            pytest.param(6500, 600, id="just-too-long"),
            pytest.param(3000, 1, id="one-pixel-high"),
        ],
    )
    def test_too_long_a_picture_names_another_way(self, width: int, height: int) -> None:
        with pytest.raises(PictureError) as caught:
            prepare(Image.new("RGB", (width, height)), CROP)
        for word in (f"{width}x{height}", "64..640 step 32", "export the model with predict.resize"):
            assert word in str(caught.value)


class TestLetterbox:
    @pytest.mark.parametrize(
        ("width", "height", "expected"),
        [
            pytest.param(640, 320, (320, 160), id="fits-without-padding"),
            pytest.param(640, 300, (320, 160), id="padded-above-and-below"),
            pytest.param(300, 640, (160, 320), id="padded-left-and-right"),
            pytest.param(100, 100, (320, 320), id="a-small-picture-grows"),
            pytest.param(10_000, 10, (320, 64), id="a-line-is-padded-to-the-least-height"),
            pytest.param(1, 10_000, (64, 320), id="one-pixel-wide"),
        ],
    )
    def test_size(self, width: int, height: int, expected: tuple[int, int]) -> None:
        assert size_of(prepare(Image.new("RGB", (width, height)), LETTERBOX)[0]) == expected

    def test_padding_is_grey_and_the_picture_in_the_middle(self) -> None:
        array, transform = prepare(Image.new("RGB", (640, 300), "white"), replace(LETTERBOX, divide_by=1))
        rows = array[0, 0, :, 7]
        assert rows[:5].tolist() == rows[-5:].tolist() == [PADDING[0]] * 5
        assert rows[5:-5].tolist() == [255] * 150
        assert (transform.offset_x, transform.offset_y) == (0, 5)

    @pytest.mark.parametrize(("width", "height"), [(900, 300), (300, 900)], ids=["landscape", "portrait"])
    def test_declared_sizes_win_over_the_asked_one(self, width: int, height: int) -> None:
        array, _ = prepare(Image.new("RGB", (width, height)), replace(LETTERBOX, size=5000))
        assert max(size_of(array)) == 640

    def test_each_dim_has_its_own_limit(self) -> None:
        spec = replace(LETTERBOX, size=640, height=Dim("height", 32, 96, 32))
        assert size_of(prepare(Image.new("RGB", (100, 100)), spec)[0]) == (96, 96)


class TestStretch:
    @pytest.mark.parametrize(
        ("size", "expected"),
        [
            pytest.param(320, 320, id="an-admitted-size"),
            pytest.param(330, 320, id="off-the-step-is-rounded-down"),
            pytest.param(5000, 640, id="above-the-range"),
            pytest.param(10, 64, id="below-the-range"),
        ],
    )
    def test_both_sides_become_size(self, size: int, expected: int) -> None:
        array, _ = prepare(Image.new("RGB", (999, 50)), replace(STRETCH, size=size))
        assert size_of(array) == (expected, expected)


@st.composite
def ranges(draw: st.DrawFn, name: str) -> Dim:
    step = draw(st.sampled_from([1, 8, 32]))
    low = draw(st.integers(1, 4))
    return Dim(name, low * step, draw(st.integers(low, 12)) * step, step)


SPECS = st.builds(
    replace,
    st.just(CROP),
    resize=st.sampled_from(["crop", "letterbox", "stretch"]),
    size=st.integers(1, 400),
    height=ranges("height"),
    width=ranges("width"),
)
SIDES = st.integers(1, 500) | st.integers(1, 12)


@examples(250)
@given(spec=SPECS, width=SIDES, height=SIDES, corners=st.tuples(*[st.floats(0, 1)] * 4))
def test_sizes_are_declared_and_boxes_find_their_way_back(
    spec: Preprocess, width: int, height: int, corners: tuple[float, float, float, float]
) -> None:
    try:
        array, transform = prepare(Image.new("RGB", (width, height)), spec)
    except PictureError:
        assume(spec.resize == "crop")
        return
    assert spec.width.admits(array.shape[3])
    assert spec.height.admits(array.shape[2])
    original = np.array([corners]) * (width, height, width, height)
    drawn = original * ([transform.scale_x, transform.scale_y] * 2) + (
        [transform.offset_x, transform.offset_y] * 2
    )
    restored = transform.restore(drawn)
    assert restored.dtype == np.float32
    np.testing.assert_allclose(restored, original, atol=1e-3)


@pytest.mark.parametrize("spec", [CROP, LETTERBOX, STRETCH], ids=lambda spec: spec.resize)
@pytest.mark.parametrize(("width", "height"), [(250, 180), (180, 250), (97, 101)])
def test_transform_tells_where_the_pixels_went(spec: Preprocess, width: int, height: int) -> None:
    """The picture's own colours say where each pixel of the input came from."""
    array, transform = prepare(gradient(width, height), replace(spec, divide_by=1))
    input_width, input_height = size_of(array)
    for x, y in [(0.3, 0.4), (0.5, 0.5), (0.7, 0.6)]:
        column, row = int(x * input_width), int(y * input_height)
        point = transform.restore(np.array([[column + 0.5, row + 0.5] * 2]))[0, :2]
        seen = array[0, :2, row, column] / 255 * (width - 1, height - 1) + 0.5
        np.testing.assert_allclose(point, seen, atol=1)


def test_restored_boxes_end_at_the_pictures_edge() -> None:
    transform = Transform(0.5, 2.0, 10, -4, picture_width=100, picture_height=50)
    boxes = np.array([[-50, -50, 500, 500], [20, 0, 30, 16]], np.float32)
    assert transform.restore(boxes).tolist() == [[0, 0, 100, 50], [20, 2, 40, 10]]


def test_no_boxes_are_restored_as_none() -> None:
    assert Transform(1, 1, 0, 0, 9, 9).restore(np.zeros((0, 4), np.float32)).shape == (0, 4)


@pytest.mark.parametrize(
    ("change", "shape", "dtype", "white"),
    [
        pytest.param({}, (3, 2, 4), "float32", 1.0, id="nchw-in-0-to-1"),
        pytest.param({"layout": "NHWC"}, (2, 4, 3), "float32", 1.0, id="nhwc-in-0-to-1"),
        pytest.param({"divide_by": 1}, (3, 2, 4), "float32", 255.0, id="the-graph-scales-itself"),
        pytest.param(
            {"dtype": "uint8", "divide_by": 1, "layout": "NHWC"},
            (2, 4, 3),
            "uint8",
            255,
            id="bytes-as-they-come",
        ),
    ],
)
def test_input_has_the_declared_form(
    change: dict[str, Any], shape: tuple[int, ...], dtype: str, white: float
) -> None:
    array = to_input(Image.new("RGB", (4, 2), "white"), replace(CROP, **change))
    assert array.shape == shape
    assert array.dtype == dtype
    assert np.all(array == white)
    assert array.flags.c_contiguous


def test_layouts_hold_the_same_pixels() -> None:
    image = picture(9, 7)
    first, last = (to_input(image, replace(CROP, layout=layout)) for layout in ("NCHW", "NHWC"))
    np.testing.assert_array_equal(first, last.transpose(2, 0, 1))
    np.testing.assert_array_equal(last, np.asarray(image).astype(np.float32) / np.float32(255))


FIXED = replace(CROP, size=72, height=Dim("height", 64, 64), width=Dim("width", 64, 64))


@pytest.mark.parametrize(
    "size",
    [
        pytest.param((320, 192), id="wide"),
        pytest.param((192, 320), id="tall"),
        pytest.param((4000, 10), id="very-wide"),
        *(pytest.param((side, side), id=f"square-{side}") for side in (9, 18, 64, 65, 1000)),
    ],
)
def test_fixed_sizes_take_the_centre_of_a_picture_of_any_aspect(size: tuple[int, int]) -> None:
    array, transform = prepare(Image.new("RGB", size, (10, 20, 30)), FIXED)
    assert array.shape == (1, 3, 64, 64)
    shown = transform.restore(np.array([[0, 0, 64, 64]], np.float32))[0]
    centre = (shown[:2] + shown[2:]) / 2
    np.testing.assert_allclose(centre, np.array(size) / 2, atol=max(size) / 72 + 1)


ULTRALYTICS = replace(LETTERBOX, filter="opencv-linear", divide_by=1)
DETR = replace(
    CROP,
    resize="short-side",
    size=64,
    longest=96,
    place="top-left",
    padding=(10, 20, 30),
    divide_by=1,
    height=Dim("height", 32, 128, 32),
    width=Dim("width", 32, 128, 32),
)


@pytest.mark.parametrize(("channels", "wanted"), [("rgb", [1, 2, 3]), ("bgr", [3, 2, 1])])
def test_channels_are_in_the_order_that_is_asked_for(
    channels: Literal["rgb", "bgr"], wanted: list[float]
) -> None:
    array, _ = prepare(Image.new("RGB", (64, 64), (1, 2, 3)), replace(ULTRALYTICS, channels=channels))
    assert array[0, :, 160, 160].tolist() == wanted


def test_a_small_picture_is_enlarged_only_if_the_spec_says_so() -> None:
    image = Image.new("RGB", (100, 50), "white")
    for enlarge, wanted in ((True, (320, 160)), (False, (128, 64))):
        array, transform = prepare(image, replace(ULTRALYTICS, enlarge=enlarge))
        assert size_of(array) == wanted
        assert transform.scale_x == (3.2 if enlarge else 1)


@pytest.mark.parametrize(
    ("place", "offset"),
    [pytest.param("centre", (0, 80), id="centre"), pytest.param("top-left", (0, 0), id="corner")],
)
def test_a_letterbox_is_padded_to_its_size(
    place: Literal["centre", "top-left"], offset: tuple[int, int]
) -> None:
    spec = replace(ULTRALYTICS, pad_to="size", place=place, padding=(10, 20, 30))
    array, transform = prepare(Image.new("RGB", (200, 100), "white"), spec)
    assert size_of(array) == (320, 320)
    assert (transform.offset_x, transform.offset_y) == offset
    assert array[0, :, 319, 0].tolist() == [10, 20, 30]
    rows = np.flatnonzero(array[0, 0, :, 0] == 255)
    assert (rows[0], rows[-1]) == (offset[1], offset[1] + 159)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        pytest.param((100, 80), (96, 64), id="80-by-64-and-padded-to-steps"),
        pytest.param((80, 100), (64, 96), id="portrait"),
        pytest.param((300, 100), (96, 32), id="the-long-side-has-a-limit"),
    ],
)
def test_short_side(size: tuple[int, int], expected: tuple[int, int]) -> None:
    array, transform = prepare(Image.new("RGB", size, "white"), DETR)
    assert size_of(array) == expected
    corner = np.array([[0, 0, size[0] * transform.scale_x, size[1] * transform.scale_y]])
    assert transform.restore(corner).tolist() == [[0, 0, *size]]
    seen = array[0, 0, : round(corner[0, 3]), : round(corner[0, 2])]
    assert (seen == 255).all()
    assert (array[0, 0] == 255).sum() == seen.size


def test_a_picture_that_does_not_fit_the_declared_sizes_names_another_way() -> None:
    spec = replace(DETR, width=Dim("width", 32, 128, 32), height=Dim("height", 32, 32, 32))
    with pytest.raises(PictureError, match=r"80x100 .*export the model with predict.resize = .letterbox"):
        prepare(Image.new("RGB", (80, 100)), replace(spec, width=Dim("width", 16, 16)))


def test_one_ratio_is_for_pictures_that_keep_their_aspect() -> None:
    with pytest.raises(RequestError, match="way_back"):
        replace(STRETCH, way_back="ratio")
    _, transform = prepare(Image.new("RGB", (201, 100)), replace(ULTRALYTICS, way_back="ratio"))
    assert transform.scale_x == transform.scale_y == 320 / 201


@pytest.mark.parametrize("spec", [CROP, DETR, ULTRALYTICS], ids=["defaults", "detr", "ultralytics"])
def test_a_spec_is_read_back(spec: Preprocess) -> None:
    assert Preprocess.read(Entry(json.loads(json.dumps(spec.to_json())))) == spec


def test_a_spec_of_an_older_version_means_what_it_did() -> None:
    document = CROP.to_json()
    older = {key: document[key] for key in "input layout dtype divide_by resize size height width".split()}
    assert Preprocess.read(Entry(older)) == CROP


@pytest.mark.parametrize(
    "change",
    [{"filter": "bilinear"}, {"padding": [1, 2]}, {"padding": [0, 0, 256]}, {"enlarge": 1}, {"longest": 0}],
    ids=lambda change: next(iter(change)),
)
def test_other_values_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ModelFileError, match=next(iter(change))):
        Preprocess.read(Entry(CROP.to_json() | change))


IN_GRAPH = replace(
    LETTERBOX,
    dtype="uint8",
    divide_by=1,
    layout="NHWC",
    height=Dim("picture_height", 32, 600),
    width=Dim("picture_width", 32, 600),
    network=(320, 320),
)


class TestAGraphThatFitsPicturesItself:
    def test_gets_the_picture_as_it_is(self) -> None:
        array, _ = prepare(picture(400, 300), IN_GRAPH)
        np.testing.assert_array_equal(array[0], pixels(400, 300))

    def test_boxes_come_back_as_from_what_a_host_would_lay(self) -> None:
        _, told = prepare(picture(400, 300), IN_GRAPH)
        _, wanted = prepare(picture(400, 300), as_network_sees(IN_GRAPH))
        assert told == wanted
        assert (told.scale_x, told.offset_y) == (0.8, 40)

    def test_boxes_in_the_picture_stay_where_they_are(self) -> None:
        _, told = prepare(picture(400, 300), replace(IN_GRAPH, boxes="picture"))
        assert told == Transform(1, 1, 0, 0, 400, 300)

    def test_a_picture_of_an_undeclared_size_is_refused(self) -> None:
        with pytest.raises(PictureError, match=r"700x300 pixels; the file was proved for a width in 32..600"):
            prepare(picture(700, 300), IN_GRAPH)

    def test_is_read_back(self) -> None:
        document = json.loads(json.dumps(IN_GRAPH.to_json()))
        assert Preprocess.read(Entry(document, "preprocess")) == IN_GRAPH


@pytest.mark.parametrize(
    ("step_rounding", "size"), [("nearest", (80, 64)), ("down", (80, 64)), ("up", (96, 64))]
)
def test_sides_are_rounded_to_steps(step_rounding: Any, size: tuple[int, int]) -> None:
    free = Dim("height", 16, 640, 16), Dim("width", 16, 640, 16)
    spec = replace(
        CROP,
        resize="short-side",
        size=60,
        height=free[0],
        width=free[1],
        step=16,
        step_rounding=step_rounding,
    )
    if step_rounding == "down":
        spec = replace(spec, size=64)  # 64 by 89.6
    array, transform = prepare(picture(140, 100), spec)
    assert (array.shape[3], array.shape[2]) == size
    assert transform.scale_x == size[0] / 140


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [(640, 480, (690, 518)), (300, 200, (518, 350)), (518, 518, (518, 518))],
    ids=["the-height-changes-less", "the-width-does", "neither-changes"],
)
def test_the_side_that_changes_less_gets_the_size(width: int, height: int, size: tuple[int, int]) -> None:
    free = Dim("height", 1, 2048), Dim("width", 1, 2048)
    spec = replace(CROP, resize="nearest-side", size=518, height=free[0], width=free[1])
    array, _ = prepare(picture(width, height), spec)
    assert abs(array.shape[3] - size[0]) <= 5
    assert abs(array.shape[2] - size[1]) <= 5
    stepped, _ = prepare(picture(width, height), replace(spec, step=14))
    assert stepped.shape[2] % 14 == stepped.shape[3] % 14 == 0


def test_a_square_is_cut_in_its_centre() -> None:
    fixed = Dim("height", 40, 40), Dim("width", 32, 32)
    spec = replace(CROP, resize="stretch-crop", size=48, height=fixed[0], width=fixed[1])
    array, transform = prepare(gradient(96, 96), spec)
    whole, _ = prepare(
        gradient(96, 96),
        replace(spec, resize="stretch", height=Dim("height", 48, 48), width=Dim("width", 48, 48)),
    )
    np.testing.assert_array_equal(array, whole[:, :, 4:44, 8:40])
    assert (transform.offset_x, transform.offset_y) == (-8, -4)
