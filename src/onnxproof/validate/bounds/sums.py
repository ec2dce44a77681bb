"""Bounds of reductions, pools and softmaxes."""

import math
from collections.abc import Sequence

import numpy as np

from onnxproof.validate.bounds.model import DRIFT, gamma, summed
from onnxproof.validate.bounds.registry import Allowed, Asked, bounded
from onnxproof.validate.exact.arrays import Array
from onnxproof.validate.exact.operators.blocked import NCHWC, blocked, plain

FUNCTION = 8.0
"""What exp and log may err inside a sum, in unit roundoffs (elementwise.py)."""


def reduced_axes(asked: Asked) -> tuple[int, ...]:
    """The axes that a Reduce operator reduces."""
    given = asked.given(1)
    axes = asked.attribute("axes", ()) if given is None else tuple(map(int, given.reshape(-1)))
    if axes:
        return tuple(axis % asked.x.ndim for axis in axes)
    return () if asked.attribute("noop_with_empty_axes", 0) else tuple(range(asked.x.ndim))


def _shaped(asked: Asked, allowed: Array) -> Array:
    """What is allowed, which has all axes, in the shape of the output."""
    return np.asarray(allowed.reshape(asked.y.shape))


def _sum_of(asked: Asked, terms: Array) -> Array:
    axes = reduced_axes(asked)
    return _shaped(asked, summed(terms, axes, asked.unit)) if axes else np.zeros(asked.y.shape)


@bounded("ReduceSum", "ReduceL1")
def _reduce_sum(asked: Asked) -> Allowed:
    return _sum_of(asked, np.abs(asked.x) if asked.step.proto.op_type == "ReduceL1" else asked.x)


@bounded("ReduceMean")
def _reduce_mean(asked: Asked) -> Allowed:
    count = math.prod(asked.x.shape[axis] for axis in reduced_axes(asked))
    return np.asarray(_sum_of(asked, asked.x) / max(count, 1))


@bounded("ReduceSumSquare")
def _reduce_sum_square(asked: Asked) -> Allowed:
    return np.asarray(_sum_of(asked, np.square(asked.x)) + asked.unit * np.abs(asked.y))


@bounded("ReduceL2")
def _reduce_l2(asked: Asked) -> Allowed:
    """sqrt(s + d) - sqrt(s) is at most d / sqrt(s), and sqrt(d)."""
    error = _sum_of(asked, np.square(asked.x)) + asked.unit * np.square(asked.y)
    return np.asarray(np.minimum(error / np.maximum(np.abs(asked.y), 1e-300), np.sqrt(error)))


@bounded("ReduceLogSum")
def _reduce_log_sum(asked: Asked) -> Allowed:
    relative = _sum_of(asked, asked.x) / np.maximum(np.exp(asked.y), 1e-300)
    return np.asarray(relative + FUNCTION * asked.unit * np.maximum(np.abs(asked.y), 1))


@bounded("ReduceLogSumExp")
def _reduce_log_sum_exp(asked: Asked) -> Allowed:
    axes = reduced_axes(asked)
    if not axes or not asked.x.size:
        return FUNCTION * asked.unit
    top = np.max(asked.x, axis=axes, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    error = _shaped(asked, np.abs(top) * asked.unit + _exponentials(asked.x - top, axes, asked.unit))
    return np.asarray(error + FUNCTION * asked.unit * np.maximum(np.abs(asked.y), 1))


@bounded("ReduceProd")
def _reduce_prod(asked: Asked) -> Allowed:
    count = math.prod(asked.x.shape[axis] for axis in reduced_axes(asked))
    return np.asarray(gamma(count, asked.unit) * np.abs(asked.y))


@bounded("CumSum")
def _cum_sum(asked: Asked) -> Allowed:
    axis = int(np.asarray(asked.inputs[1]).reshape(-1)[0])
    narrow = asked.x.astype(np.float32)
    drifted = np.abs(np.cumsum(narrow, axis, dtype=np.float32) - np.cumsum(asked.x, axis))
    worst = drifted.max(axis, keepdims=True) if asked.x.size else 0.0
    return np.asarray(gamma(asked.x.shape[axis], asked.unit) * asked.magnitudes()[0] + DRIFT * worst)


@bounded("Col2Im")
def _col2im(asked: Asked) -> Allowed:
    """Each cell is the sum of what the blocks that lie there have for it."""
    (most,) = asked.again([np.ones(asked.x.shape), *asked.inputs[1:]])
    terms = float(np.max(np.asarray(most), initial=1.0))
    return np.asarray(gamma(terms, asked.unit) * np.asarray(asked.magnitudes()[0]))


def _exponentials(shifted: Array, axes: Sequence[int], unit: float) -> Array:
    """The relative error of the sum of exp(shifted); those axes have size 1.

    A rounding of the exponent errs by a share of the exponent.
    """
    powers = np.exp(shifted)
    total = powers.sum(tuple(axes), keepdims=True)
    exponents = np.where(powers > 0, powers * np.abs(shifted), 0.0).sum(tuple(axes), keepdims=True)
    return np.asarray(unit * (FUNCTION + exponents / total) + summed(powers, axes, unit) / total)


def softmax_error(x: Array, axes: Sequence[int], unit: float, *, log: bool) -> Array:
    """How far the softmax (or its logarithm) of x over ``axes`` may be off beyond one rounding."""
    if not x.size:
        return np.zeros(x.shape)
    top = np.max(x, axis=tuple(axes), keepdims=True)
    shifted = x - np.where(np.isfinite(top), top, 0.0)
    of_sum = _exponentials(shifted, axes, unit)
    if log:
        size = np.log(np.exp(shifted).sum(tuple(axes), keepdims=True))
        finite = np.where(np.isfinite(shifted), np.abs(shifted), 0.0)
        return np.asarray(of_sum + unit * (finite + FUNCTION * (1 + size)))
    powers = np.exp(shifted)
    exponents = np.where(powers > 0, powers * np.abs(shifted), 0.0)
    total = powers.sum(tuple(axes), keepdims=True)
    return np.asarray((powers * (of_sum + unit * FUNCTION) + unit * exponents) / total)


@bounded("Softmax", "LogSoftmax")
def _softmax(asked: Asked) -> Allowed:
    """Until opset 12 all axes from ``axis`` on count as one."""
    single = asked.step.opset >= 13
    axis = int(asked.attribute("axis", -1 if single else 1)) % max(asked.x.ndim, 1)
    axes = (axis,) if single else tuple(range(axis, asked.x.ndim))
    log = asked.step.proto.op_type == "LogSoftmax"
    return softmax_error(asked.x, axes, asked.unit, log=log)


@bounded("GlobalAveragePool")
def _global_average(asked: Asked) -> Allowed:
    axes = tuple(range(2, asked.x.ndim))
    count = max(math.prod(asked.x.shape[2:]), 1)
    allowed = summed(asked.x, axes, asked.unit)
    return np.asarray(allowed.reshape(asked.y.shape) / count)


@bounded("GlobalAveragePool", domain=NCHWC)
def _blocked_global_average(asked: Asked) -> Allowed:
    allowed = summed(plain(asked.x), (2, 3), asked.unit)
    return blocked(allowed / max(math.prod(asked.x.shape[2:]), 1))


@bounded("AveragePool")
@bounded("AveragePool", domain=NCHWC)
def _average_pool(asked: Asked) -> Allowed:
    """A window is a sum of one sign where the map is even, and may be as large as the map: 0.25 n is what one
    float32 sum after another drifts at most there (ReduceSumSquare in model.py)."""
    count = math.prod(asked.attribute("kernel_shape", ()))
    relative = min(float(count), gamma(count, 1.0) + 0.25 * count) * asked.unit
    return np.asarray(relative * np.asarray(asked.magnitudes()[0]))


@bounded("GlobalLpPool", "LpPool", "LpNormalization", "LRN")
def _powers(asked: Asked) -> Allowed:
    """Roots and quotients of sums of powers: a share of the result."""
    window = asked.attribute("kernel_shape", None)
    count = asked.attribute("size", None) or math.prod(asked.x.shape[1:] if window is None else window)
    return np.asarray((gamma(count, asked.unit) + 2 * FUNCTION * asked.unit) * np.abs(asked.y))
