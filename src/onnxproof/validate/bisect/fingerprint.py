"""Fingerprints of tensors: few enough numbers to keep them all, and enough to tell two tensors apart.

A tensor is cut into up to 64 parts, in the order of its elements. The fingerprint has one sum for each part,
weighted at random. So every element counts, and a tensor whose axes or elements are exchanged has another
fingerprint. Both sides are computed in float64, so that equal tensors have fingerprints equal to about 1e-15.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

PARTS = 64
"""The most sums of a fingerprint."""

LARGEST = 1e30
"""Numbers from here on count as infinite. Masks hold float32's largest number instead of infinity, and beside
it nothing else would count."""


def kind_of(dtype: np.dtype[Any]) -> str:
    """ "f" for floats, "b" for bool, "i" for integers, "" for what is not compared."""
    if dtype.name.startswith(("float", "bfloat")):
        return "f"
    return "b" if dtype.kind == "b" else "i" if dtype.kind in "iu" else ""


@dataclass(frozen=True, slots=True, eq=False)
class Fingerprint:
    """What is kept of a tensor.

    ``kind`` is as ``kind_of`` says; if it is "", there are no sums. ``sums`` are the weighted sums of the
    finite numbers, float64 [parts], each divided by the root of its count. ``infinite`` has those of 1, 2 and
    3 in place of infinity, minus infinity and NaN. ``scale`` is the rms of the finite numbers. ``alike`` says
    that all numbers are equal.
    """

    kind: str
    shape: tuple[int, ...]
    sums: Array
    infinite: Array
    scale: float
    alike: bool

    @classmethod
    def of(cls, array: Array) -> Self:
        """The fingerprint of a tensor of any shape."""
        flat = np.asarray(array).reshape(-1)
        kind = kind_of(flat.dtype)
        if not kind:
            return cls(kind, np.shape(array), np.zeros(0), np.zeros(0), 0.0, True)
        alike = not flat.size or bool(flat[0] == flat[-1] and np.all(flat == flat[0]))
        values = flat.astype(np.float64, copy=False)
        with np.errstate(all="ignore"):
            sums = _sums(values)
        infinite = np.zeros_like(sums)
        if not float(np.abs(sums).max(initial=0.0)) * values.size < LARGEST:
            odd = ~(np.abs(values) < LARGEST)
            codes = np.where(np.isnan(values), 3.0, np.where(values > 0, 1.0, 2.0))
            infinite = _sums(np.where(odd, codes, 0.0))
            values = np.where(odd, 0.0, values)
            sums = _sums(values)
        scale = math.sqrt(float(np.vdot(values, values)) / max(values.size, 1))
        return cls(kind, np.shape(array), sums, infinite, scale, alike)

    @property
    def size(self) -> int:
        """How many numbers the tensor has."""
        return math.prod(self.shape)


def _sums(values: Array) -> Array:
    length = max(1, -(-values.size // PARTS))
    whole = values.size // length
    weights = _weights(length)
    sums = values[: whole * length].reshape(whole, length) @ weights
    rest = values[whole * length :]
    if rest.size:
        sums = np.append(sums, rest @ weights[: rest.size])
    return np.asarray(sums)


@lru_cache(maxsize=16)
def _weights(length: int) -> Array:
    """Numbers between 0.5 and 1.5 of both signs, divided by the root of their count."""
    if length == 1:
        return np.ones(1)
    random = np.random.default_rng(length)
    signed = random.uniform(0.5, 1.5, length) * random.choice((-1.0, 1.0), length)
    return np.asarray(signed / math.sqrt(length))


class Shelf:
    """Fingerprints of the same kind and size, to find those nearest to another one."""

    def __init__(self, numbers: Sequence[int], prints: Sequence[Fingerprint]) -> None:
        self.numbers = tuple(numbers)
        self.shapes = tuple(entry.shape for entry in prints)
        self._sums = np.stack([entry.sums for entry in prints])
        self._infinite = np.stack([entry.infinite for entry in prints])
        self._scales = np.array([entry.scale for entry in prints])

    def distances(self, own: Fingerprint) -> Array:
        """How far each is from ``own``, as a share of the larger of both scales: float64 [fingerprints]."""
        error = np.abs(self._sums - own.sums).max(axis=1, initial=0.0)
        scales = np.maximum(np.maximum(self._scales, own.scale), math.ulp(0.0))
        matching = (np.abs(self._infinite - own.infinite) < 1e-6).all(axis=1)
        return np.where(matching, error / scales, np.inf)


def distance(one: Fingerprint, other: Fingerprint) -> float:
    """How far two fingerprints are apart, as a share of the larger of both scales.

    Infinite if they are of another kind or size, or if not the same numbers are infinite.
    """
    if (one.kind, one.size) != (other.kind, other.size):
        return math.inf
    return float(Shelf((0,), (other,)).distances(one)[0])
