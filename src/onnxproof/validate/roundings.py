"""How far two arrays are apart, where a number that a dtype cannot hold is no error."""

import math

import numpy as np

from onnxproof.validate.exact.arrays import Array

LARGEST = {name: float(np.finfo(name).max) for name in ("float16", "float32", "float64")}


def apart(found: Array, wanted: Array) -> Array:
    """The difference; 0 where both are NaN, or the same infinity; infinite where one of them is neither.

    A number beyond the largest of ``found``'s dtype is infinite there.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        one, other = found.astype(np.float64), wanted.astype(np.float64)
        difference = one - other
        over = (
            np.isinf(one)
            & (np.abs(other) > LARGEST.get(found.dtype.name, LARGEST["float32"]))
            & (np.sign(one) == np.sign(other))
        )
        same = (one == other) | (np.isnan(one) & np.isnan(other)) | over
        difference = np.where(same, 0.0, difference)
        return np.where(np.isnan(difference), np.inf, difference)


def rms(values: Array) -> float:
    """The root of the mean square; 0 of no numbers."""
    return math.sqrt(float(np.mean(np.square(values)))) if values.size else 0.0
