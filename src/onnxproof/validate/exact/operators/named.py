"""Activations by the names that recurrences and fused operators give them."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from onnxproof.validate.exact.arrays import Array
from onnxproof.validate.exact.errors import UnsupportedNodeError
from onnxproof.validate.exact.operators.activations import (
    elu,
    gelu,
    hard_sigmoid,
    leaky,
    logistic,
    rectified,
    softplus,
    softsign,
    thresholded,
)
from onnxproof.validate.exact.registry import single

Function = Callable[[Array], Array]


def _affine(x: Array, alpha: float, beta: float) -> Array:
    return np.asarray(alpha * x + beta)


def _scaled_tanh(x: Array, alpha: float, beta: float) -> Array:
    return np.asarray(alpha * np.tanh(beta * x))


def _clip(x: Array, least: float, most: float) -> Array:
    return np.asarray(np.clip(x, least, most))


def _hard_swish(x: Array) -> Array:
    return np.asarray(x * hard_sigmoid(x, 1 / 6, 0.5))


def _quick_gelu(x: Array, alpha: float) -> Array:
    return np.asarray(x * logistic(alpha * x))


_ACTIVATIONS: dict[str, tuple[Callable[..., Array], tuple[float, ...]]] = {
    "affine": (_affine, (1.0, 0.0)),
    "clip": (_clip, (-np.inf, np.inf)),
    "elu": (elu, (1.0,)),
    "gelu": (gelu, ()),
    "hardsigmoid": (hard_sigmoid, (single(0.2), 0.5)),
    "hardswish": (_hard_swish, ()),
    "leakyrelu": (leaky, (single(0.01),)),
    "quickgelu": (_quick_gelu, (single(1.702),)),
    "relu": (rectified, ()),
    "scaledtanh": (_scaled_tanh, (1.0, 1.0)),
    "sigmoid": (logistic, ()),
    "softplus": (softplus, ()),
    "softsign": (softsign, ()),
    "tanh": (np.tanh, ()),
    "thresholdedrelu": (thresholded, (1.0,)),
}
"""Each activation with the defaults of its parameters alpha and beta."""


def activation(name: str, parameters: Sequence[float] = ()) -> Function:
    """The activation ``name``, in any case; ``parameters`` are alpha and beta as far as they are given.

    An empty name is the identity. Raises UnsupportedNodeError if there is no such activation.
    """
    if not name:
        return lambda x: x
    if name.lower() not in _ACTIVATIONS:
        raise UnsupportedNodeError(f"the activation {name} is not known")
    function, defaults = _ACTIVATIONS[name.lower()]
    given: list[Any] = [*parameters[: len(defaults)], *defaults[len(parameters) :]]
    keywords = dict(zip(_keywords(function), given, strict=False))
    return partial(function, **keywords)


def activations(names: Sequence[str], alphas: Sequence[float], betas: Sequence[float]) -> list[Function]:
    """Several activations. Each takes as many numbers of ``alphas`` and ``betas`` as it has parameters."""
    alpha, beta = iter(alphas), iter(betas)
    functions = []
    for name in names:
        defaults = _ACTIVATIONS.get(name.lower(), (None, ()))[1]
        given = [next(source, default) for source, default in zip((alpha, beta), defaults, strict=False)]
        functions.append(activation(name, given))
    return functions


def _keywords(function: Callable[..., Array]) -> tuple[str, ...]:
    code = getattr(function, "__code__", None)
    return () if code is None else code.co_varnames[1 : code.co_argcount]
