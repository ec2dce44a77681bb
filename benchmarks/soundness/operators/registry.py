"""The operators by name, and how they get in and out of torch."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx.reference.op_run import OpRun
from torch import Tensor

Array = NDArray[Any]
Operator = Callable[..., Array | tuple[Array, ...]]


class UnsupportedNodeError(Exception):
    """A node asks for what is not implemented here in float64."""


_OPERATORS: dict[str, Operator] = {}


def operator_classes() -> list[type[OpRun]]:
    """The operators that are registered, in the form that ``ReferenceEvaluator(new_ops=...)`` takes."""
    return [_as_class(name, function) for name, function in _OPERATORS.items()]


def _as_class(name: str, function: Operator) -> type[OpRun]:
    def run(self: OpRun, *inputs: Array | None, **attributes: Any) -> tuple[Array, ...]:
        try:
            returned = function(*inputs, wanted=len(self.onnx_node.output), **attributes)
        except (TypeError, AttributeError) as error:
            raise UnsupportedNodeError(f"{name}: {error}") from error
        return returned if isinstance(returned, tuple) else (returned,)

    return type(name, (OpRun,), {"op_domain": "", "_run": run})


def operator(name: str) -> Callable[[Operator], Operator]:
    """Register a function as the ONNX operator ``name``."""

    def register(function: Operator) -> Operator:
        if name in _OPERATORS:
            raise ValueError(f"operator {name} is implemented twice")
        _OPERATORS[name] = function
        return function

    return register


def to_tensor(array: Array) -> Tensor:
    """An array as a tensor, without a copy if the array may be written to."""
    array = np.asarray(array, order="C")
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def to_numpy(tensor: Tensor) -> Array:
    """A tensor as an array."""
    return tensor.numpy()
