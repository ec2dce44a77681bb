"""Allowances of operators of many steps inside, of which no bound is derived: they are measured.

A rounding in a product is as if its factors had been a little different. So the node is computed with every
float input moved up or down by as much as its sums round; the largest shift over several runs, four times, is
what rounding may do. How errors grow from step to step is in it.
"""

import math

import numpy as np

from onnxproof.validate.bounds.model import gamma
from onnxproof.validate.bounds.registry import Allowed, Asked, bounded
from onnxproof.validate.exact.arrays import Value
from onnxproof.validate.exact.operators.microsoft import MICROSOFT

RUNS = 4
"""How often the inputs are moved."""

TIMES = 4.0
"""How many times the largest shift is allowed."""

FUNCTION = 16.0
"""What the functions inside may err, in roundoffs of 1.0."""


@bounded("GRU", "LSTM", "RNN")
@bounded("Attention", "RotaryEmbedding")
@bounded("Attention", "EmbedLayerNormalization", "MultiHeadAttention", "RotaryEmbedding", domain=MICROSOFT)
def _by_last_axes(asked: Asked) -> tuple[Allowed, ...]:
    """Sums run over the last axes of what is multiplied."""
    sizes = (np.shape(value)[-1] for value in asked.inputs if np.ndim(value) and _is_float(value))
    return _moved(asked, gamma(sum(sizes), asked.unit))


@bounded("DFT", "STFT")
def _fourier(asked: Asked) -> tuple[Allowed, ...]:
    """A sum over a signal of n numbers, or over a window of them.

    ONNX Runtime computes the angles of the factors in float32: up to 2 pi n, so that each factor is off by as
    many roundoffs.
    """
    window = asked.given(2) if asked.step.proto.op_type == "STFT" else None
    terms = max(asked.x.shape, default=1) if window is None else window.size
    return _moved(asked, gamma(terms, asked.unit) + 2 * math.pi * terms * asked.unit)


def _moved(asked: Asked, share: float) -> tuple[Allowed, ...]:
    """``share`` is how far each float input is moved, as a share of itself."""
    random = np.random.default_rng(0)
    largest = [0.0 for _ in asked.exact]
    for _ in range(RUNS):
        moved = asked.again([_shifted(value, share, random) for value in asked.inputs])
        for index, (one, other) in enumerate(zip(asked.exact, moved, strict=True)):
            if _is_float(one) and one.size:
                largest[index] = max(largest[index], float(np.nanmax(np.abs(one - other))))
    return tuple(
        TIMES * shift + FUNCTION * asked.unit * max(1.0, _size(value))
        for shift, value in zip(largest, asked.exact, strict=True)
    )


def _is_float(value: Value) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def _size(value: Value) -> float:
    return float(np.nanmax(np.abs(value))) if _is_float(value) and value.size else 0.0


def _shifted(value: Value, share: float, random: np.random.Generator) -> Value:
    if not _is_float(value):
        return value
    return value * np.where(random.random(value.shape) < 0.5, 1 - share, 1 + share)
