"""Drawings as files: their names, and the mark that tells them from other pictures."""

import errno
import warnings
from collections.abc import Iterable
from pathlib import Path

from PIL import Image, PngImagePlugin

from onnxproof.runtime.picture_file import open_picture
from onnxproof.runtime.remote import Place
from onnxproof.system.files import replacing

SOFTWARE = "Software"
"""The PNG keyword for what wrote a file (PNG specification, 11.3.4.3, "Keywords and text strings")."""
ONNXPROOF = "onnxproof"

NAMELESS = "picture"
"""What a drawing is called whose picture has nothing but dots before its suffix: ".." is another folder."""


def drawing_names(pictures: Iterable[Place]) -> tuple[str, ...]:
    """The file name of each picture's drawing: the picture's with ``.png``, and a number if two are the same.

    Names that differ only in case count as the same, because some file systems do not tell them apart.
    """
    names: list[str] = []
    taken: set[str] = set()
    last: dict[str, int] = {}  # the number of each stem's last name, so that no number is tried twice
    for picture in pictures:
        stem = picture.stem if picture.stem.strip(".") else NAMELESS
        name, number = f"{stem}.png", last.get(stem.casefold(), 1)
        while name.casefold() in taken:
            number += 1
            name = f"{stem}-{number}.png"
        last[stem.casefold()] = number
        names.append(name)
        taken.add(name.casefold())
    return tuple(names)


def save_drawing(drawing: Image.Image, file: Path) -> None:
    """Write a drawing as PNG. Replaces an older drawing, but no other file.

    Raises OSError if the file cannot be written, FileExistsError if something else is there.
    """
    if file.exists() and not is_drawing(file):
        raise FileExistsError(errno.EEXIST, f"{file.name} is there and was not drawn by onnxproof", str(file))
    said = PngImagePlugin.PngInfo()
    said.add_text(SOFTWARE, ONNXPROOF)
    with replacing(file) as stream:
        drawing.save(stream, format="PNG", pnginfo=said)


def is_drawing(file: Path) -> bool:
    """Whether a file is a picture that ``save_drawing`` wrote."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with open_picture(file, ("PNG",)) as image:
                return image.info.get(SOFTWARE) == ONNXPROOF
    except (OSError, ValueError, SyntaxError, ImportError, Image.DecompressionBombError):
        # ImportError: a package that replaced Image.open (ultralytics) asks for a plugin for unknown formats.
        return False
