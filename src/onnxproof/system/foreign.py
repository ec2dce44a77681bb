"""How a file that comes from elsewhere is read: it may be anything."""

import errno
import stat
from pathlib import Path
from typing import BinaryIO

MOST_READ = 2**28
"""Bytes that ``read_foreign`` reads at most."""

CHUNK = 2**20
"""Bytes that are read at once."""


def read_foreign(file: Path, most: int = MOST_READ, *, pipes: bool = False) -> bytes:
    """The bytes of a file that comes from elsewhere.

    Raises OSError if it cannot be read, if it holds more than ``most`` bytes, and if it is no file: to read a
    pipe or a device might take for ever. With ``pipes``, a pipe is read to its end.
    """
    mode = file.stat().st_mode
    if not (stat.S_ISREG(mode) or (pipes and stat.S_ISFIFO(mode))):
        number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
        other = "it is a device" if pipes else "it is a pipe or a device"
        raise OSError(number, "it is a folder" if stat.S_ISDIR(mode) else other)
    with file.open("rb") as stream:
        return read_most(stream, most)


def read_most(stream: BinaryIO, most: int = MOST_READ) -> bytes:
    """What is left in a stream. Raises OSError if it cannot be read, or is more than ``most`` bytes."""
    parts: list[bytes] = []
    left = most + 1
    while left and (part := stream.read(min(left, CHUNK))):
        parts.append(part)
        left -= len(part)
    if not left:
        raise OSError(errno.EFBIG, f"it holds more than {most:,} bytes")
    return b"".join(parts)
