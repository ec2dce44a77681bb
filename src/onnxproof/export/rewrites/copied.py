"""A smaller tensor written into a larger one, as in ``x[:, 0] = row``."""

import torch

from onnxproof.export.rewrites.values import Value, op


def is_spread(node: torch.fx.Node) -> bool:
    """Whether what is copied has another shape than what it is copied into."""
    shapes = [given.meta["val"].shape for given in node.args if isinstance(given, torch.fx.Node)]
    return any(len(shape) != len(shapes[0]) or tuple(shape) != tuple(shapes[0]) for shape in shapes)


def copied(into: Value, value: Value, non_blocking: bool = False) -> Value:
    """``copy``: the values, in the shape and the dtype of what they are copied into."""
    del non_blocking
    return op.Expand(op.CastLike(value, into), op.Shape(into))
