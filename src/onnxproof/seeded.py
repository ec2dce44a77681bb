"""Seeded arrays for a TensorSpec: what models are captured with, probed with and compared on."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxproof.errors import RequestError
from onnxproof.tensors import TensorSpec

MOST_ELEMENTS = 2**30
"""Elements of the largest array that is made; 8 GiB while its numbers are drawn."""


def require_drawable(spec: TensorSpec, sizes: Mapping[str, int]) -> None:
    """RequestError where an array of these sizes has more than ``MOST_ELEMENTS``."""
    shape = spec.sized(sizes)
    elements = math.prod(shape)
    if elements > MOST_ELEMENTS:
        raise RequestError(
            f"input {spec.name} takes {spec.dtype}{list(shape)}, {elements:,} elements; at most "
            f"{MOST_ELEMENTS:,} are tried: declare smaller sizes"
        )


def draw(spec: TensorSpec, sizes: Mapping[str, int], random: np.random.Generator) -> NDArray[Any]:
    """An array of the spec's dtype and shape: uniform in its range, or a padding mask.

    Floats without a range are in [0, 1], integers in 0..1. A mask has, in each row of its last axis, a
    random number of ones (at least one), then zeros.
    """
    shape = spec.sized(sizes)
    require_drawable(spec, sizes)
    if spec.mask:
        lengths = random.integers(1, shape[-1], shape[:-1], endpoint=True)
        return (np.arange(shape[-1]) < lengths[..., None]).astype(spec.dtype)
    low, high = spec.range or (0.0, 1.0)
    if spec.dtype == "bool":
        return random.integers(0, 2, shape).astype(bool)
    if spec.dtype.startswith(("int", "uint")):
        return random.integers(int(low), int(high), shape, endpoint=True).astype(spec.dtype)
    return random.uniform(low, high, shape).astype(spec.dtype)
