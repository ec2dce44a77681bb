"""The pictures that a user names: files, folders, patterns, and URLs of any of these."""

import glob
from collections.abc import Iterable, Sequence
from pathlib import Path

from onnxproof.errors import PictureError, RequestError
from onnxproof.runtime.remote import Place, RemotePicture, is_url, list_remote

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
"""The files of a folder that are taken for pictures."""


def pictures_named(given: Iterable[str]) -> tuple[Place, ...]:
    """The files that texts name, in their order; those of a folder or a pattern sorted by name.

    Raises RequestError if a folder holds no picture or a pattern matches no file, PictureError if a URL
    cannot be reached.
    """
    return tuple(file for one in given for file in _files(one))


def several(given: Sequence[str]) -> bool:
    """Whether the texts may name more than one picture."""
    return len(given) > 1 or any(_is_pattern(one) or Path(one).is_dir() for one in given)


def _files(one: str) -> Sequence[Place]:
    if is_url(one):
        remote = list_remote(one, SUFFIXES)
        if not remote:
            raise RequestError(f"{one} names no picture: give a file, a folder of pictures or a pattern")
        return remote
    place = Path(one)
    if place.is_dir():
        found = sorted(file for file in place.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())
        if not found:
            raise RequestError(f"folder {one} holds no picture: expected one of {', '.join(SUFFIXES)} in it")
        return found
    if _is_pattern(one):
        matched = sorted(glob.glob(one, recursive=True))  # noqa: PTH207 - absolute patterns too
        files = [path for path in map(Path, matched) if path.is_file()]
        if not files:
            raise RequestError(f"the pattern {one} matches no file")
        return files
    return [place]


def stamp_of(place: Place) -> str:
    """A text that is another when a picture's file is another: its size and time, or what its URL tells.

    Raises PictureError if a file is not there.
    """
    if isinstance(place, RemotePicture):
        return place.stamp
    try:
        found = place.stat()
    except (OSError, ValueError) as error:
        raise PictureError(f"picture {place} does not exist, or is no file: {error}") from error
    return f"{found.st_size} {found.st_mtime_ns}"


def _is_pattern(one: str) -> bool:
    if is_url(one):
        return any(sign in one for sign in "*?[") or one.endswith("/")
    return glob.has_magic(one) and not Path(one).exists()
