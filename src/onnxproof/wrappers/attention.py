"""One way through torch's attention, whoever runs the module."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.modules import transformer

from onnxproof.wrappers.alone import alone


@contextlib.contextmanager
def without_fast_path() -> Iterator[None]:
    """Run ``nn.TransformerEncoder`` and ``nn.MultiheadAttention`` as they are written in Python.

    In evaluation mode without gradients, torch runs fused kernels instead. No exporter can write them. With a
    padding mask they also leave zeros behind it, where the Python code computes values that nothing reads.
    """
    with alone():
        before = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(before)


@contextlib.contextmanager
def without_causal_test() -> Iterator[None]:
    """Run ``nn.Transformer`` and its encoder and decoder without a look at what their masks hold.

    They test whether a mask is the causal one, and if so let attention make that mask itself, which is
    faster. The answers are the same with the mask that they were given. A capture cannot follow such a test:
    it goes by a tensor's values.
    """
    before = transformer._detect_is_causal_mask
    transformer._detect_is_causal_mask = _told_causal
    try:
        yield
    finally:
        transformer._detect_is_causal_mask = before


def _told_causal(mask: Tensor | None, is_causal: bool | None = None, size: int | None = None) -> bool:  # noqa: ARG001
    """Whether the caller says that the mask is causal."""
    return is_causal is True
