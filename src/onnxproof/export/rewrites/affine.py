"""Grids of affine maps, of which torch's decomposition takes the sizes for constants."""

from collections.abc import Sequence

from onnxproof.export.rewrites.values import Value, count_to, ints, number, op


def grid(theta: Value, size: Sequence[Value | int], align_corners: bool) -> Value:
    """``affine_grid_generator``: float[n, d, d + 1] to float[n, *sizes, d], with d sizes after the channels.

    A cell's place is between -1 and 1 along each axis, the last axis first; its image is ``theta`` times the
    place and 1 (aten/src/ATen/native/AffineGridGenerator.cpp).
    """
    sizes = [number(one) for one in size[2:]]
    axes = len(sizes)
    whole = op.Concat(*sizes, axis=0)
    parts = []
    for axis in reversed(range(axes)):
        shape = [1] * axes
        shape[axis] = -1
        places = op.Reshape(_places(sizes[axis], theta, align_corners=align_corners), ints(*shape))
        parts.append(op.Unsqueeze(op.Expand(places, whole), ints(-1)))
    one = op.CastLike(op.Constant(value_float=1.0), theta)
    parts.append(op.Unsqueeze(op.Expand(one, whole), ints(-1)))
    cells = op.Reshape(op.Concat(*parts, axis=-1), ints(1, -1, axes + 1))
    images = op.MatMul(cells, op.Transpose(theta, perm=[0, 2, 1]))
    return op.Reshape(images, op.Concat(ints(-1), whole, ints(axes), axis=0))


def _places(count: Value, theta: Value, *, align_corners: bool) -> Value:
    """float[count]: from -1 to 1 if the corners are aligned, else the middles of cells between them. One cell
    is at 0."""
    one, two = (op.CastLike(op.Constant(value_float=number_), theta) for number_ in (1.0, 2.0))
    cells = op.CastLike(count, theta)
    at = op.CastLike(count_to(count), theta)
    if align_corners:
        # 2 i - (n - 1), over n - 1
        return op.Div(op.Sub(op.Mul(two, at), op.Sub(cells, one)), op.Max(op.Sub(cells, one), one))
    return op.Div(op.Sub(op.Mul(two, at), op.Sub(cells, one)), cells)
