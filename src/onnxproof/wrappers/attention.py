"""One way through torch's attention, whoever runs the module."""

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def without_fast_path() -> Iterator[None]:
    """Run ``nn.TransformerEncoder`` and ``nn.MultiheadAttention`` as they are written in Python.

    In evaluation mode without gradients, torch runs fused kernels instead. No exporter can write them. With a
    padding mask they also leave zeros behind it, where the Python code computes values that nothing reads.
    """
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
