"""Sorted values, the k-th smallest value, the median, and where a value belongs in a sorted sequence."""

from onnxscript import ir

from onnxproof.export.rewrites.values import Value, from_start, ints, number, op, rank, size


def in_order(x: Value, stable: bool = True, dim: int = -1, descending: bool = False) -> tuple[Value, Value]:
    """``sort.stable``: the values and their indices. Of equal values, TopK gives the lower index first."""
    del stable
    if rank(x) == 0:
        return op.Identity(x), op.Constant(value_int=0)
    values, indices = op.TopK(x, size(x, dim), axis=from_start(dim, x), largest=int(descending), sorted=1)
    return values, indices


def indices_in_order(x: Value, stable: bool, dim: int = -1, descending: bool = False) -> Value:
    """``argsort.stable``: the indices of ``in_order``."""
    _, indices = in_order(x, stable, dim, descending)
    return indices


def kth_value(x: Value, k: Value | int, dim: int = -1, keepdim: bool = False) -> tuple[Value, Value]:
    """``kthvalue``: the value and an index. Of equal values, PyTorch may give another's index."""
    if rank(x) == 0:
        return op.Identity(x), op.Constant(value_int=0)
    return _taken(x, _kth(x, number(k), dim), dim, keepdim)


def median_along(x: Value, dim: int, keepdim: bool = False) -> tuple[Value, Value]:
    """``median.dim``: the lower of the two middle values and an index. The first NaN, if there is one."""
    if rank(x) == 0:
        return op.Identity(x), op.Constant(value_int=0)
    middle = op.Div(op.Add(size(x, dim), ints(1)), ints(2))
    index = _kth(x, middle, dim)
    if x.dtype.is_floating_point():
        unknown = op.Cast(op.IsNaN(x), to=ir.DataType.INT32)
        first = op.ArgMax(unknown, axis=dim, keepdims=1)
        index = op.Where(
            op.Cast(op.ReduceMax(unknown, ints(dim), keepdims=1), to=ir.DataType.BOOL), first, index
        )
    return _taken(x, index, dim, keepdim)


def median(x: Value) -> Value:
    """``median`` of all values."""
    if rank(x) == 0:
        return op.Identity(x)
    flat = op.Reshape(x, ints(-1))
    flat.shape, flat.dtype = ir.Shape([None]), x.dtype
    values, _ = median_along(flat, 0)
    return values


def searched(
    sequence: Value,
    x: Value,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Value = None,
) -> Value:
    """``searchsorted``: how many numbers of the sequence stand before ``x``; of equal ones all (``right``) or
    none."""
    if sorter is not None:
        sequence = op.GatherElements(sequence, sorter, axis=-1)
    if not isinstance(x, ir.Value):
        x = op.CastLike(op.Constant(value_float=float(x)), sequence)
    after = op.Greater if right or side == "right" else op.GreaterOrEqual
    rows = op.Unsqueeze(sequence, ints(-2)) if rank(sequence) > 1 else sequence
    # What is not after x, instead of what is before it: NaN is greater than all numbers.
    behind = after(rows, op.Unsqueeze(x, ints(-1)))
    kind = ir.DataType.INT32 if out_int32 else ir.DataType.INT64
    return op.ReduceSum(op.Cast(op.Not(behind), to=kind), ints(-1), keepdims=0)


def _kth(x: Value, k: Value, dim: int) -> Value:
    """The index of the k-th smallest value along an axis, which stays, with size 1."""
    _, order = op.TopK(x, k, axis=from_start(dim, x), largest=0, sorted=1)
    return op.Slice(order, ints(-1), ints(2**62), ints(from_start(dim, x)))


def _taken(x: Value, index: Value, dim: int, keepdim: bool) -> tuple[Value, Value]:
    values = op.GatherElements(x, index, axis=dim)
    if keepdim:
        return values, index
    return op.Squeeze(values, ints(dim)), op.Squeeze(index, ints(dim))
