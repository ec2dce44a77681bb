"""ONNX operators in float64, where ``onnx.reference`` is slow, rounds to float32 or is wrong.

Each function takes a node's inputs (NumPy arrays; None for an optional one left out), then its attributes
by keyword and how many outputs are ``wanted``, and returns one array or a tuple of them. Formulas are those
of the ONNX operator specification; where it leaves something open, ONNX Runtime's kernels are followed, and
the docstring says so. Inputs are never written to.
"""

from onnx.reference.op_run import OpRun
from soundness.operators import convolution, numbers, recurrence, sampling, selection
from soundness.operators.control import Loop
from soundness.operators.registry import UnsupportedNodeError, operator_classes

__all__ = ["UnsupportedNodeError", "all_classes"]

ROOMS = (convolution, numbers, recurrence, sampling, selection)
"""Whose operators are registered when they are imported."""


def all_classes() -> list[type[OpRun]]:
    """The operators of this folder, in the form that ``ReferenceEvaluator(new_ops=...)`` takes."""
    return [*operator_classes(), Loop]
