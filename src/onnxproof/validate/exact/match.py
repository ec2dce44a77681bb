"""What a constant was found to be, and how far rounding may have moved it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxproof.validate.exact.later import Constant, Later, is_large

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


CHUNK = 2**16
"""Numbers that are compared at once, so that what is computed of them stays in the processor's cache."""

TINY = 2.0**-148
"""Two of float32's smallest numbers: what rounding costs where numbers are too small for its precision."""

HALF = 2.0**-11
"""The largest relative error of one rounding to float16."""

TINY_HALF = 2.0**-23
"""Two of float16's smallest numbers. Converters round up to the smallest what is not zero (onnxruntime,
transformers/float16.py: convert_np_to_float16)."""


@dataclass(frozen=True, slots=True, eq=False)
class Match:
    """What a constant is.

    ``exact`` has its numbers in float64, in the constant's shape. It is None if the file's own numbers are
    exact. ``text`` says what it was made from, ``names`` are the checkpoint's tensors among that.
    ``roundings`` is the largest distance of a number from the exact one, as ``roundings_of`` counts.
    ``again`` makes ``exact`` another time, from the checkpoint's tensors; None if it cannot. ``factor`` is a
    scalar that is among what was multiplied.
    """

    text: str
    names: frozenset[str] = frozenset()
    exact: Array | None = None
    roundings: float = 0.0
    again: Callable[[], Array] | None = None
    factor: float = 1.0

    def kept(self, *, many: bool) -> Constant | None:
        """``exact`` as it is kept: if there are many such constants, a large one is made where it is read."""
        if self.exact is None or self.again is None or not many or not is_large(self.exact.shape):
            return self.exact
        return Later(self.exact.shape, self.exact.dtype, self.again)

    def shaped(self, shape: tuple[int, ...]) -> "Match":
        """The same for a constant of another shape, with the same numbers in the same order."""
        if self.exact is None:
            return self
        again = self.again
        return replace(
            self,
            exact=self.exact.reshape(shape),
            again=None if again is None else lambda: again().reshape(shape),
        )


def unit(dtype: np.dtype[Any]) -> float:
    """The largest relative error of one rounding to a float type: half a unit in the last place."""
    bits = 7 if dtype.name == "bfloat16" else {2: 10, 4: 23, 8: 52}[dtype.itemsize]
    return 2.0 ** -(bits + 1)


def tiny(rounding: float) -> float:
    """What rounding costs where numbers are too small for the precision of a float type, by its ``unit``."""
    return TINY_HALF if rounding == HALF else TINY


def roundings_of(
    values: Array, exact: Array, rounding: float, limit: float, terms: Array | None = None
) -> float:
    """The largest distance of a number from the exact one, in roundings of the size of its terms.

    ``terms`` is the size of what was added up for each number, or None if nothing was. Infinite if the
    distance is more than ``limit`` anywhere, or if an infinite number is not the same in both. A number that
    was rounded once is at most 1 away.
    """
    flat, wanted = values.reshape(-1), exact.reshape(-1)
    sizes = None if terms is None else np.broadcast_to(terms, exact.shape).reshape(-1)
    largest, least = 0.0, tiny(rounding)
    for start in range(0, flat.size, CHUNK):
        part = slice(start, start + CHUNK)
        size = np.abs(wanted[part]) if sizes is None else sizes[part]
        with np.errstate(invalid="ignore"):  # the difference of two infinities, which are compared below
            error = np.abs(np.subtract(flat[part], wanted[part], dtype=np.float64))
            near = (error <= limit * rounding * size + least) & np.isfinite(wanted[part])
        if not near.all():
            near |= (flat[part] == wanted[part]) | (np.isnan(flat[part]) & np.isnan(wanted[part]))
            if not near.all():
                return np.inf
        counted = np.isfinite(error) & (size > least / rounding)
        share = np.divide(error, size, out=np.zeros_like(error), where=counted)
        largest = max(largest, float(share.max()))
    return largest / rounding
