"""Bounds of operators that compute each number by itself.

Basic arithmetic, square roots, casts and whatever only moves or chooses numbers are rounded once at most, and
need no rule. Functions are approximated. ``K`` is what ONNX Runtime's kernels were measured to err at most,
in unit roundoffs, doubled or more: on 1.4 million numbers of magnitudes 0.01 to 100, ONNX Runtime 1.31,
AVX2 (in brackets).
"""

import numpy as np

from onnxproof.validate.bounds.model import SMALLEST, gamma
from onnxproof.validate.bounds.registry import Allowed, Asked, bounded
from onnxproof.validate.exact.arrays import Array

_OF_THE_RESULT = {
    "Acosh": 8,  # 2.2
    "Asinh": 8,  # 2.1
    "Atan": 12,  # 4.2
    "Atanh": 8,  # 2.2
    "Cosh": 8,  # 2.6
    "Erf": 6,  # 1.4
    "Exp": 4,  # 1.2
    "Pow": 4,  # 2.0
    "Sinh": 8,  # 2.6
    "Softsign": 6,  # 2.4
    "Tan": 4,  # 1.4
    "Tanh": 12,  # 5.1
}
"""K by operator, for functions whose error is a share of the result."""

GRADUAL = frozenset(("Erf", "Exp", "Pow"))
"""Functions of ``_OF_THE_RESULT`` whose kernels were measured below the smallest normal number, too: there
they err at most 1.2 times what one rounding does."""

_OF_ONE = {
    "Acos": 12,  # 4.9
    "Asin": 12,  # 3.9
    "Celu": 6,  # 1.1
    "Cos": 4,  # 1.4
    "Elu": 6,  # 1.1
    "HardSigmoid": 4,  # 0.7
    "Log": 8,  # 2.1
    "Selu": 8,  # 2.5
    "Sigmoid": 8,  # 2.8
    "Sin": 4,  # 1.4
    "Softplus": 8,  # 2.4
}
"""K by operator, for functions whose error is a share of 1.0, or of the result if that is larger. Near 0
their kernels add numbers of magnitude 1, or cut off (the sigmoid at 1.5e-8)."""

_OF_THE_INPUT = {
    ("", "Gelu"): 8,  # 1.8
    ("", "HardSwish"): 8,  # 1.5
    ("", "Mish"): 16,  # 4.9
    ("", "Swish"): 12,
    ("com.microsoft", "BiasGelu"): 12,
    ("com.microsoft", "FastGelu"): 12,
    ("com.microsoft", "Gelu"): 8,
    ("com.microsoft", "QuickGelu"): 12,
}
"""K by operator, for an input times a function that errs by a share of 1.0."""


def _register_result(name: str, k: float) -> None:
    @bounded(name, gradual=name in GRADUAL)
    def _rule(asked: Asked) -> Allowed:
        return np.asarray(k * (asked.unit * np.abs(asked.y) + SMALLEST))


def _register_one(name: str, k: float) -> None:
    @bounded(name)
    def _rule(asked: Asked) -> Allowed:
        size = max(1.0, *(abs(float(asked.attribute(name, 1.0))) for name in ("alpha", "gamma", "beta")))
        return np.asarray(k * asked.unit * np.maximum(np.abs(asked.y), size))


def _register_input(domain: str, name: str, k: float) -> None:
    @bounded(name, domain=domain)
    def _rule(asked: Asked) -> Allowed:
        bias = asked.given(1)
        size: Array = np.abs(asked.x) if bias is None else np.abs(asked.x) + np.abs(bias)
        return np.asarray(k * asked.unit * size)


for _name, _k in _OF_THE_RESULT.items():
    _register_result(_name, _k)
for _name, _k in _OF_ONE.items():
    _register_one(_name, _k)
for (_domain, _name), _k in _OF_THE_INPUT.items():
    _register_input(_domain, _name, _k)


@bounded("Sum", "Mean")
def _sum(asked: Asked) -> Allowed:
    terms = len(asked.inputs)
    return np.asarray(gamma(terms, asked.unit) * np.asarray(asked.magnitudes()[0]))


@bounded("Range")
def _range(asked: Asked) -> Allowed:
    """Start plus a multiple of the step: the multiple is rounded, too."""
    start = float(abs(asked.x))
    return np.asarray(2 * asked.unit * (np.abs(asked.y) + start))
