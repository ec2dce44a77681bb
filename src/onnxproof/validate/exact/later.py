"""Large constants that are made in float64 where a node reads them, and freed after it.

In float64 all at once, the weights of a graph take twice the memory of the file.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

MOST_WIDENED = 2**27
"""Bytes of a graph's stored tensors up to which all are widened when the graph is opened: then each run is
faster, and it takes at most 256 MiB more."""

FEWEST_LATER = 2**14
"""Numbers of a tensor that is made where it is read. Smaller ones cost more time than memory."""


@dataclass(frozen=True, slots=True, eq=False)
class Later:
    """An array of a known shape and dtype, which ``make`` makes. It gives the same numbers each time."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    make: Callable[[], Array]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        array = self.make()
        return array if dtype is None else array.astype(dtype)

    def then(self, change: Callable[[Array], Array]) -> "Later":
        """The same, with each array that is made changed into another of its shape and dtype."""
        return Later(self.shape, self.dtype, lambda: change(self.make()))


Constant = Array | Later


def made(value: Any) -> Any:
    """The array that a Later makes; any other value as it is."""
    return value.make() if isinstance(value, Later) else value


def are_many(sizes: Iterable[int]) -> bool:
    """Whether tensors of these sizes, in bytes, are too many to hold all of them in float64."""
    return sum(sizes) > MOST_WIDENED


def is_large(shape: tuple[int, ...]) -> bool:
    """Whether a tensor of that shape is made where it is read, if there are many."""
    return math.prod(shape) >= FEWEST_LATER
