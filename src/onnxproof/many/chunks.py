"""Chunks: the pieces of work that a run over many pictures is cut into."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from onnxproof.errors import PictureError
from onnxproof.many.listing import stamp_of
from onnxproof.runtime.remote import Place, RemotePicture

SIZE = 32
"""Pictures in a chunk: what a worker that dies loses at most. The cut depends on the pictures alone, never on
the number of workers."""

MISSING = "missing"


class Labelled(Protocol):
    """A picture with more about it. Its ``str`` is its name, its ``repr`` all there is about it."""

    @property
    def file(self) -> Path:
        """The picture's file."""


Item = Place | Labelled
"""A picture, or one with labels."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some pictures in a row. ``name`` is a digest of the work, of the pictures and of their files' times."""

    number: int
    name: str
    pictures: tuple[Item, ...]

    @property
    def told(self) -> str:
        """The first and the last picture, for messages."""
        first, last = self.pictures[0], self.pictures[-1]
        return str(first) if len(self.pictures) == 1 else f"{first} … {last} ({len(self.pictures)} pictures)"


def chunks_of(pictures: Sequence[Item], key: str, size: int = SIZE) -> Iterator[Chunk]:
    """Cut pictures into chunks, in their order. ``key`` is the digest of what is done with them."""
    for number, start in enumerate(range(0, len(pictures), size)):
        some = tuple(pictures[start : start + size])
        digest = hashlib.sha256(key.encode())
        for picture in some:
            digest.update(f"\0{picture!r}\0{_stamp(picture)}".encode("utf-8", "surrogateescape"))
        yield Chunk(number, digest.hexdigest()[:32], some)


def _stamp(picture: Item) -> str:
    try:
        return stamp_of(picture if isinstance(picture, Path | RemotePicture) else picture.file)
    except PictureError:  # told where the picture is read
        return MISSING
