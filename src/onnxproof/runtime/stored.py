"""Arrays in .npy and .npz files: what each header declares, before anything of that size is read.

A header of a few bytes may declare more than any memory holds, and a .npz of 1 MB may unpack to 1 GB.
"""

import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from onnxproof.errors import RequestError
from onnxproof.system.damaged import ARCHIVE_ERRORS, ARRAY_ERRORS
from onnxproof.system.disk import not_there
from onnxproof.system.files import explained, replacing
from onnxproof.system.signatures import checks_arguments

Array = NDArray[Any]

SUFFIX = ".npy"

WRITTEN = b"onnxproof"
"""The comment of a ``.npz`` of ours."""

VERSIONS: dict[tuple[int, int], Callable[[IO[bytes]], tuple[tuple[int, ...], bool, np.dtype[Any]]]] = {
    (1, 0): npy.read_array_header_1_0,
    (2, 0): npy.read_array_header_2_0,
}
"""NumPy's readers of headers."""

RECORDS = (3, 0)
"""The version that is written for records alone, which are no tensors."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An array in a file: its dtype and shape as its header declares them."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    _open: Callable[[], IO[bytes]]

    @property
    def outline(self) -> Array:
        """An array of this dtype and shape that takes no memory. Its values mean nothing."""
        return np.broadcast_to(np.zeros((), self.dtype), self.shape)

    def read(self) -> Array:
        """The array. Raises ValueError, or what the file's reader raises, if it is damaged."""
        with self._open() as stream:
            found: Array = npy.read_array(stream, allow_pickle=False)
            return found


@contextmanager
def arrays_in(file: Path) -> Iterator[Mapping[str, Stored]]:
    """The arrays of a ``.npz`` by name, or that of a ``.npy`` under the name "", while the block runs.

    Raises RequestError, in the block, too, if the file is missing or damaged, holds anything else than
    arrays, or has not as many bytes as a header declares.
    """
    if not file.is_file():
        raise RequestError(f"{file} {not_there(file)}: name a .npy or .npz file")
    try:
        with _opened(file) as found:
            yield found
    except MemoryError as error:
        raise RequestError(f"{file} holds more than fits into memory: give smaller arrays") from error
    except ARRAY_ERRORS as error:
        reason = str(error).strip().splitlines()[0] if str(error) else type(error).__name__
        raise RequestError(
            f"{file} holds no arrays that can be read ({reason}): write it with numpy.save or numpy.savez"
        ) from error


@contextmanager
def _opened(file: Path) -> Iterator[dict[str, Stored]]:
    """As ``arrays_in``. Raises any of ``ARRAY_ERRORS``."""
    with file.open("rb") as stream:
        if stream.read(len(npy.MAGIC_PREFIX)) == npy.MAGIC_PREFIX:
            yield {"": _stored(lambda: file.open("rb"), os.fstat(stream.fileno()).st_size)}
            return
        with zipfile.ZipFile(stream) as archive:
            members = archive.infolist()
            foreign = [about.filename for about in members if not about.filename.endswith(SUFFIX)]
            if foreign:
                raise ValueError(f"it holds {foreign[0]}, which is no array")
            if len(set(archive.namelist())) < len(members):
                raise ValueError("it holds two arrays of one name")
            yield {
                about.filename.removesuffix(SUFFIX): _stored(_opener(archive, about), about.file_size)
                for about in members
            }


def _opener(archive: zipfile.ZipFile, about: zipfile.ZipInfo) -> Callable[[], IO[bytes]]:
    return lambda: archive.open(about)


def _stored(opened: Callable[[], IO[bytes]], size: int) -> Stored:
    """The array that begins where a file of ``size`` bytes does."""
    with opened() as stream:
        version = npy.read_magic(stream)
        if version == RECORDS:
            raise ValueError("it holds records, not numbers")
        if version not in VERSIONS:
            raise ValueError(f"its format {'.'.join(map(str, version))} is none of NumPy's")
        shape, _, dtype = VERSIONS[version](stream)
        at = stream.tell()
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are not read")
    count = 1
    for side in shape:
        count *= side
    if count * dtype.itemsize > size - at:
        raise ValueError(
            f"it declares {dtype}{list(shape)}, {count * dtype.itemsize:,} bytes, and holds {size - at:,}"
        )
    return Stored(dtype, shape, opened)


@checks_arguments
def write_arrays(path: str | PathLike[str], arrays: Mapping[str, Array]) -> None:
    """Write a ``.npz`` that ``numpy.load`` reads. Unlike ``numpy.savez``, it takes any name.

    The archive's comment says who wrote it: ``predict`` replaces no other one.

    Raises RequestError if the file cannot be written; an older file is then as it was.
    """
    with (
        explained(Path(path), kind="file"),
        replacing(Path(path)) as file,
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        archive.comment = WRITTEN
        for name, array in arrays.items():
            plain = array.astype(str) if array.dtype == object else array
            with archive.open(f"{name}{SUFFIX}", "w", force_zip64=True) as stream:
                npy.write_array(stream, plain, allow_pickle=False)


def wrote_arrays(file: Path) -> bool:
    """Whether a file is one that ``write_arrays`` wrote."""
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.comment == WRITTEN
    except ARCHIVE_ERRORS:
        return False
