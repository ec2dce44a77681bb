"""The angle of a point, with PyTorch's answer on the negative half of the first axis.

There torch's own translation gives minus pi whatever the sign of zero.
"""

import math

from onnxproof.export.rewrites.values import Value, op


def angle(y: Value, x: Value) -> Value:
    """``atan2``, of floats."""
    zero, turn = (op.CastLike(op.Constant(value_float=number), y) for number in (0.0, math.pi))
    # The angle of (1, y / x) is right on the right half. 0 / 0 is NaN: the angle of the origin is that of y.
    nowhere = op.And(op.Equal(y, zero), op.Equal(x, zero))
    steep = op.Where(nowhere, y, op.Atan(op.Div(y, x)))
    # The sign of zero shows in its reciprocal.
    below = op.Or(op.Less(y, zero), op.Less(op.Reciprocal(y), zero))
    behind = op.Or(op.Less(x, zero), op.Less(op.Reciprocal(x), zero))
    return op.Where(behind, op.Add(steep, op.Where(below, op.Neg(turn), turn)), steep)
