"""Picture files: the formats that are read, and the one place that opens them.

Pillow goes by a file's content, whatever its name says, and for some formats it starts another program:
Ghostscript for PostScript, which the file then tells what to do. So only the formats in ``FORMATS`` are
tried, which Pillow decodes itself.
"""

from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

FORMATS: tuple[str, ...] = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
"""Pillow's names of the formats that are read."""

EXPECTED = "PNG, JPEG, WebP, BMP, TIFF, GIF or PPM"
"""``FORMATS`` as messages and docs name them."""

_MOST_SNIFFED = 64
"""Bytes at the beginning of a file that tell what it is."""

_OTHERS: dict[bytes, str] = {
    b"%!PS": "PostScript",
    b"\xc5\xd0\xd3\xc6": "PostScript",
    b"%PDF": "a PDF",
    b"8BPS": "a Photoshop file",
    b"\x00\x00\x00\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\x00\x00\x00\x0cJXL ": "JPEG XL",
    b"\xff\x0a": "JPEG XL",
    b"\x00\x00\x01\x00": "an icon (ICO)",
    b"icns": "an icon (ICNS)",
    b"DDS ": "a DirectDraw surface (DDS)",
    b"SIMPLE": "FITS",
    b"\x76\x2f\x31\x01": "OpenEXR",
    b"#?RADIANCE": "Radiance HDR",
    b"\xd7\xcd\xc6\x9a": "a Windows metafile",
    b"<svg": "SVG",
    b"<?xml": "XML",
    b"<!doctype html": "a web page",
    b"<html": "a web page",
    b"\x93NUMPY": "a NumPy array",
    b"PK\x03\x04": "a ZIP archive",
}
"""How files begin that are given as pictures and are none that is read, and what they are."""

_BRANDS: dict[bytes, str] = {
    b"avif": "AVIF",
    b"avis": "AVIF",
    b"heic": "HEIC",
    b"heix": "HEIC",
    b"mif1": "HEIF",
}
"""The same for what follows ``ftyp`` in a file of ISO's base media format (ISO/IEC 14496-12)."""


def open_picture(file: Path | BinaryIO, formats: tuple[str, ...] = FORMATS) -> Image.Image:
    """The picture of a file as Pillow opens it: its pixels are not decoded yet.

    ``formats`` are some of ``FORMATS``. Raises what ``Image.open`` raises; UnidentifiedImageError for a file
    of another format, whatever its name.
    """
    try:
        return Image.open(file, formats=formats)
    except ImportError as error:  # Ultralytics replaces Image.open, and asks for a reader of HEIF
        raise UnidentifiedImageError(str(error)) from error


def other_format(file: BinaryIO) -> str | None:
    """What a file is, by how it begins, if it is of a known format that is not read.

    Returns None if it may be read.
    """
    file.seek(0)
    start = file.read(_MOST_SNIFFED)
    if start[4:8] == b"ftyp":
        return _BRANDS.get(start[8:12], "a video, or a picture in a video's container")
    text = start.lstrip().lower()
    known = (kind for begins, kind in _OTHERS.items() if start.startswith(begins) or text.startswith(begins))
    return next(known, None)
