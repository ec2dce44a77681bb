"""The pictures that predict is given: files, folders, patterns, and names on standard input."""

import glob
import sys
from collections.abc import Sequence
from pathlib import Path

from onnxproof.errors import RequestError

STANDARD_INPUT = "-"

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
"""The files of a folder that are taken for pictures."""


def pictures_named(given: Sequence[Path]) -> tuple[Path, ...]:
    """The files that the arguments name, in their order; those of a folder or a pattern sorted by name.

    "-" stands for names on standard input, one a line. Raises RequestError if a folder holds no picture, or
    if a pattern matches no file.
    """
    return tuple(file for one in given for file in _files(one))


def several(given: Sequence[Path]) -> bool:
    """Whether the arguments may name more than one picture."""
    return len(given) > 1 or any(
        str(one) == STANDARD_INPUT or one.is_dir() or _is_pattern(one) for one in given
    )


def _files(one: Path) -> Sequence[Path]:
    if str(one) == STANDARD_INPUT:
        named = [Path(line) for line in sys.stdin.read().splitlines() if line.strip()]
        if not named:
            raise RequestError("standard input names no picture: expected one path a line")
        return named
    if one.is_dir():
        found = sorted(file for file in one.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())
        if not found:
            raise RequestError(f"folder {one} holds no picture: expected one of {', '.join(SUFFIXES)} in it")
        return found
    if _is_pattern(one):
        matched = sorted(glob.glob(str(one), recursive=True))  # noqa: PTH207 - absolute patterns too
        files = [path for path in map(Path, matched) if path.is_file()]
        if not files:
            raise RequestError(f"the pattern {one} matches no file")
        return files
    return [one]


def _is_pattern(one: Path) -> bool:
    return glob.has_magic(str(one)) and not one.exists()
