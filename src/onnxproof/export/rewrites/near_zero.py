"""``log1p``, ``expm1`` and ``logsigmoid`` of floats."""

import torch

from onnxproof.export import near_zero
from onnxproof.export.near_zero import Constants
from onnxproof.export.rewrites.values import Value, op


def is_of_floats(node: torch.fx.Node) -> bool:
    """Whether the numbers are floats before torch's exporter promotes them."""
    x = node.args[0]
    return isinstance(x, torch.fx.Node) and bool(x.meta["val"].dtype.is_floating_point)


def log1p(x: Value) -> Value:
    """``log1p``."""
    return near_zero.log1p(op, x, _constants(x))


def expm1(x: Value) -> Value:
    """``expm1``."""
    return near_zero.expm1(op, x, _constants(x))


def log_sigmoid(x: Value) -> Value:
    """``logsigmoid``."""
    return near_zero.log_sigmoid(op, x, _constants(x))


def _constants(x: Value) -> Constants:
    zero, half, one = (op.CastLike(op.Constant(value_float=number), x) for number in (0.0, 0.5, 1.0))
    return zero, half, one
