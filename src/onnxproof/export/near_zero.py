"""``log1p``, ``expm1`` and ``logsigmoid``, which keep the digits of small numbers, in standard operators.

Torch's exporters write ``Log(1 + x)`` and ``Exp(x) - 1``. The sum rounds a small x to a multiple of the ulp
of 1, and so does the exponential. ``Log(Sigmoid(x))`` is minus infinity from about -88 down. Both exporters
write these here: ``op`` makes the nodes of either.
"""

from typing import Any

from onnxproof.export.suppression import Operators

Value = Any
"""A value of the graph under construction."""

Constants = tuple[Value, Value, Value]
"""0, 0.5 and 1, of the dtype of the numbers."""


def log1p(op: Operators, x: Value, constants: Constants) -> Value:
    """The logarithm of 1 + x.

    What rounding takes from 1 + x is put back as a factor x / ((1 + x) - 1), whose divisor is exact (Kahan;
    see Goldberg 1991, "What every computer scientist should know about floating-point arithmetic",
    theorem 4). Far from 0 the factor is 1.
    """
    _, half, one = constants
    moved = op.Add(x, one)
    nothing, divisor = _to_divide_by(op, op.Sub(moved, one), constants)
    logarithm = op.Log(moved)
    mended = op.Mul(logarithm, op.Div(x, divisor))
    return op.Where(nothing, x, op.Where(op.Less(op.Abs(x), half), mended, logarithm))


def expm1(op: Operators, x: Value, constants: Constants) -> Value:
    """The exponential of x, less 1.

    What rounding takes from the exponential is put back as a factor x / log(exp(x)) (Kahan, as in ``log1p``).
    Far from 0 the factor is 1.
    """
    _, half, one = constants
    power = op.Exp(x)
    nothing, divisor = _to_divide_by(op, op.Log(power), constants)
    less = op.Sub(power, one)
    mended = op.Mul(less, op.Div(x, divisor))
    return op.Where(nothing, x, op.Where(op.Less(op.Abs(x), half), mended, less))


def log_sigmoid(op: Operators, x: Value, constants: Constants) -> Value:
    """The logarithm of 1 / (1 + exp(-x)): min(x, 0) - log1p(exp(-|x|)), as PyTorch computes it
    (torch/_decomp/decompositions.py)."""
    zero, _, _ = constants
    return op.Sub(op.Min(x, zero), log1p(op, op.Exp(op.Neg(op.Abs(x))), constants))


def _to_divide_by(op: Operators, value: Value, constants: Constants) -> tuple[Value, Value]:
    """Where a value is 0, and the value with 1 there."""
    zero, _, one = constants
    nothing = op.Equal(value, zero)
    return nothing, op.Where(nothing, one, value)
