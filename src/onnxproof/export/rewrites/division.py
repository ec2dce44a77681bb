"""Floor division of sizes, whose dividend torch's own translation takes to be positive.

ONNX's Div of integers rounds towards zero, Python's ``//`` down.
"""

import torch

from onnxproof.export.rewrites.values import Value, op


def may_be_negative(node: torch.fx.Node) -> bool:
    """Whether the dividend, or the divisor, can be negative at a declared size."""
    return any(map(_lowest_is_negative, node.args))


def floored(dividend: Value | int, divisor: Value | int) -> Value:
    """``//`` of integers."""
    # Mod takes the sign of the divisor, so what is left over is what flooring leaves over.
    return op.Div(op.Sub(dividend, op.Mod(dividend, divisor)), divisor)


def _lowest_is_negative(given: object) -> bool:
    value = given.meta.get("val") if isinstance(given, torch.fx.Node) else given
    if isinstance(value, torch.SymInt):
        known = value.node.shape_env
        return known is None or bool(known.bound_sympy(value.node.expr).lower < 0)
    return isinstance(value, int) and value < 0
