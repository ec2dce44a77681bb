"""Normalisations."""

import math
from collections.abc import Sequence

import numpy as np

from onnxproof.validate.exact.arrays import Array
from onnxproof.validate.exact.errors import UnsupportedNodeError
from onnxproof.validate.exact.registry import operator, single

EPSILON = single(1e-5)


def _along_channels(parameter: Array, rank: int) -> Array:
    return parameter.reshape(-1, *[1] * (rank - 2))


@operator("BatchNormalization", ignores=("spatial",))
def _batch_normalization(
    x: Array,
    scale: Array,
    bias: Array,
    mean: Array,
    variance: Array,
    *,
    epsilon: float = EPSILON,
    momentum: float = 0.9,
    training_mode: int = 0,
    wanted: int,
) -> tuple[Array, Array, Array] | Array:
    """With the mean and variance that are given, or in training mode with the batch's own; then the running
    mean and variance follow."""
    if wanted > 1 and not training_mode:
        raise UnsupportedNodeError(
            "a batch normalization that returns what opsets before 14 save in training"
        )
    rank = max(x.ndim, 2)
    running = mean, variance
    if training_mode:
        others = tuple(axis for axis in range(x.ndim) if axis != 1)
        mean, variance = x.mean(others), x.var(others)
    factor = scale / np.sqrt(variance + epsilon)
    centred = x - _along_channels(mean, rank)
    normal = np.asarray(centred * _along_channels(factor, rank) + _along_channels(bias, rank))
    if wanted == 1:
        return normal
    old, new = np.stack(running), np.stack((mean, variance))
    moved = old * momentum + new * (1 - momentum)
    return normal, moved[0], moved[1]


def standardised(x: Array, axes: tuple[int, ...], epsilon: float) -> tuple[Array, Array, Array]:
    """x less its mean, divided by its standard deviation along ``axes``; the mean; 1 / the deviation."""
    mean = np.mean(x, axis=axes, keepdims=True)
    centred = x - mean
    inverse = 1 / np.sqrt(np.mean(centred * centred, axis=axes, keepdims=True) + epsilon)
    return np.asarray(centred * inverse), np.asarray(mean), np.asarray(inverse)


@operator("InstanceNormalization")
def _instance_normalization(x: Array, scale: Array, bias: Array, *, epsilon: float = EPSILON) -> Array:
    whole, _, _ = standardised(x, tuple(range(2, x.ndim)), epsilon)
    return np.asarray(whole * _along_channels(scale, x.ndim) + _along_channels(bias, x.ndim))


@operator("LayerNormalization", ignores=("stash_type",))
def layer_normalization(
    x: Array, scale: Array, bias: Array | None = None, *, axis: int = -1, epsilon: float = EPSILON
) -> tuple[Array, Array, Array]:
    """Over all axes from ``axis`` on: the result, the mean, 1 / the standard deviation."""
    first = axis + x.ndim if axis < 0 else axis
    whole, mean, inverse = standardised(x, tuple(range(first, x.ndim)), epsilon)
    result = whole * scale
    return (result if bias is None else result + bias), mean, inverse


@operator("RMSNormalization", ignores=("stash_type",))
def rms_normalization(x: Array, scale: Array, *, axis: int = -1, epsilon: float = EPSILON) -> Array:
    """Divided by the root of the mean square over all axes from ``axis`` on."""
    axes = tuple(range(axis + x.ndim if axis < 0 else axis, x.ndim))
    return np.asarray(x / np.sqrt(np.mean(x * x, axis=axes, keepdims=True) + epsilon) * scale)


@operator("GroupNormalization", since=18, ignores=("stash_type",))
def _group_normalization(
    x: Array, scale: Array, bias: Array, *, num_groups: int, epsilon: float = EPSILON
) -> Array:
    """``scale`` and ``bias`` have one number a channel; in opset 18 one a group."""
    n, channels = x.shape[:2]
    grouped = x.reshape(n, num_groups, channels // num_groups, math.prod(x.shape[2:]))
    whole, _, _ = standardised(grouped, (2, 3), epsilon)
    each = channels // scale.size
    factors, shifts = (_along_channels(np.repeat(one, each), x.ndim) for one in (scale, bias))
    return np.asarray(whole.reshape(x.shape) * factors + shifts)


@operator("MeanVarianceNormalization")
def _mean_variance_normalization(x: Array, *, axes: Sequence[int] = (0, 2, 3)) -> Array:
    """With 1e-9 beside the deviation, as the function of ONNX's schema has it."""
    mean = np.mean(x, axis=tuple(axes), keepdims=True)
    centred = x - mean
    deviation = np.sqrt(np.mean(x * x, axis=tuple(axes), keepdims=True) - mean * mean)
    return np.asarray(centred / (deviation + single(1e-9)))


@operator("LRN")
def _lrn(x: Array, *, size: int, alpha: float = single(1e-4), beta: float = 0.75, bias: float = 1.0) -> Array:
    """Divided by a power of the squares' sum over ``size`` channels."""
    before, after = (size - 1) // 2, size // 2
    squares = np.pad(x * x, [(0, 0), (before, after), *[(0, 0)] * (x.ndim - 2)])
    sums = sum(squares[:, start : start + x.shape[1]] for start in range(size))
    return np.asarray(x / (bias + alpha / size * sums) ** beta)
