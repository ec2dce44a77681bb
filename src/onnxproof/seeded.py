"""Seeded arrays for a TensorSpec. Models are captured, probed and compared on them."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxproof.errors import RequestError
from onnxproof.tensors import EPSILONS, TensorSpec

MOST_ELEMENTS = 2**30
"""Elements of the largest array that is made. Drawing it takes 8 GiB."""

FLOAT32_EPSILON = float(np.finfo(np.float32).eps)


def require_drawable(spec: TensorSpec, sizes: Mapping[str, int]) -> None:
    """Raise RequestError if an array of these sizes has more than ``MOST_ELEMENTS`` elements."""
    shape = spec.sized(sizes)
    elements = math.prod(shape)
    if elements > MOST_ELEMENTS:
        raise RequestError(
            f"input {spec.name} takes {spec.dtype}{list(shape)}, {elements:,} elements; at most "
            f"{MOST_ELEMENTS:,} are tried: declare smaller sizes"
        )


def draw(
    spec: TensorSpec, sizes: Mapping[str, int], random: np.random.Generator, *, full: bool = False
) -> NDArray[Any]:
    """An array of the spec's dtype and shape: uniform in its range, or a padding mask.

    Without a range, floats are in [0, 1] and integers in 0..1. Each row of a mask's last axis holds a random
    number of ones (at least one), then zeros; if ``full``, the longest row has no zeros. Raises RequestError
    as ``require_drawable``.
    """
    shape = spec.sized(sizes)
    require_drawable(spec, sizes)
    if spec.mask:
        lengths = random.integers(1, shape[-1], shape[:-1], endpoint=True)
        if full and lengths.size:
            lengths.flat[lengths.argmax()] = shape[-1]
        return (np.arange(shape[-1]) < lengths[..., None]).astype(
            "float32" if spec.dtype == "bfloat16" else spec.dtype
        )
    low, high = spec.range or (0.0, 1.0)
    if spec.dtype == "bool":
        return random.integers(0, 2, shape).astype(bool)
    if spec.dtype.startswith(("int", "uint")):
        return random.integers(int(low), int(high), shape, endpoint=True).astype(spec.dtype)
    return in_dtype(random.uniform(low, high, shape), spec.dtype)


def draw_beside(
    values: NDArray[Any], spec: TensorSpec, random: np.random.Generator, *, picture: bool = False
) -> NDArray[Any]:
    """Values next to the given ones, which are of this spec.

    Every float moves up or down by one unit of its dtype in the last place of the range's larger end; every
    integer of a picture moves by one. Other integers are drawn again. Masks stay.
    """
    if spec.mask or values.dtype == bool:
        return values
    low, high = spec.range or (0.0, 1.0)
    if not picture and values.dtype.kind != "f":
        return random.integers(int(low), int(high), values.shape, endpoint=True).astype(spec.dtype)
    epsilon = max(FLOAT32_EPSILON, EPSILONS.get(spec.dtype, 0.0))
    step = epsilon * max(abs(low), abs(high)) if values.dtype.kind == "f" else 1
    up = random.random(values.shape) < 0.5
    moved = values.astype(np.float64) + np.where(up, step, -step)
    # A value that would leave the range moves the other way.
    moved = np.where(moved > high, moved - 2 * step, np.where(moved < low, moved + 2 * step, moved))
    return in_dtype(moved, spec.dtype)


def in_dtype(values: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Numbers in a dtype. NumPy has no bfloat16: its numbers are held in float32."""
    if dtype != "bfloat16":
        return values.astype(dtype)
    bits = values.astype(np.float32).reshape(-1).view(np.uint32)
    # To nearest, and to even where two are as near.
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)
    return rounded.view(np.float32).reshape(values.shape)
