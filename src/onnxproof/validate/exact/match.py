"""What a constant was found to be, and how far rounding may have moved it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

ROUNDINGS = 4
"""How many roundings to float32 a product may have gone through. The scale of a batch norm, gamma /
sqrt(var + eps), takes 2.5 (a root halves the relative error of what is under it), the product with the
weight one more."""

BIAS_ROUNDINGS = 6
"""The same for a sum such as (b - mean) * scale + beta: 2.5 for the scale, one each for the difference, the
product and the sum, relative to the size of what is added up."""

SCALAR_ROUNDINGS = 2
"""The same for a tensor times a scalar: one for the scalar, one for the product."""

SPREAD = 2 * ROUNDINGS
"""The most that two quotients of such a product and its factor may differ by."""


@dataclass(frozen=True, slots=True, eq=False)
class Match:
    """What a constant is.

    ``exact`` has its numbers in float64, in the constant's shape. It is None if the file's own numbers are
    exact. ``text`` says what it was made from, ``names`` are the checkpoint's tensors among that.
    """

    text: str
    names: frozenset[str] = frozenset()
    exact: Array | None = None


def unit(dtype: np.dtype[Any]) -> float:
    """The largest relative error of one rounding to a float type: half a unit in the last place."""
    bits = {2: 10, 4: 23, 8: 52}[dtype.itemsize]
    return 2.0 ** -(bits + 1)


def within(values: Array, exact: Array, allowed: Array) -> bool:
    """Whether every number is the exact one, or differs by at most what is allowed for it."""
    error = np.abs(values.astype(np.float64) - exact)
    alike = (error <= allowed) | (values == exact) | (np.isnan(values) & np.isnan(exact))
    return bool(np.all(alike))


def ulps(values: Array, exact: Array) -> float:
    """The largest distance, in units in the last place of the values' type."""
    if not values.size:
        return 0.0
    distance = np.abs(values.astype(np.float64) - exact) / np.spacing(np.abs(values)).astype(np.float64)
    return float(np.nanmax(np.where(values == exact, 0.0, distance), initial=0.0))
