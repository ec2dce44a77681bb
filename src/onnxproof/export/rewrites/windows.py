"""Windows of Fourier transforms as constants.

ONNX's HammingWindow has the factor 25/46 where PyTorch has 0.54; torch's own translation takes no notice of
that. ONNX has no Kaiser or Bartlett window.
"""

from collections.abc import Callable
from typing import Any

import torch
from onnxscript import ir

from onnxproof.export.rewrites.values import Value, op


def window(made: Callable[..., torch.Tensor]) -> Callable[..., Value]:
    """The translation of a function of torch that makes a window."""

    def translation(window_length: int, *options: Any, dtype: int = ir.DataType.FLOAT, **more: Any) -> Value:
        named = {name: value for name, value in more.items() if name in ("periodic", "alpha", "beta")}
        numbers = made(window_length, *options, **named, dtype=torch.float64).numpy()
        kind = ir.DataType(dtype)
        return op.Constant(value=ir.tensor(numbers.astype(kind.numpy()), dtype=kind))

    return translation
