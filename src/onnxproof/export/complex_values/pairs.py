"""A complex value as two real ones."""

from typing import Any

import torch
from torch import Tensor

REAL = {
    torch.complex32: torch.float16,
    torch.complex64: torch.float32,
    torch.complex128: torch.float64,
}
"""The dtype of the parts of a complex dtype."""

Part = Any
"""A real tensor or a Python number."""

Pair = tuple[Part, Part]


def is_complex(value: object) -> bool:
    """Whether a value is a complex tensor, number or dtype, or a list that has one."""
    if isinstance(value, Tensor):
        return value.is_complex()
    if isinstance(value, list | tuple):
        return any(map(is_complex, value))
    return isinstance(value, complex) or (isinstance(value, torch.dtype) and value.is_complex)


def parts(value: Any) -> Pair:
    """The real and the imaginary part of a tensor or a number. A real value has zeros for the second."""
    if isinstance(value, Tensor):
        if not value.is_complex():
            return value, torch.zeros_like(value)
        both = torch.ops.aten.view_as_real.default(value)
        return both.select(-1, 0), both.select(-1, 1)
    if isinstance(value, complex):
        return value.real, value.imag
    return value, 0


def joined(real: Tensor, imaginary: Tensor) -> Tensor:
    """The complex tensor of two real ones."""
    made: Tensor = torch.ops.aten.complex.default(real, imaginary)
    return made
