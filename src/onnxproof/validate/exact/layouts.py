"""Find a tensor's numbers in another layout: reshaped, transposed, flipped, its gates in another order.

A fingerprint is the sum of the bits of all numbers, so it is the same in every layout, and the fingerprint
of a slice is a difference of running sums. Only tensors whose fingerprints agree are compared number by
number.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

GATES = {4: (0, 3, 1, 2), 3: (1, 0, 2)}
"""The order of the gates in ONNX, as indices of PyTorch's gates, by the number of gates. An LSTM has i, f, g,
o in PyTorch and i, o, f, c in ONNX; a GRU has r, z, n and z, r, h (PyTorch's documentation; ONNX's
Operators.md)."""

SAMPLES = 64
"""Numbers that are compared before all are."""

MOST_AXES = 5
"""The most axes, of more than one number, that are transposed in every order."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a tensor is laid out anew.

    Its first axis is split into ``gates`` blocks that are put into ONNX's order (0: none), the axes
    ``flipped`` are reversed, then its axes without those of size 1 are put into the order ``axes``.
    """

    axes: tuple[int, ...]
    gates: int = 0
    flipped: tuple[int, ...] = ()

    def of(self, source: Array) -> Array:
        """The tensor in this layout; a view if no gates are reordered."""
        laid = squeezed(source)
        if self.gates:
            blocks = laid.reshape(self.gates, len(laid) // self.gates, *laid.shape[1:])
            laid = blocks[list(GATES[self.gates])].reshape(laid.shape)
        return np.flip(laid, self.flipped).transpose(self.axes)

    @property
    def text(self) -> str:
        """What was done, for a message; "" if the numbers are in the tensor's own order."""
        said = ["its gates in ONNX's order"] if self.gates else []
        said += ["flipped"] if self.flipped else []
        said += ["transposed"] if self.axes != tuple(range(len(self.axes))) else []
        return ", ".join(said)


def squeezed(array: Array) -> Array:
    """A view without the axes of size 1."""
    return array.reshape(tuple(size for size in array.shape if size != 1))


def fingerprint(array: Array) -> int:
    """The sum of the bits of the numbers, rounded to float32. It is the same in every layout."""
    return int(np.sum(_bits(array), dtype=np.uint64))


def row_sums(array: Array, axis: int) -> Array:
    """Running sums of the fingerprints of the slices along an axis, from 0: uint64 [length + 1]."""
    bits = _bits(array)
    others = tuple(at for at in range(bits.ndim) if at != axis % bits.ndim)
    sums = np.sum(bits, axis=others, dtype=np.uint64)
    return np.concatenate([np.zeros(1, np.uint64), np.cumsum(sums, dtype=np.uint64)])


def _bits(array: Array) -> Array:
    single = array if array.dtype == np.float32 else array.astype(np.float32)
    return single.view(np.uint32)


@lru_cache(maxsize=4096)
def places(size: int) -> Array:
    """Seeded flat indices of up to SAMPLES numbers of a tensor of that size."""
    if size <= SAMPLES:
        return np.arange(size)
    return np.sort(np.random.default_rng(size).choice(size, SAMPLES, replace=False, shuffle=False))


def sample(array: Array, flat: Array) -> Array:
    """The numbers at flat indices, without copying the tensor."""
    return array[np.unravel_index(flat, array.shape)] if array.ndim else array.reshape(1)[flat]


def plain_layouts(shape: tuple[int, ...]) -> Iterator[Layout]:
    """Every order of the axes of a squeezed shape, its own first. Only that one if the axes are many."""
    if len(shape) > MOST_AXES:
        yield Layout(tuple(range(len(shape))))
        return
    yield from (Layout(axes) for axes in permutations(range(len(shape))))


def ordered_layouts(shape: tuple[int, ...]) -> Iterator[Layout]:
    """Every order of the axes, and then again with gates in ONNX's order."""
    yield from plain_layouts(shape)
    for gates in GATES:
        if shape and shape[0] % gates == 0:
            yield from (Layout(plain.axes, gates) for plain in plain_layouts(shape))


def all_layouts(shape: tuple[int, ...]) -> Iterator[Layout]:
    """Those, and then every order of the axes with some of them flipped."""
    yield from ordered_layouts(shape)
    axes = range(len(shape))
    for count in range(1, len(shape) + 1):
        for flipped in combinations(axes, count):
            yield from (Layout(plain.axes, 0, flipped) for plain in plain_layouts(shape))


def find_layout(
    source: Array,
    wanted: Array,
    layouts: Iterator[Layout],
    fits: Callable[[Array, Array], bool],
) -> Layout | None:
    """The first layout in which ``source``, reshaped, fits ``wanted``; None if there is none.

    ``fits`` is asked for a sample of the numbers first, then for all.
    """
    flat = places(wanted.size)
    few = sample(wanted, flat)
    for layout in layouts:
        laid = layout.of(source)
        if fits(sample(laid, flat), few) and fits(laid.reshape(wanted.shape), wanted):
            return layout
    return None


def same(one: Array, other: Array) -> bool:
    """Whether all numbers are equal. NaN equals NaN."""
    if np.array_equal(one, other):
        return True
    return bool(np.isnan(one).any()) and np.array_equal(one, other, equal_nan=True)


def shapes_agree(layout: Layout, shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether a squeezed shape in that layout is the wanted one, which is squeezed, too."""
    return tuple(shape[axis] for axis in layout.axes) == wanted


def size_of(shape: tuple[int, ...]) -> int:
    """How many numbers a tensor of that shape has."""
    return math.prod(shape)
