"""What the processes that capture a model start with: a forked process has what its parent imported."""

import functools
import os

import torch
from torch import nn

from onnxproof.export.quiet import quiet


@functools.cache
def import_exporters() -> None:
    """Import here, once, what else each process that a test forks would import anew, 1 to 3 s each.

    Does nothing in a run without workers, which has few tests.
    """
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return
    import onnxsim  # noqa: F401

    import onnxproof.export.rewrites  # noqa: F401

    example = (torch.zeros(2, 3),)
    with quiet(), torch.no_grad():
        batch = ({0: torch.export.Dim("batch")},)
        torch.onnx.export(nn.ReLU(), example, dynamo=True, dynamic_shapes=batch)
        torch.onnx.export(nn.ReLU(), example, os.devnull, dynamo=False)
