"""The length of a vector of two numbers."""

from onnxproof.export.rewrites.values import Value, op


def length(x: Value, y: Value) -> Value:
    """``hypot``, of floats. The squares are of numbers up to 1: they do not leave the dtype's range."""
    x, y = op.Abs(x), op.Abs(y)
    longer, one = op.Max(x, y), op.CastLike(op.Constant(value_float=1.0), x)
    nothing = op.Equal(longer, op.CastLike(op.Constant(value_float=0.0), x))
    share = op.Div(op.Min(x, y), op.Where(nothing, one, longer))
    return op.Mul(longer, op.Sqrt(op.Add(one, op.Mul(share, share))))
