"""The ways in which a file from elsewhere may take its pictures, to find out which one it is."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxproof.normalizations import NORMALIZATIONS, Channels
from onnxproof.runtime.port import Port

Array = NDArray[Any]
Normalization = tuple[Channels, Channels]

WHITE = 255.0


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a file's input has its axes: ``order`` are the model's axes (batch, channels, height, width: 0 to
    3) in the file's order. The batch may be missing."""

    order: tuple[int, ...]

    @property
    def unbatched(self) -> bool:
        """Whether the batch is missing."""
        return 0 not in self.order

    @property
    def channels_last(self) -> bool:
        """Whether the channels are the last axis."""
        return self.order[-1] == 1

    def lay(self, pictures: Array) -> Array:
        """Pictures [b, 3, H, W] as the file takes them. Without a batch axis, there must be one picture."""
        if self.unbatched:
            return np.ascontiguousarray(pictures[0].transpose([axis - 1 for axis in self.order]))
        return np.ascontiguousarray(pictures.transpose(self.order))


@dataclass(frozen=True, slots=True)
class View:
    """One way to take pictures: ``said`` in words.

    ``wrapper`` are the keys of ``[wrapper]`` that say the same in a job. ``normalized`` is what the host has
    normalised by, None if it has not. ``feeds`` and ``inner_gets`` say what the file, and then the network
    itself, gets of pictures in 0..1: a normalisation, "bytes" (0..255), or "same".
    """

    said: str
    wrapper: tuple[tuple[str, Any], ...]
    normalized: Normalization | None
    feeds: Normalization | str
    inner_gets: Normalization | str

    def feed(self, pictures: Array) -> Array:
        """The file's pictures, float32 [b, 3, H, W], of pictures in 0..1."""
        return _as(pictures, self.feeds)

    def inner(self, pictures: Array) -> Array:
        """The network's own pictures, float32 [b, 3, H, W], of pictures in 0..1."""
        return _as(pictures, self.inner_gets)


def _as(pictures: Array, what: Normalization | str) -> Array:
    if what == "same":
        return pictures
    if what == "bytes":
        return (pictures * np.float32(WHITE)).astype(np.float32)
    mean, std = (np.array(one, np.float32).reshape(1, 3, 1, 1) for one in what)
    return ((pictures - mean) / std).astype(np.float32)


def in_bytes(pictures: Array) -> Array:
    """Pictures in 0..1 with only the values that 0..255 has."""
    return (np.rint(pictures * np.float32(WHITE)) / np.float32(WHITE)).astype(np.float32)


def placed(port: Port) -> Placed | None:
    """Where a file's input of pictures has its axes. Returns None if it takes no pictures."""
    rank = len(port.shape)
    if rank not in (3, 4):
        return None
    last = port.shape[-1] == len("RGB") and port.shape[-3] != len("RGB")
    order = (2, 3, 1) if last else (1, 2, 3)
    return Placed(order if rank == 3 else (0, *order))


def views(dtype: str, own: Normalization | None) -> tuple[View, ...]:
    """The ways in which pictures may be taken, the most usual first.

    ``own`` is what the checkpoint's pictures are normalised by; None if the family needs no word on it.
    """
    found: list[View] = []
    whole = dtype == "uint8"
    scaled: tuple[tuple[str, Any], ...] = (("scale_input", True),)
    if whole:
        scaled += (("input_dtype", "uint8"),)
    if own is not None:
        others = {
            name: one for name, one in NORMALIZATIONS.items() if one not in (own, NORMALIZATIONS["none"])
        }
        if not whole:
            found.append(View("already normalised", (), own, own, own))
            found.append(View("in 0..1, normalised in the graph", (), None, "same", own))
        found.append(View("in 0..255, normalised in the graph", scaled, None, "bytes", own))
        for name, one in others.items():
            named = (("normalize", name),)
            if not whole:
                said = f"in 0..1, normalised in the graph as {name} is"
                found.append(View(said, named, None, "same", one))
            said = f"in 0..255, normalised in the graph as {name} is"
            found.append(View(said, (*scaled, *named), None, "bytes", one))
        bare = (*scaled, ("normalize", "none"))
        found.append(
            View("in 0..255, scaled to 0..1 in the graph and not normalised", bare, None, "bytes", "same")
        )
    else:
        if not whole:
            found.append(View("in 0..1", (), None, "same", "same"))
        found.append(View("in 0..255", scaled, None, "bytes", "same"))
    return tuple(found)
