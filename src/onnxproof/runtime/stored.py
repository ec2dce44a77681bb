"""Arrays in .npy and .npz files: what each header declares, before anything of that size is read.

A header of a few bytes may declare more than any memory holds, and a .npz of 1 MB may unpack to 1 GB.
"""

import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from onnxproof.errors import RequestError
from onnxproof.system.disk import not_there

Array = NDArray[Any]

SUFFIX = ".npy"

UNREAD = (OSError, ValueError, EOFError, OverflowError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What readers of damaged archives and arrays raise. RuntimeError: a password, an unknown compression."""

VERSIONS: dict[tuple[int, int], Callable[[IO[bytes]], tuple[tuple[int, ...], bool, np.dtype[Any]]]] = {
    (1, 0): npy.read_array_header_1_0,
    (2, 0): npy.read_array_header_2_0,
}
"""NumPy's readers of headers. Version 3 is written for records alone, which are no tensors."""


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
    except UNREAD as error:
        reason = str(error).strip().splitlines()[0] if str(error) else type(error).__name__
        raise RequestError(
            f"{file} holds no arrays that can be read ({reason}): write it with numpy.save or numpy.savez"
        ) from error


@contextmanager
def _opened(file: Path) -> Iterator[dict[str, Stored]]:
    """As ``arrays_in``. Raises any of ``UNREAD``."""
    with file.open("rb") as stream:
        if stream.read(len(npy.MAGIC_PREFIX)) == npy.MAGIC_PREFIX:
            yield {"": _stored(lambda: file.open("rb"), os.fstat(stream.fileno()).st_size)}
            return
        with zipfile.ZipFile(stream) as archive:
            yield {
                about.filename.removesuffix(SUFFIX): _stored(_opener(archive, about), about.file_size)
                for about in archive.infolist()
            }


def _opener(archive: zipfile.ZipFile, about: zipfile.ZipInfo) -> Callable[[], IO[bytes]]:
    return lambda: archive.open(about)


def _stored(opened: Callable[[], IO[bytes]], size: int) -> Stored:
    """The array that begins where a file of ``size`` bytes does."""
    with opened() as stream:
        version = npy.read_magic(stream)
        if version not in VERSIONS:
            raise ValueError("it holds records, not numbers")
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
