"""Bounds of normalisations: (x - mean) / sqrt(variance + epsilon), scaled and shifted.

Kernels compute the variance as the mean square of what is left of x without its mean, or as the mean square
of x less the square of the mean. The second form loses digits if the mean is large against the deviation;
ONNX Runtime's LayerNormalization uses it.
"""

import math
from collections.abc import Sequence

import numpy as np

from onnxproof.validate.bounds.model import summed
from onnxproof.validate.bounds.registry import Allowed, Asked, bounded
from onnxproof.validate.exact.arrays import Array

ROUNDINGS = 4.0
"""Roundings of a number on its way through one step of a normalisation."""


def _normalized(
    x: Array, axes: Sequence[int], epsilon: float, unit: float, *, input_error: Array | float = 0.0
) -> tuple[Array, Array, Array]:
    """How far the normalised x, the mean and 1 / sqrt(variance + epsilon) may be off.

    ``input_error`` is how far x itself may be off.
    """
    places = tuple(axes)
    count = max(math.prod(x.shape[axis] for axis in places), 1)
    spread = np.broadcast_to(np.asarray(input_error, np.float64), x.shape)
    mean = x.mean(places, keepdims=True)
    of_mean = summed(x, places, unit) / count + unit * np.abs(mean) + spread.mean(places, keepdims=True)
    apart = x - mean
    squares = np.square(apart)
    variance = squares.mean(places, keepdims=True)
    whole = np.square(x).mean(places, keepdims=True)
    of_variance = (
        summed(np.square(x), places, unit) / count
        + of_mean * (2 * np.abs(mean) + of_mean)
        + ROUNDINGS * unit * (whole + variance)
        + 2 * (np.abs(x) * spread).mean(places, keepdims=True)
    )
    inverse, of_inverse = _inverse_root(variance + epsilon, of_variance, epsilon, unit)
    of_x = of_mean + spread + unit * np.abs(apart)
    error = (np.abs(apart) + of_x) * of_inverse + of_x * inverse
    return error + ROUNDINGS * unit * (np.abs(x) + np.abs(mean)) * inverse, of_mean, of_inverse


def _inverse_root(square: Array, error: Array, lowest: float, unit: float) -> tuple[Array, Array]:
    """1 / sqrt(square), and how far it may be off if the square is, which never falls below ``lowest``."""
    with np.errstate(divide="ignore"):
        inverse = 1 / np.sqrt(square)
        largest = 1 / np.sqrt(np.maximum(square - error, lowest))
    return inverse, largest - inverse + ROUNDINGS * unit * inverse


def _scaled(error: Array, y: Array, unit: float, scale: Array | None, shift: Array | None) -> Array:
    scaled = error if scale is None else error * np.abs(scale)
    shifted = 0.0 if shift is None else np.abs(shift)
    return np.asarray(scaled + ROUNDINGS * unit * (np.abs(y) + shifted))


def _last(asked: Asked) -> tuple[int, ...]:
    first = int(asked.attribute("axis", -1)) % asked.x.ndim
    return tuple(range(first, asked.x.ndim))


@bounded("LayerNormalization")
def _layer(asked: Asked) -> Allowed | tuple[Allowed, ...]:
    epsilon = float(asked.attribute("epsilon", 1e-5))
    error, of_mean, of_inverse = _normalized(asked.x, _last(asked), epsilon, asked.unit)
    return _scaled(error, asked.y, asked.unit, asked.given(1), asked.given(2)), of_mean, of_inverse


@bounded("SkipLayerNormalization", domain="com.microsoft")
def _skip_layer(asked: Asked) -> tuple[Allowed, ...]:
    """The sum of two or three inputs, normalised. The sum may be an output, too."""
    parts = [part for part in (asked.x, asked.given(1), asked.given(4)) if part is not None]
    x, error = _added(parts, asked.unit)
    epsilon = float(asked.attribute("epsilon", 1e-12))
    of_x, of_mean, of_inverse = _normalized(x, (x.ndim - 1,), epsilon, asked.unit, input_error=error)
    return _scaled(of_x, asked.y, asked.unit, asked.given(2), asked.given(3)), of_mean, of_inverse, error


def _added(parts: Sequence[Array], unit: float) -> tuple[Array, Array]:
    """The sum of arrays, and how far it may be off."""
    total = parts[0]
    size = np.abs(parts[0])
    for part in parts[1:]:
        total, size = total + part, size + np.abs(part)
    return total, (len(parts) - 1) * unit * size


def _root_mean(x: Array, axes: Sequence[int], epsilon: float, unit: float, error: Array | float) -> Array:
    """How far x / sqrt(mean square + epsilon) may be off."""
    places = tuple(axes)
    count = max(math.prod(x.shape[axis] for axis in places), 1)
    square = np.square(x).mean(places, keepdims=True)
    spread = np.broadcast_to(np.asarray(error, np.float64), x.shape)
    off = summed(np.square(x), places, unit) / count + ROUNDINGS * unit * square
    off = off + 2 * (np.abs(x) * spread).mean(places, keepdims=True)
    inverse, of_inverse = _inverse_root(square + epsilon, off, epsilon, unit)
    return np.asarray(np.abs(x) * of_inverse + (spread + ROUNDINGS * unit * np.abs(x)) * inverse)


@bounded("RMSNormalization", "SimplifiedLayerNormalization")
def _rms(asked: Asked) -> Allowed:
    error = _root_mean(asked.x, _last(asked), float(asked.attribute("epsilon", 1e-5)), asked.unit, 0.0)
    return _scaled(error, asked.y, asked.unit, asked.given(1), None)


@bounded("SkipSimplifiedLayerNormalization", domain="com.microsoft")
def _skip_rms(asked: Asked) -> tuple[Allowed, ...]:
    parts = [part for part in (asked.x, asked.given(1), asked.given(3)) if part is not None]
    x, error = _added(parts, asked.unit)
    off = _root_mean(x, (x.ndim - 1,), float(asked.attribute("epsilon", 1e-5)), asked.unit, error)
    return _scaled(off, asked.y, asked.unit, asked.given(2), None), None, None, error


def _by_channel(values: Array | None, x: Array) -> Array | None:
    """One number a channel, broadcast against [n, c, ...]."""
    return None if values is None else values.reshape((-1, *[1] * (x.ndim - 2)))


@bounded("InstanceNormalization")
def _instance(asked: Asked) -> Allowed:
    x, epsilon = asked.x, float(asked.attribute("epsilon", 1e-5))
    error, _, _ = _normalized(x, range(2, x.ndim), epsilon, asked.unit)
    scale, shift = (_by_channel(asked.given(index), x) for index in (1, 2))
    return _scaled(error, asked.y, asked.unit, scale, shift)


@bounded("GroupNormalization")
def _group(asked: Asked) -> Allowed:
    x, groups = asked.x, int(asked.attribute("num_groups", 1))
    epsilon = float(asked.attribute("epsilon", 1e-5))
    apart = x.reshape(x.shape[0], groups, -1)
    error, _, _ = _normalized(apart, (2,), epsilon, asked.unit)
    scale, shift = (
        _by_channel(np.repeat(one, x.shape[1] // one.size), x)
        for one in (np.asarray(asked.inputs[1]), np.asarray(asked.inputs[2]))
    )
    return _scaled(error.reshape(x.shape), asked.y, asked.unit, scale, shift)


@bounded("MeanVarianceNormalization")
def _mean_variance(asked: Asked) -> Allowed:
    axes = [axis % asked.x.ndim for axis in asked.attribute("axes", (0, 2, 3))]
    error, _, _ = _normalized(asked.x, axes, 1e-9, asked.unit)
    return _scaled(error, asked.y, asked.unit, None, None)


@bounded("BatchNormalization")
def _batch(asked: Asked) -> Allowed:
    """Kernels fold the four tensors into a factor and a shift. In training mode the mean and the variance are
    the batch's own."""
    tensors = [np.asarray(value) for value in asked.inputs[1:5]]
    if asked.attribute("training_mode", 0):
        others = tuple(axis for axis in range(asked.x.ndim) if axis != 1)
        tensors[2:] = asked.x.mean(others), asked.x.var(others)
    scale, shift, mean, variance = (np.asarray(_by_channel(tensor, asked.x)) for tensor in tensors)
    factor = np.abs(scale) / np.sqrt(variance + float(asked.attribute("epsilon", 1e-5)))
    terms = (np.abs(asked.x) + np.abs(mean)) * factor + np.abs(shift)
    return np.asarray(2 * ROUNDINGS * asked.unit * terms)
