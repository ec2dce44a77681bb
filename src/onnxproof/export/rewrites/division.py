"""Floor division of sizes, whose dividend torch's own translation takes to be positive; of tensors
in floats; remainders by sizes.

ONNX's Div of integers rounds towards zero, Python's ``//`` down.
"""

import torch
from onnxscript import ir

from onnxproof.export.rewrites.values import Value, op


def may_be_negative(node: torch.fx.Node) -> bool:
    """Whether the dividend, or the divisor, can be negative at a declared size."""
    return any(map(_lowest_is_negative, node.args))


def floored(dividend: Value | int, divisor: Value | int) -> Value:
    """``//`` of integers."""
    # Mod takes the sign of the divisor, so what is left over is what flooring leaves over.
    return op.Div(op.Sub(dividend, op.Mod(dividend, divisor)), divisor)


def is_of_floats(node: torch.fx.Node) -> bool:
    """Whether the quotient is a float."""
    return bool(node.meta["val"].dtype.is_floating_point)


def divided(x: Value, divisor: Value | float) -> Value:
    """``floor_divide``: of integers by a float number, it is of float32.

    A quotient may round up to a whole number that the dividend does not reach. So what is left over is taken
    off first, as in PyTorch (``div_floor_floating`` in c10/util/generic_math.h).
    """
    if not x.dtype.is_floating_point():
        if not isinstance(divisor, float):
            return floored(x, op.CastLike(divisor, x))
        x = op.Cast(x, to=ir.DataType.FLOAT)
    by, half = op.CastLike(divisor, x), op.CastLike(op.Constant(value_float=0.5), x)
    whole = op.Div(op.Sub(x, _left_over(x, by)), by)
    return op.Ceil(op.Sub(whole, half))


def is_by_size(node: torch.fx.Node) -> bool:
    """Whether the divisor is a symbolic size. torch's own translation expects a number."""
    return isinstance(node.args[1], torch.fx.Node)


def remainder(x: Value, divisor: Value | float) -> Value:
    """``remainder.Scalar``: what is left over has the sign of the divisor, as in Python."""
    if not x.dtype.is_floating_point():
        return op.Mod(x, op.CastLike(divisor, x))
    return _left_over(x, op.CastLike(divisor, x))


def _left_over(x: Value, by: Value) -> Value:
    """What is left over of floats."""
    zero = op.CastLike(op.Constant(value_float=0.0), x)
    left = op.Mod(x, by, fmod=1)
    astray = op.And(op.Not(op.Equal(left, zero)), op.Xor(op.Less(left, zero), op.Less(by, zero)))
    return op.Where(astray, op.Add(left, by), left)


def _lowest_is_negative(given: object) -> bool:
    value = given.meta.get("val") if isinstance(given, torch.fx.Node) else given
    if isinstance(value, torch.SymInt):
        known = value.node.shape_env
        return known is None or bool(known.bound_sympy(value.node.expr).lower < 0)
    return isinstance(value, int) and value < 0
