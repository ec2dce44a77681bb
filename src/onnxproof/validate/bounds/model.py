"""The model of rounding that all bounds are made of.

One operation: fl(a op b) = (a op b)(1 + d) with |d| <= u, the unit roundoff (Higham, Accuracy and Stability
of Numerical Algorithms, 2nd edition, 2002, equation 2.4). u is 2**-24 for float32.

A sum of n terms, in any order: the error is at most n u sum|x| (Higham 2002, section 4.2). For a large map
that says nothing. If roundings are independent and of mean 0, it is at most l sqrt(n) u sum|x|, except with a
probability of 2 n exp(-l**2 / 2) (Higham and Mary, A New Approach to Probabilistic Rounding Error Analysis,
SIAM Journal on Scientific Computing 41(5), 2019, theorem 2.4 with the small terms left out).

Roundings are not independent if a long sum has terms of one sign that differ little: each term is then cut
alike, and the sum drifts. ONNX Runtime 1.31 on the CPU, relative errors in u:

    n         operator         uniform 0..1     every number 0.7
    147456    ReduceMean       27 (0.1 sqrt n)  2,900 (0.02 n)
    1179648   ReduceMean       38               19,000 (0.016 n)
    1179648   ReduceSumSquare  7,600 (7 sqrt n) 148,000 (0.13 n)
    16384     MatMul           5                161 (1.3 sqrt n)
    400000    Softmax          18 (normal)      0.4

A drift cannot be bounded by sqrt(n). It can be computed: ``drift`` sums the same numbers in float32 one after
another, and in several lanes as vector units do, and takes the largest deviation on the way.
"""

import math
from collections.abc import Sequence

import numpy as np

from onnxproof.validate.exact.arrays import Array

LAMBDA = 8.0
"""Higham and Mary's l. A number computed from n terms exceeds the bound by chance with a probability of at
most n times 2.6e-14."""

LANES = (1, 4, 8, 16, 32)
"""In how many partial sums kernels add: in one, or in the lanes of one or more vector registers."""

DRIFT = 2.0
"""How many times the computed drift a kernel may drift. Its order of summation is not known."""

TINY = 2.0**-126
"""The smallest normal float32. Kernels that compute in several steps may lose what is below it: ONNX
Runtime's Softmax writes zeros there, and its Tanh errs by 200 times ``SMALLEST``."""

SMALLEST = 2.0**-150
"""Half of the smallest float32 above 0, which is what one rounding errs below the smallest normal number."""

SMALLEST_HALF = 2.0**-24
"""The smallest float16 above 0. Numbers below 2**-14 are rounded to its multiples."""

UNITS = {"float64": 2.0**-52, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
"""The unit roundoff by the dtype of an output. float64's is doubled, because the exact values are float64,
too."""


def gamma(terms: float, unit: float) -> float:
    """The relative error of a sum of so many terms, against the sum of their magnitudes."""
    return unit * min(terms, LAMBDA * math.sqrt(terms))


def summed(terms: Array, axes: Sequence[int], unit: float) -> Array:
    """How far a sum of float64 ``terms`` over ``axes`` may be off, drift included; those axes have size 1."""
    places = tuple(axis % terms.ndim for axis in axes)
    count = math.prod(terms.shape[axis] for axis in places)
    total: Array = np.abs(terms).sum(places, keepdims=True)
    allowed = np.minimum(
        gamma(count, unit) * total + DRIFT * drift(terms, places, unit), count * unit * total
    )
    return np.asarray(allowed + count * TINY)


def drift(terms: Array, axes: Sequence[int], unit: float) -> Array:
    """How far a float32 sum over ``axes``, in any of ``LANES``, ever is from the exact sum of the same terms.

    Zero for sums so short that they cannot exceed the other bound, and for dtypes other than float32.
    """
    kept = [axis for axis in range(terms.ndim) if axis not in axes]
    shape = tuple(1 if axis in axes else size for axis, size in enumerate(terms.shape))
    count = math.prod(terms.shape[axis] for axis in axes)
    if count <= LAMBDA**2 or unit != UNITS["float32"] or not terms.size:
        return np.zeros(shape)
    rows = terms.transpose(*kept, *axes).reshape(-1, count)
    return np.array([_row_drift(row) for row in rows]).reshape(shape)


def _row_drift(row: Array) -> float:
    """The drift of one sum. Each sum is its own, so that no more than one is held in memory."""
    narrow = row.astype(np.float32)
    wide = narrow.astype(np.float64)
    largest = 0.0
    for lanes in LANES:
        length = len(row) // lanes * lanes
        shape = length // lanes, lanes
        rounded = np.cumsum(narrow[:length].reshape(shape), 0, dtype=np.float32)
        exact = np.cumsum(wide[:length].reshape(shape), 0)
        largest = max(largest, float(np.abs(rounded - exact).max(0).sum()))
    return largest
