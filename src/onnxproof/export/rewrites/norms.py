"""Group norms without ``GroupNormalization``.

From opset 21 on, ONNX defines that operator by the mean of the squares less the square of the mean, and ONNX
Runtime computes it so. The difference loses digits where the mean is large, and falls below 0 where all
numbers are equal: its root is NaN. ``InstanceNormalization`` has a kernel that loses none.
"""

from onnxproof.export.rewrites.values import Value, ints, op, rank

SINCE = 21
"""The first opset at which torch's exporter writes GroupNormalization."""


def group_norm(
    x: Value,
    num_groups: int,
    weight: Value = None,
    bias: Value = None,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> Value:
    """``group_norm``: each group is a channel of an instance norm."""
    del cudnn_enabled
    ones, zeros = (op.CastLike(op.Constant(value_floats=[number] * num_groups), x) for number in (1.0, 0.0))
    groups = op.Reshape(x, ints(0, num_groups, -1))
    normed = op.Reshape(op.InstanceNormalization(groups, ones, zeros, epsilon=eps), op.Shape(x))
    of_channels = ints(-1, *[1] * (rank(x) - 2))
    if weight is not None:
        normed = op.Mul(normed, op.Reshape(weight, of_channels))
    return normed if bias is None else op.Add(normed, op.Reshape(bias, of_channels))
