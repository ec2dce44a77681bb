"""Fast NMS of oriented boxes for a batch, in standard operators: each picture's own detections, in order.

Both exporters write it: ``op`` makes the nodes of either (``Operators`` in suppression.py).
"""

from functools import partial

import onnx

from onnxproof.export.suppression import INT64, Operators, Value, constant_ints, range_to
from onnxproof.runtime.oriented import EPSILON

INT32 = int(onnx.TensorProto.INT32)

NOTHING = -1.0
"""The rank of a box whose score is not above the threshold: below every score."""


def oriented_detections(
    op: Operators,
    boxes: Value,
    scores: Value,
    labels: Value,
    classes: int,
    score_threshold: float,
    iou_threshold: float,
    max_detections: int | None = None,
) -> tuple[Value, Value]:
    """``onnxproof::oriented_detections``: see ``wrappers/suppression.py``. Boxes and scores are float32.

    The k best boxes of each picture are compared with each other, where k is the largest number of a picture
    whose score is above the threshold. None is cut off before that.
    """

    ints, count_to = partial(constant_ints, op), partial(range_to, op)
    sizes = op.Shape(scores)
    batch, count = op.Gather(sizes, ints(0), axis=0), op.Gather(sizes, ints(1), axis=0)
    limit = op.Constant(value_floats=[score_threshold])
    above = op.Greater(scores, limit)
    numbers = op.ReduceSum(op.Cast(above, to=INT64), ints(1), keepdims=0)
    most = op.Max(op.ReduceMax(numbers, keepdims=1), ints(1))
    # TopK keeps the order of equals, so of equal scores the lower index comes first.
    best, places = op.TopK(op.Where(above, scores, op.Constant(value_floats=[NOTHING])), most)
    flat = op.Add(places, op.Unsqueeze(op.Mul(count_to(batch), count), ints(1)))
    chosen = op.Gather(op.Reshape(boxes, ints(-1, 5)), flat, axis=0)
    order = count_to(most)
    over = op.And(
        op.Greater(overlaps(op, chosen), op.Constant(value_floats=[iou_threshold])),
        op.Less(op.Unsqueeze(order, ints(0)), op.Unsqueeze(order, ints(1))),
    )
    if classes > 1:
        own = op.Gather(op.Reshape(labels, ints(-1)), flat, axis=0)
        over = op.And(over, op.Equal(op.Unsqueeze(own, ints(2)), op.Unsqueeze(own, ints(1))))
    suppressed = op.Cast(op.ReduceMax(op.Cast(over, to=INT32), ints(2), keepdims=0), to=INT64)
    kept = op.And(op.Greater(best, limit), op.Equal(suppressed, ints(0)))
    if max_detections is not None:
        rank = op.CumSum(op.Cast(kept, to=INT64), op.Constant(value_int=1))
        kept = op.And(kept, op.LessOrEqual(rank, ints(max_detections)))
    found = op.Transpose(op.NonZero(kept), perm=[1, 0])
    return op.Gather(found, op.Constant(value_int=0), axis=1), op.GatherND(places, found)


def overlaps(op: Operators, boxes: Value) -> Value:
    """The probabilistic IoU of each two boxes [b, k, 5] of a picture, [b, k, k]; -1 if it is NaN.

    The function is that of ``pairwise_probiou`` (runtime/oriented.py). There determinants are differences, in
    float64. Here they are sums of what is not negative, so that float32 does: with the variances W and H
    along a box's sides, and D the difference of the angles, the determinant of the sum of two covariances is
    W1 H1 + W2 H2 + (W1 W2 + H1 H2) sin(D)^2 + (W1 H2 + H1 W2) cos(D)^2.
    """

    def number(value: float) -> Value:
        return op.Constant(value_floats=[value])

    def rows(values: Value) -> Value:
        return op.Unsqueeze(values, op.Constant(value_ints=[2]))

    def columns(values: Value) -> Value:
        return op.Unsqueeze(values, op.Constant(value_ints=[1]))

    def square(values: Value) -> Value:
        return op.Mul(values, values)

    x, y, width, height, angle = (op.Gather(boxes, op.Constant(value_int=k), axis=2) for k in range(5))
    wide, high = (op.Div(square(side), number(12.0)) for side in (width, height))
    cosine, sine = op.Cos(angle), op.Sin(angle)
    right, down = (op.Sub(rows(values), columns(values)) for values in (x, y))
    along = op.Sub(op.Mul(rows(cosine), down), op.Mul(rows(sine), right))
    across = op.Add(op.Mul(rows(sine), down), op.Mul(rows(cosine), right))
    own = op.Add(op.Mul(rows(wide), square(along)), op.Mul(rows(high), square(across)))
    apart = op.Add(own, op.Transpose(own, perm=[0, 2, 1]))
    turn = op.Sub(op.Mul(rows(sine), columns(cosine)), op.Mul(rows(cosine), columns(sine)))
    level = op.Add(op.Mul(rows(cosine), columns(cosine)), op.Mul(rows(sine), columns(sine)))
    alike = op.Add(op.Mul(rows(wide), columns(wide)), op.Mul(rows(high), columns(high)))
    unlike = op.Add(op.Mul(rows(wide), columns(high)), op.Mul(rows(high), columns(wide)))
    area = op.Mul(wide, high)
    determinant = op.Add(
        op.Add(rows(area), columns(area)),
        op.Add(op.Mul(alike, square(turn)), op.Mul(unlike, square(level))),
    )
    epsilon, root = number(EPSILON), op.Sqrt(area)
    ratio = op.Div(determinant, op.Add(op.Mul(op.Mul(rows(root), columns(root)), number(4.0)), epsilon))
    distance = op.Add(
        op.Mul(op.Div(apart, op.Add(determinant, epsilon)), number(0.25)),
        op.Mul(op.Log(op.Add(ratio, epsilon)), number(0.5)),
    )
    share = op.Exp(op.Neg(op.Max(distance, epsilon)))
    overlap = op.Sub(number(1.0), op.Sqrt(op.Add(op.Sub(number(1.0), share), epsilon)))
    # Runtimes disagree about what Max makes of NaN.
    return op.Where(op.IsNaN(distance), number(-1.0), overlap)
