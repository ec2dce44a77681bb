"""The inputs that a model is captured on."""

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from onnxproof.seeded import draw, in_dtype
from onnxproof.tensors import Dim, TensorSpec
from onnxproof.wrappers.weights import tensor_of


def capture_sizes(dims: Sequence[Dim], least: int = 2) -> dict[str, int]:
    """Small sizes to capture at: another for each dim, and at least ``least`` steps if the dim allows it."""
    sizes: dict[str, int] = {}
    for position, dim in enumerate(dims):
        steps = max(least + position, -(-dim.min // dim.multiple))
        sizes[dim.name] = dim.floor(steps * dim.multiple)
    return sizes


def example_inputs(
    inputs: Sequence[TensorSpec], sizes: Mapping[str, int], seed: int = 0
) -> tuple[Tensor, ...]:
    """Seeded tensors of the inputs' dtypes, sizes and ranges."""
    random = np.random.default_rng(seed)
    return tuple(tensor_of(draw(spec, sizes, random), spec.dtype) for spec in inputs)


def constant_inputs(
    inputs: Sequence[TensorSpec], sizes: Mapping[str, int], *, high: bool
) -> tuple[Tensor, ...]:
    """Tensors that hold the highest, or the lowest, value of their ranges. A mask holds all ones, or one."""
    made = []
    for spec in inputs:
        ends = (0, 1) if spec.range is None or spec.dtype == "bool" else spec.range
        array = in_dtype(np.full(spec.sized(sizes), ends[high]), spec.dtype)
        if spec.mask:
            array[..., 0] = 1
        made.append(tensor_of(array, spec.dtype))
    return tuple(made)
