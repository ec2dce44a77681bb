"""torchvision's pooling of regions by their maximum."""

import operator

import torch
from onnxscript import ir

from onnxproof.export.rewrites.values import Value, op


def values_only(node: torch.fx.Node) -> bool:
    """Whether nothing reads where the maxima are, which ONNX's operator does not tell."""
    return all(
        user.target is operator.getitem and (user.args[1] == 0 or not user.users) for user in node.users
    )


def region_maximum(
    x: Value, regions: Value, spatial_scale: float, pooled_height: int, pooled_width: int
) -> tuple[Value, Value]:
    """``torchvision.roi_pool``: the values, and a stand-in for where they are."""
    values = op.MaxRoiPool(
        x, regions, pooled_shape=[pooled_height, pooled_width], spatial_scale=spatial_scale
    )
    return values, op.Cast(values, to=ir.DataType.INT32)
