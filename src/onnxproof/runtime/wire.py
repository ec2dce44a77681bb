"""The protobuf wire format, read field by field. Only what a caller needs is copied.

Format: protobuf.dev/programming-guides/encoding.
"""

from collections.abc import Iterator
from mmap import mmap

Buffer = bytes | mmap

MOST_FIELDS = 2_000_000
"""The most fields that are read of one file, in about a second. A network of 1,000 nodes has some 10,000."""


class WireError(ValueError):
    """The bytes are no protobuf message. protobuf refuses them, too."""


class NotReadError(Exception):
    """The message has a part that this module does not read, though protobuf may."""


class Wire:
    """A buffer that holds a protobuf message, and how many of its fields may still be read."""

    def __init__(self, data: Buffer) -> None:
        self.data = data
        self.left = MOST_FIELDS

    def fields(self, at: int, end: int) -> Iterator[tuple[int, int, int]]:
        """The fields of the message in ``data[at:end]``: (number, start, end) if the field holds bytes,
        (number, value, -1) if it holds a varint. Numbers of a fixed size are left out.

        Raises WireError if the message is broken, NotReadError for groups and too many fields.
        """
        data = self.data
        while at < end:
            self.left -= 1
            if self.left < 0:
                raise NotReadError(f"it has more than {MOST_FIELDS:,} fields")
            tag = data[at]
            at += 1
            if tag >= 128:
                tag, at = self._varint(at - 1, end)
            kind = tag & 7
            if kind == 2:
                # Nearly all sizes take one byte.
                size = data[at] if at < end else 128
                at += 1
                if size >= 128:
                    size, at = self._varint(at - 1, end)
                if at + size > end:
                    raise WireError("a field ends behind its message")
                yield tag >> 3, at, at + size
                at += size
            elif kind == 0:
                value, at = self._varint(at, end)
                yield tag >> 3, value, -1
            elif kind in (1, 5):
                at += 8 if kind == 1 else 4
            elif kind == 3:
                raise NotReadError("it holds a protobuf group")
            else:
                raise WireError(f"wire type {kind}")
        if at > end:
            raise WireError("a field ends behind its message")

    def varints(self, at: int, end: int) -> Iterator[int]:
        """The numbers of a packed field."""
        while at < end:
            self.left -= 1
            if self.left < 0:
                raise NotReadError(f"it has more than {MOST_FIELDS:,} fields")
            value, at = self._varint(at, end)
            yield value

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        """A number, and the position after it."""
        data, value = self.data, 0
        for shift in range(0, 70, 7):
            if at >= end:
                break
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value & (2**64 - 1), at
        raise WireError("a number without an end")


def signed(value: int) -> int:
    """A varint as the signed 64-bit number that it stands for."""
    return value - 2**64 if value >= 2**63 else value
