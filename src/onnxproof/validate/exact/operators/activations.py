"""Activations, and normalisations over one axis that have no weights."""

import math
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from onnxproof.validate.exact.arrays import Array, to_numpy, to_tensor
from onnxproof.validate.exact.registry import operator


def softmax(x: Array, axis: int = -1) -> Array:
    """exp(x) / sum(exp(x)) along an axis."""
    if x.size == 0:
        return x
    powers = np.exp(x - np.max(x, axis=axis, keepdims=True))
    result: Array = powers / np.sum(powers, axis=axis, keepdims=True)
    return result


def log_softmax(x: Array, axis: int = -1) -> Array:
    """log(softmax(x)) along an axis."""
    return to_numpy(functional.log_softmax(to_tensor(x), axis)) if x.size else x


def hardmax(x: Array, axis: int = -1) -> Array:
    """1 at the first largest number along an axis, else 0."""
    result = np.zeros_like(x)
    if x.size:
        np.put_along_axis(result, np.expand_dims(np.argmax(x, axis), axis), 1, axis)
    return result


_ALONG = {"Softmax": softmax, "LogSoftmax": log_softmax, "Hardmax": hardmax}


def _register(name: str) -> None:
    function = _ALONG[name]

    @operator(name, since=13)
    def _along(x: Array, *, axis: int = -1) -> Array:
        return function(x, axis)

    @operator(name)
    def _flattened(x: Array, *, axis: int = 1) -> Array:
        """Until opset 12 all axes from ``axis`` on count as one."""
        split = axis + x.ndim if axis < 0 else axis
        flat = x.reshape(math.prod(x.shape[:split]), math.prod(x.shape[split:]))
        return function(flat, 1).reshape(x.shape)


for _name in _ALONG:
    _register(_name)


@operator("Erf")
def _erf(x: Array) -> Array:
    return to_numpy(torch.special.erf(to_tensor(x)))


@operator("Gelu")
def _gelu(x: Array, *, approximate: str = "none") -> Array:
    return to_numpy(functional.gelu(to_tensor(x), approximate=approximate))


def logistic(x: Array) -> Array:
    """1 / (1 + exp(-x))."""
    return to_numpy(torch.sigmoid(to_tensor(x)))


def rectified(x: Array) -> Array:
    """max(x, 0)."""
    result: Array = np.maximum(x, 0)
    return result


@operator("Sigmoid")
def _sigmoid(x: Array) -> Array:
    return logistic(x)


@operator("HardSwish")
def _hard_swish(x: Array) -> Array:
    return _times(x, np.clip(x / 6 + 0.5, 0, 1))


@operator("Mish")
def _mish(x: Array) -> Array:
    return _times(x, np.tanh(np.logaddexp(0, x)))


def _times(x: Array, gate: Any) -> Array:
    result: Array = x * gate
    return result
