"""Which dtype a module is computed in, in place of its own."""

import torch
from torch import Tensor

WIDER = {torch.float32: torch.float64, torch.complex64: torch.complex128}
"""What is computed in place of a dtype."""

NOMINAL = {wider: narrow for narrow, wider in WIDER.items()}
"""The dtype that a tensor would have in the module as it is, if nothing else is known of it."""

HALVES = (torch.float16, torch.bfloat16)

NARROW = frozenset((*WIDER, *HALVES))


def wide(tensor: Tensor) -> Tensor:
    """The same numbers in float64, or in complex128."""
    if tensor.dtype in HALVES:
        return tensor.to(torch.float64)
    return tensor.to(WIDER.get(tensor.dtype, tensor.dtype))
