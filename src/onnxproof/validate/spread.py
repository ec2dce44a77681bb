"""How much an output moves from input to input. One that hardly moves is weak evidence.

The output of an untrained network, or of one that saturates, is nearly the same whatever it is given. Then
an error that depends on the input cannot show.
"""

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

Sizes = tuple[int, ...]

PROBES = 64
"""At how many places of an output its values are kept."""


@dataclass(frozen=True, slots=True, eq=False)
class _Range:
    """The least and the largest value at each probed place [probes], over a number of inputs."""

    low: Array
    high: Array
    inputs: int

    def joined(self, other: Self) -> Self:
        """The range over the inputs of both."""
        low, high = np.fmin(self.low, other.low), np.fmax(self.high, other.high)
        return type(self)(low, high, self.inputs + other.inputs)


@dataclass(slots=True)
class Spread:
    """The ranges of an output's values, by the sizes of the input.

    Each member of a batch is an input of its own. Only answers to inputs of the same sizes are held against
    each other.
    """

    ranges: dict[tuple[int, ...], _Range] = field(default_factory=dict)

    def add(self, values: Array, sizes: Sizes) -> None:
        """Add the values [batch, ...] of one run, and the sizes of its inputs, the batch left out."""
        if not values.size:
            return
        members = values if values.ndim > 1 else values[None]
        flat = members.reshape(len(members), -1)
        places = np.linspace(0, flat.shape[1] - 1, min(PROBES, flat.shape[1])).astype(np.intp)
        probed = flat[:, places].astype(np.float64)
        probed[~np.isfinite(probed)] = np.nan  # an infinity is no distance from another number
        low, high = np.fmin.reduce(probed), np.fmax.reduce(probed)
        self._join((*sizes, *members.shape[1:]), _Range(low, high, len(members)))

    def merge(self, other: Self) -> None:
        """Add what was measured elsewhere."""
        for shape, found in other.ranges.items():
            self._join(shape, found)

    @property
    def largest(self) -> float | None:
        """The most that a value moves from input to input; None if no two inputs had the same sizes."""
        spans = [found.high - found.low for found in self.ranges.values() if found.inputs > 1]
        with np.errstate(invalid="ignore"):
            return max((float(np.fmax.reduce(span)) for span in spans), default=None)

    def _join(self, shape: tuple[int, ...], found: _Range) -> None:
        known = self.ranges.get(shape)
        self.ranges[shape] = found if known is None else known.joined(found)
