"""Allowances of operators of many steps inside, of which no bound is derived: they are measured.

A rounding in a product is as if its factors had been a little different. So the node is computed with every
float input moved up or down by as much as its sums round; the largest shift over several runs, four times, is
what rounding may do. How errors grow from step to step is in it.
"""

import numpy as np

from onnxproof.validate.bounds.model import gamma
from onnxproof.validate.bounds.registry import Allowed, Asked, bounded
from onnxproof.validate.exact.arrays import Value

RUNS = 4
"""How often the inputs are moved."""

TIMES = 4.0
"""How many times the largest shift is allowed."""

FUNCTION = 16.0
"""What the functions inside may err, in roundoffs of 1.0."""


@bounded("GRU", "LSTM", "RNN")
@bounded("Attention", "MultiHeadAttention", domain="com.microsoft")
def _moved(asked: Asked) -> tuple[Allowed, ...]:
    sizes = [np.shape(value)[-1] for value in asked.inputs if np.ndim(value) and _is_float(value)]
    share = gamma(sum(sizes), asked.unit)
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
