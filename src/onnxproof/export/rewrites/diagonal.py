"""Values written into a diagonal, as in ``x.diagonal(dim1=1, dim2=2).fill_(0)``.

torch decomposes that into a write to a view, which the rest of its exporter does not take.
"""

from onnxproof.export.rewrites.values import Value, count_to, from_start, ints, op, rank, size


def scattered(x: Value, src: Value, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Value:
    """``diagonal_scatter``: x with src[..., k] in cell k of the diagonal. ``offset`` is how far the diagonal
    lies above the main one."""
    axes = rank(x)
    row, column = from_start(dim1, x), from_start(dim2, x)
    others = [axis for axis in range(axes) if axis not in (row, column)]
    order = [*others, row, column]
    whole = op.Transpose(x, perm=order)
    rows, columns = size(x, row), size(x, column)
    down, across = op.Unsqueeze(count_to(rows), ints(1)), op.Unsqueeze(count_to(columns), ints(0))
    within = op.Equal(op.Sub(across, down), ints(offset))
    # The values begin at the first row of the diagonal, and end where it leaves the matrix.
    first = max(0, -offset)
    last = op.Sub(rows, op.Add(size(src, -1), ints(first)))
    pads = op.Concat(ints(*[0] * len(others), first, *[0] * len(others)), last, axis=0)
    spread = op.Unsqueeze(op.Pad(src, pads), ints(-1))
    made = op.Where(within, spread, whole)
    back = [order.index(axis) for axis in range(axes)]
    return op.Transpose(made, perm=back)
