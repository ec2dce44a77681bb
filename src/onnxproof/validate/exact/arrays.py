"""Arrays: into float64, and in and out of torch."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]

Value = Any
"""What a graph passes from node to node: an array, a list of values (a sequence), or None (an empty optional,
or an input that is left out)."""


def widen(array: Array) -> Array:
    """Floats of 16 to 64 bits as float64, without loss; any other array as it is."""
    if array.dtype == np.float64:
        return array
    if (array.dtype.kind == "f" and array.dtype.name.startswith("float")) or array.dtype.name == "bfloat16":
        return array.astype(np.float64) if array.dtype.itemsize > 1 else array
    return array


def widen_value(value: Value) -> Value:
    """As ``widen``, for sequences and empty optionals too."""
    if isinstance(value, list | tuple):
        return [widen_value(item) for item in value]
    return None if value is None else widen(np.asarray(value))


def to_tensor(array: Array) -> Tensor:
    """An array as a tensor, without a copy if the array may be written to."""
    array = np.asarray(array, order="C")
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def to_numpy(tensor: Tensor) -> Array:
    """A tensor as an array."""
    return tensor.numpy()
