"""Bounds of matrix products and convolutions: a sum of n products errs by a share of the sum of the products'
magnitudes, which the node itself computes from the magnitudes of its inputs.

Each product is rounded once, unless it is fused with the addition, and so are biases and factors.
"""

import math

import numpy as np

from onnxproof.validate.bounds.model import gamma
from onnxproof.validate.bounds.registry import Allowed, Asked, bounded
from onnxproof.validate.exact.arrays import Array
from onnxproof.validate.exact.operators.blocked import NCHWC
from onnxproof.validate.exact.operators.microsoft import MICROSOFT

BESIDE = 3
"""Roundings of a product beside those of the sum: the product itself, the bias, a factor."""

_SLOPES = {"": 1.0, "Relu": 1.0, "Clip": 1.0, "LeakyRelu": 1.0, "Sigmoid": 0.25, "Tanh": 1.0}
"""The steepest slope of the activations that ONNX Runtime fuses with a product."""

STEEPEST = 1.5
"""The steepest slope of the other activations: HardSwish's."""

_ACTIVATION_ERROR = 12.0
"""What a fused activation may err itself, in unit roundoffs of 1.0 or of the result (elementwise.py)."""


def _product(asked: Asked, terms: int, sums: Array) -> Array:
    return np.asarray((gamma(terms, asked.unit) + BESIDE * asked.unit) * np.abs(sums))


@bounded("Conv")
def _conv(asked: Asked) -> Allowed:
    weight = np.asarray(asked.inputs[1])
    return _product(asked, weight.size // max(weight.shape[0], 1), np.asarray(asked.magnitudes()[0]))


@bounded("ConvTranspose")
def _conv_transpose(asked: Asked) -> Allowed:
    weight = np.asarray(asked.inputs[1])
    terms = weight.shape[0] // int(asked.attribute("group", 1)) * math.prod(weight.shape[2:])
    return _product(asked, terms, np.asarray(asked.magnitudes()[0]))


@bounded("Conv", domain=NCHWC)
@bounded("FusedConv", "NhwcConv", "NhwcFusedConv", domain=MICROSOFT)
def _fused_conv(asked: Asked) -> Allowed:
    """The sum passes through the activation, whose slope is at most that of ``_SLOPES``."""
    weight = np.asarray(asked.inputs[1])
    sums = np.asarray(asked.magnitudes(activation=None, activation_params=None)[0])
    return _activated(asked, _product(asked, weight.size // max(weight.shape[0], 1), sums))


def _activated(asked: Asked, error: Array) -> Array:
    name = str(asked.attribute("activation", ""))
    parameters = asked.attribute("activation_params", ()) or (asked.attribute("activation_alpha", 0.0),)
    slope = _SLOPES.get(name, STEEPEST)
    if name in ("LeakyRelu", "HardSigmoid"):
        slope = max(slope, *map(abs, parameters))
    own = 0.0 if name in ("", "Relu", "Clip") else _ACTIVATION_ERROR * asked.unit
    return np.asarray(slope * error + own * np.maximum(np.abs(asked.y), 1))


@bounded("MatMul")
def _mat_mul(asked: Asked) -> Allowed:
    return _product(asked, asked.x.shape[-1], np.asarray(asked.magnitudes()[0]))


@bounded("FusedMatMul", "TransposeMatMul", domain=MICROSOFT)
def _fused_mat_mul(asked: Asked) -> Allowed:
    turned, batched = asked.attribute("transA", 0), asked.attribute("transBatchA", 0)
    shape = asked.x.shape
    terms = shape[-1] if not turned else shape[0] if batched else shape[-2]
    alpha = abs(float(asked.attribute("alpha", 1.0)))
    return _product(asked, terms, np.asarray(asked.magnitudes(alpha=alpha)[0]))


@bounded("Gemm")
@bounded("FusedGemm", domain=MICROSOFT)
def _gemm(asked: Asked) -> Allowed:
    terms = asked.x.shape[0 if asked.attribute("transA", 0) else 1]
    factors = {name: abs(float(asked.attribute(name, 1.0))) for name in ("alpha", "beta")}
    if asked.step.proto.domain:
        named = {one.name for one in asked.step.proto.attribute if one.name.startswith("activation")}
        sums = asked.magnitudes(**factors, **dict.fromkeys(named))[0]
        return _activated(asked, _product(asked, terms, np.asarray(sums)))
    return _product(asked, terms, np.asarray(asked.magnitudes(**factors)[0]))


@bounded("Einsum")
def _einsum(asked: Asked) -> Allowed:
    """Contracted pair by pair, in an order that is not known."""
    equation = str(asked.attribute("equation", "")).replace(" ", "").replace("...", "")
    left, arrow, right = equation.partition("->")
    parts = left.split(",")
    kept = set(right) if arrow else {letter for letter in left if left.count(letter) == 1}
    sizes: dict[str, int] = {}
    for part, value in zip(parts, asked.inputs, strict=False):
        shape = np.shape(value)
        # An ellipsis may stand before, between or after the letters; the largest size is on the safe side.
        sizes |= dict(zip(part, shape, strict=False)) | dict(
            zip(reversed(part), reversed(shape), strict=False)
        )
    terms = math.prod(size for letter, size in sizes.items() if letter not in kept)
    return _product(asked, terms * len(parts), np.asarray(asked.magnitudes()[0]))
