"""A wrapped model as it is timed: in PyTorch as it is, or compiled."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from onnxproof.wrappers.family import WrappedModel
from onnxproof.wrappers.weights import tensor_of

Array = NDArray[Any]


def timed_module(
    model: WrappedModel, feeds: Mapping[str, Array], threads: int, *, compiled: bool
) -> Callable[[], list[Array]]:
    """What runs the module on the inputs, on so many threads, and returns its outputs in their order.

    With ``compiled`` it is ``torch.compile``'s, with its defaults; the first run compiles.
    """
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    module = model.module.eval()
    tensors = [
        tensor_of(np.asarray(feeds[spec.name], order="C"), spec.dtype) for spec in model.contract.inputs
    ]
    forward: Any = torch.compile(module) if compiled else module

    def run() -> list[Array]:
        with torch.inference_mode():
            returned = forward(*tensors)
            outputs = returned if isinstance(returned, tuple | list) else (returned,)
            return [(one.float() if one.dtype == torch.bfloat16 else one).numpy() for one in outputs]

    return run
