"""Activations, and softmax."""

import math

import numpy as np
import torch
from torch.nn import functional

from onnxproof.validate.exact.arrays import Array, to_numpy, to_tensor
from onnxproof.validate.exact.registry import operator, single


def softmax(x: Array, axis: int = -1) -> Array:
    """exp(x) / sum(exp(x)) along an axis."""
    if x.size == 0:
        return x
    powers = np.exp(x - np.max(x, axis=axis, keepdims=True))
    powers /= np.sum(powers, axis=axis, keepdims=True)
    return np.asarray(powers)


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


def logistic(x: Array) -> Array:
    """1 / (1 + exp(-x))."""
    return to_numpy(torch.sigmoid(to_tensor(x)))


def rectified(x: Array) -> Array:
    """max(x, 0)."""
    result: Array = np.maximum(x, 0)
    return result


def gelu(x: Array, approximate: str = "none") -> Array:
    """x * Phi(x), or its approximation by tanh."""
    return to_numpy(functional.gelu(to_tensor(x), approximate=approximate))


def hard_sigmoid(x: Array, alpha: float, beta: float) -> Array:
    """A line, cut at 0 and 1."""
    return np.asarray(np.clip(alpha * x + beta, 0, 1))


def elu(x: Array, alpha: float = 1.0) -> Array:
    """x above 0, alpha * (exp(x) - 1) below."""
    return np.asarray(np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))))


def softplus(x: Array) -> Array:
    """log(1 + exp(x))."""
    return np.asarray(np.logaddexp(0, x))


def softsign(x: Array) -> Array:
    """x / (1 + |x|)."""
    return np.asarray(x / (1 + np.abs(x)))


def leaky(x: Array, alpha: float) -> Array:
    """x from 0 on, alpha * x below."""
    return np.asarray(np.where(x < 0, alpha * x, x))


def thresholded(x: Array, alpha: float) -> Array:
    """x above alpha, else 0."""
    return np.asarray(np.where(x > alpha, x, 0.0))


@operator("Sigmoid")
def _sigmoid(x: Array) -> Array:
    return logistic(x)


@operator("Relu")
def _relu(x: Array) -> Array:
    return rectified(x)


@operator("Gelu")
def _gelu(x: Array, *, approximate: str = "none") -> Array:
    return gelu(x, approximate)


@operator("LeakyRelu")
def _leaky_relu(x: Array, *, alpha: float = single(0.01)) -> Array:
    return leaky(x, alpha)


@operator("PRelu")
def _p_relu(x: Array, slope: Array) -> Array:
    return np.asarray(np.where(x < 0, slope * x, x))


@operator("Elu")
def _elu(x: Array, *, alpha: float = 1.0) -> Array:
    return elu(x, alpha)


@operator("Celu")
def _celu(x: Array, *, alpha: float = 1.0) -> Array:
    return np.asarray(np.maximum(x, 0) + np.minimum(0, alpha * np.expm1(np.minimum(x, 0) / alpha)))


@operator("Selu")
def _selu(
    x: Array, *, alpha: float = 1.67326319217681884765625, gamma: float = 1.05070102214813232421875
) -> Array:
    return gamma * elu(x, alpha)


@operator("HardSigmoid")
def _hard_sigmoid(x: Array, *, alpha: float = single(0.2), beta: float = 0.5) -> Array:
    return hard_sigmoid(x, alpha, beta)


@operator("HardSwish")
def _hard_swish(x: Array) -> Array:
    return np.asarray(x * hard_sigmoid(x, 1 / 6, 0.5))


@operator("Swish")
def _swish(x: Array, *, alpha: float = 1.0) -> Array:
    return np.asarray(x * logistic(alpha * x))


@operator("Mish")
def _mish(x: Array) -> Array:
    return np.asarray(x * np.tanh(softplus(x)))


@operator("Softplus")
def _softplus(x: Array) -> Array:
    return softplus(x)


@operator("Softsign")
def _softsign(x: Array) -> Array:
    return softsign(x)


@operator("ThresholdedRelu")
def _thresholded_relu(x: Array, *, alpha: float = 1.0) -> Array:
    return thresholded(x, alpha)


@operator("Shrink")
def _shrink(x: Array, *, bias: float = 0.0, lambd: float = 0.5) -> Array:
    return np.asarray(np.where(x < -lambd, x + bias, np.where(x > lambd, x - bias, 0))).astype(x.dtype)
