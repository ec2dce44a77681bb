"""Temporary files and folders, which go when their block or their process ends."""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from onnxproof.errors import RequestError
from onnxproof.system.claims import claimed_folder
from onnxproof.system.disk import FULL, NOT_WRITABLE
from onnxproof.system.files import lies_in

LEAST_ROOM = 2**14
"""Bytes. A disk with less is full: each file takes a block or two, of 4 KiB as a rule."""


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """An empty folder for temporary files, in the system's place for them.

    It is removed when the block ends. Leftovers of this user's killed processes are removed first. Raises
    RequestError if the folder cannot be made, and in place of an error in the block whose cause is that
    nothing can be written there, whoever tried: libraries raise errors of their own where the disk is full.
    """
    with contextlib.ExitStack() as claimed:
        with _temporary():
            place = Path(tempfile.gettempdir(), "scratch")
            folder = claimed.enter_context(claimed_folder(place, mode=0o700))
        try:
            yield folder
        except Exception as error:
            # A wrong request is told as it is, unless it is on a file that could not be written here.
            if isinstance(error, RequestError) and str(folder) not in str(error):
                raise
            if (reason := _why_not_written(error, folder)) is not None:
                raise _no_room(reason) from error
            raise


def nameless_file() -> IO[bytes]:
    """A temporary file without a name, which goes when it is closed or its process ends.

    Raises RequestError if there is no room for it.
    """
    with _temporary():
        return tempfile.TemporaryFile()


@contextlib.contextmanager
def _temporary() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _no_room(error.strerror or str(error)) from error


def _no_room(reason: str) -> RequestError:
    place = tempfile.tempdir or os.environ.get("TMPDIR", "")
    return RequestError(
        f"the folder for temporary files {place} cannot be written ({reason}): free space there, or name "
        "another folder in the environment variable TMPDIR"
    )


def _why_not_written(error: Exception, folder: Path) -> str | None:
    """Why nothing can be written to a scratch folder, if that is behind an error in its block."""
    if isinstance(error, OSError):
        inside = error.filename is not None and lies_in(Path(os.fsdecode(error.filename)), folder)
        if error.errno in (NOT_WRITABLE if inside else FULL if error.filename is None else ()):
            return os.strerror(error.errno or 0)
        return None
    # A library may raise any error, and leave the file that filled the disk.
    full = shutil.disk_usage(folder).free < LEAST_ROOM
    return os.strerror(errno.ENOSPC) if full else None
