"""ONNX operators in float64.

Each function takes a node's inputs (arrays; None for an optional one left out), then its attributes by
keyword, and returns one array or a tuple of them. Formulas are those of the ONNX operator specification.
Where it leaves something open, ONNX Runtime's kernels are followed, and the docstring says so. Inputs are
never written to.
"""

from onnxproof.validate.exact.operators import (
    activations,
    attention,
    blocked,
    casts,
    control,
    convolution,
    elementwise,
    microsoft,
    microsoft_quantized,
    normalization,
    pooling,
    products,
    quantization,
    recurrence,
    reductions,
    regions,
    sampling,
    selection,
    sequences,
    shapes,
    signals,
)
from onnxproof.validate.exact.registry import find

__all__ = ["ROOMS", "find"]

ROOMS = (
    *(activations, attention, blocked, casts, control, convolution, elementwise, microsoft),
    *(microsoft_quantized, normalization, pooling, products, quantization),
    *(recurrence, reductions, regions, sampling, selection, sequences, shapes, signals),
)
"""The modules of which the operators are registered when they are imported."""
