"""Whether all or any of a tensor's truths hold: what ``torch._check_tensor_all`` asks before it asserts."""

import onnx

from onnxproof.export.rewrites.values import Value, op


def all_true(x: Value) -> Value:
    """``_is_all_true``: bool[...] to bool[]. True of no elements."""
    return op.Not(any_true(op.Not(x)))


def any_true(x: Value) -> Value:
    """``_is_any_true``: bool[...] to bool[]. False of no elements."""
    counted = op.ReduceSum(op.Cast(x, to=onnx.TensorProto.INT64), keepdims=False)
    return op.Cast(counted, to=onnx.TensorProto.BOOL)
