"""Non-maximum suppression of a batch, in standard operators: each picture's own detections, in order.

Both exporters write it: ``op`` makes the nodes of either (``Operators``).
"""

from functools import partial
from typing import Any, Protocol

import onnx

Value = Any
"""A value of the graph under construction."""

ALL = 2**31 - 1
"""More boxes than any picture has: ONNX's NMS keeps none unless it is told how many it may keep."""

INT64 = int(onnx.TensorProto.INT64)


class Operators(Protocol):
    """What writes a node: ``op.Add(x, y)``. Constants are ``op.Constant`` with ``value_int``, ``value_ints``
    or ``value_floats``. TopK has two outputs."""

    def __getattr__(self, name: str) -> Any: ...


def constant_ints(op: Operators, *numbers: int) -> Value:
    """A constant, int64 [n]."""
    return op.Constant(value_ints=list(numbers))


def range_to(op: Operators, end: Value) -> Value:
    """The numbers from 0 to below ``end``, which is int64 [1]."""
    return op.Range(op.Constant(value_int=0), op.Squeeze(end, constant_ints(op, 0)), op.Constant(value_int=1))


def detections(
    op: Operators,
    boxes: Value,
    scores: Value,
    labels: Value,
    classes: int,
    score_threshold: float,
    iou_threshold: float,
    max_detections: int | None = None,
) -> tuple[Value, Value]:
    """``onnxproof::detections``: see ``wrappers/suppression.py``. Boxes and scores are float32.

    ONNX's NMS takes two corners in any order. Ours keeps a box whose sides run backwards, and it suppresses
    nothing. So does a box without area in both: that is what the graph makes of it.
    """

    ints, count_to = partial(constant_ints, op), partial(range_to, op)
    near, far = (op.Slice(boxes, ints(start), ints(end), ints(2)) for start, end in ((0, 2), (2, 4)))
    proper = op.Concat(near, op.Max(near, far), axis=2)
    sizes = op.Shape(scores)
    batch, count = op.Gather(sizes, ints(0), axis=0), op.Gather(sizes, ints(1), axis=0)
    ranked = op.Unsqueeze(scores, ints(1))
    if classes > 1:
        each = op.Unsqueeze(ints(*range(classes)), ints(0, 2))
        own = op.Equal(op.Unsqueeze(labels, ints(1)), each)
        ranked = op.Where(own, ranked, op.Constant(value_floats=[-1.0]))
    kept = op.NonMaxSuppression(
        proper,
        ranked,
        ints(ALL),
        op.Constant(value_floats=[iou_threshold]),
        op.Constant(value_floats=[score_threshold]),
    )
    picture, index = (op.Gather(kept, op.Constant(value_int=column), axis=1) for column in (0, 2))
    # ONNX sorts by picture, class and score. Of equal scores the lower index comes first, so the rows are
    # sorted by picture and index, then by score, and then by picture again: TopK keeps the order of equals.
    rows = op.Shape(picture)
    flat, _ = op.TopK(op.Add(op.Mul(picture, count), index), rows, largest=0)
    picture = op.Div(flat, count)
    index = op.Sub(flat, op.Mul(picture, count))
    _, by_score = op.TopK(op.Gather(op.Reshape(scores, ints(-1)), flat, axis=0), rows)
    picture, index = (op.Gather(column, by_score, axis=0) for column in (picture, index))
    picture, by_picture = op.TopK(picture, rows, largest=0)
    index = op.Gather(index, by_picture, axis=0)
    if max_detections is None:
        return picture, index
    # A row's rank within its picture is its place less the place of the picture's first row.
    same = op.Equal(op.Unsqueeze(picture, ints(1)), op.Unsqueeze(count_to(batch), ints(0)))
    found = op.ReduceSum(op.Cast(same, to=INT64), ints(0), keepdims=0)
    before = op.CumSum(found, op.Constant(value_int=0), exclusive=1)
    rank = op.Sub(count_to(rows), op.Gather(before, picture, axis=0))
    best = op.Less(rank, ints(max_detections))
    return op.Compress(picture, best), op.Compress(index, best)
