"""How a file that comes from elsewhere is read: it may be anything."""

import errno
import stat
from pathlib import Path

MOST_READ = 2**28
"""Bytes that ``read_foreign`` reads at most."""


def read_foreign(file: Path, most: int = MOST_READ) -> bytes:
    """The bytes of a file that comes from elsewhere.

    Raises OSError if it cannot be read, if it holds more than ``most`` bytes, and if it is no file: to read a
    pipe or a device might take for ever.
    """
    mode = file.stat().st_mode
    if not stat.S_ISREG(mode):
        number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
        raise OSError(number, "it is a folder" if stat.S_ISDIR(mode) else "it is a pipe or a device")
    with file.open("rb") as stream:
        content = stream.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it holds more than {most:,} bytes")
    return content
