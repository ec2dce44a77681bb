"""Run a module in float32 with its weights and every result rounded to half precision.

So PyTorch errs as half precision does, whatever kernels it has in it. It is the reference for a file that
was converted to half precision from a model that is held in float32.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from onnxproof.wrappers.copies import copied


def with_rounded_weights(module: nn.Module, dtype: str) -> nn.Module:
    """A copy of the module with its float32 tensors rounded to another dtype."""
    half: torch.dtype = getattr(torch, dtype)
    made: nn.Module = copied(module)._apply(  # type: ignore[no-untyped-call]
        lambda one: one.to(half).float() if one.dtype == torch.float32 else one
    )
    return made


class Rounding(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Rounds every float32 tensor that is computed inside its ``with`` to another dtype."""

    def __init__(self, dtype: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._dtype: torch.dtype = getattr(torch, dtype)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.is_view:
            return result
        writes = func._schema.is_mutable

        def rounded(value: Any) -> Any:
            if not isinstance(value, Tensor) or value.dtype != torch.float32:
                return value
            near = value.to(self._dtype).float()
            return value.copy_(near) if writes else near

        return tree_map(rounded, result)
