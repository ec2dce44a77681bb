"""Read a file that lies in a folder, or in a bundle that is one file.

Such a bundle is a ZIP archive whose files are stored as they are, so nothing is unpacked. A file in it is
named as if the archive were a folder: ``digits.zip/model.onnx``.
"""

import contextlib
import hashlib
import zipfile
from collections.abc import Iterator
from pathlib import Path

from onnxproof.errors import ModelFileError
from onnxproof.system.damaged import ARCHIVE_ERRORS
from onnxproof.system.files import write_bytes
from onnxproof.system.scratch import scratch_folder

SUFFIX = ".zip"

FIRST = b"PK\x03\x04"
"""How a file in an archive begins, and so an archive with nothing before its first file."""
CUT_OFF = "it is cut off: its end is missing"

CHUNK = 2**20
"""Bytes that are read at once."""

ALLOW = "give this user the right to read it, chmod u+r"
"""What to do about a file that may not be read."""


def is_archive(path: Path) -> bool:
    """Whether a path is that of a bundle in one file, by its suffix."""
    return path.suffix.lower() == SUFFIX and path.is_file()


def in_archive(file: Path) -> bool:
    """Whether a file lies in a bundle that is one file."""
    return is_archive(file.parent)


def is_there(file: Path) -> bool:
    """Whether there is such a file. Raises ModelFileError if its archive cannot be read."""
    if not in_archive(file):
        return file.is_file()
    return file.name in _names(file.parent)


def read_file(file: Path) -> bytes:
    """The bytes of a file.

    Raises ModelFileError if it may not be read, or is in an archive that is damaged, that lacks it or that
    compresses it, and OSError for another that cannot be read.
    """
    if not in_archive(file):
        try:
            return file.read_bytes()
        except PermissionError as error:
            raise forbidden(file, error) from error
    try:
        with _opened(file.parent) as archive:
            about = archive.getinfo(file.name)
            if about.compress_type != zipfile.ZIP_STORED or about.flag_bits & 1:
                raise ModelFileError(
                    f"{file} is compressed or encrypted, so it cannot be read without unpacking: write the "
                    "archive with onnxproof package BUNDLE --format zip"
                )
            return archive.read(about)
    except KeyError as error:
        raise ModelFileError(f"{file.parent} holds no {file.name}: package the bundle again") from error
    except ARCHIVE_ERRORS as error:
        raise _damaged(file.parent, error) from error


@contextlib.contextmanager
def on_disk(file: Path, *others: Path) -> Iterator[Path]:
    """A file that programs can open which read no archive; ``others`` lie beside it, where they are there.

    It is the file itself if it lies in a folder, and else a copy that is removed again. Raises as
    ``read_file``.
    """
    if not in_archive(file):
        yield file
        return
    with scratch_folder() as folder:
        for one in (file, *others):
            if is_there(one):
                write_bytes(folder / one.name, read_file(one))
        yield folder / file.name


def unpacked_bytes(file: Path) -> int:
    """How many bytes a ZIP archive unpacks into, as it says; 0 for a file that is none, or a damaged one."""
    try:
        with zipfile.ZipFile(file) as archive:
            return sum(part.file_size for part in archive.infolist())
    except ARCHIVE_ERRORS:
        return 0


def damaged_in(archive: Path) -> str | None:
    """The name of a part of a ZIP archive that is not what was saved, by its CRC-32; None if there is none.

    PyTorch can leave checksums out (``set_crc32_options``); they are then 0. Raises what ``zipfile`` raises
    of an archive that it cannot open.
    """
    with zipfile.ZipFile(archive) as opened:
        for part in (one for one in opened.infolist() if one.CRC):
            try:
                with opened.open(part) as stream:
                    while stream.read(CHUNK):
                        pass
            except ARCHIVE_ERRORS:
                return part.filename
    return None


def sha256_of(file: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal. Raises as ``read_file``."""
    if in_archive(file):
        return hashlib.sha256(read_file(file)).hexdigest()
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except PermissionError as error:
        raise forbidden(file, error) from error


def forbidden(file: Path, error: PermissionError) -> ModelFileError:
    """The error for a file that is there, and that the system does not let this user read."""
    return ModelFileError(f"{file} cannot be read ({error.strerror or error}): {ALLOW}")


@contextlib.contextmanager
def _opened(archive: Path) -> Iterator[zipfile.ZipFile]:
    """An archive that is read. Raises one of ``ARCHIVE_ERRORS`` if it is damaged or cut off.

    The end of an archive that lies in it as a file may then stand in place of its own.
    """
    with archive.open("rb") as stream:
        starts_with_file = stream.read(len(FIRST)) == FIRST
        if starts_with_file and not zipfile.is_zipfile(stream):
            raise ValueError(CUT_OFF)
        with zipfile.ZipFile(stream) as opened:
            if starts_with_file and all(about.header_offset for about in opened.infolist()):
                raise ValueError(CUT_OFF)
            yield opened


def _names(archive: Path) -> tuple[str, ...]:
    try:
        with _opened(archive) as opened:
            names = tuple(opened.namelist())
    except ARCHIVE_ERRORS as error:
        raise _damaged(archive, error) from error
    if len(set(names)) != len(names):
        raise ModelFileError(f"{archive} holds two files of one name: package the bundle again")
    return names


def _damaged(archive: Path, error: Exception) -> ModelFileError:
    return ModelFileError(f"{archive} cannot be read ({error}): copy it again, or package the bundle again")
