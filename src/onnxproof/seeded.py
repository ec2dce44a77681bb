"""Seeded arrays for a TensorSpec: what models are captured with, probed with and compared on."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxproof.tensors import TensorSpec


def draw(spec: TensorSpec, sizes: Mapping[str, int], random: np.random.Generator) -> NDArray[Any]:
    """An array of the spec's dtype and shape: uniform in its range, or a padding mask.

    Floats without a range are in [0, 1], integers in 0..1. A mask has, in each row of its last axis, a
    random number of ones (at least one), then zeros.
    """
    shape = spec.sized(sizes)
    if spec.mask:
        lengths = random.integers(1, shape[-1], shape[:-1], endpoint=True)
        return (np.arange(shape[-1]) < lengths[..., None]).astype(spec.dtype)
    low, high = spec.range or (0.0, 1.0)
    if spec.dtype == "bool":
        return random.integers(0, 2, shape).astype(bool)
    if spec.dtype.startswith(("int", "uint")):
        return random.integers(int(low), int(high), shape, endpoint=True).astype(spec.dtype)
    return random.uniform(low, high, shape).astype(spec.dtype)
