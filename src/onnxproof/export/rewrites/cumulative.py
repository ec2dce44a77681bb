"""Running products, maxima and minima. ONNX has only the running sum.

They are made in ceil(log2(n)) steps, each twice as wide as the one before: after step k, a cell holds the
result for itself and the 2^(k + 1) - 1 cells before it (Hillis and Steele, "Data parallel algorithms", 1986).
"""

from collections.abc import Callable
from typing import Any

from onnxscript import evaluator, ir

from onnxproof.export.rewrites.values import Value, from_start, ints, op, rank, size

WIDTHS = tuple(2**step for step in range(40))
"""The widths of the steps. 2^40 cells are more than fit any memory."""


def product(x: Value, dim: int, dtype: int = -1) -> Value:
    """``cumprod``."""
    kind = x.dtype
    if dtype >= 0:
        kind = ir.DataType(dtype)
    elif kind.is_integer() or kind == ir.DataType.BOOL:
        kind = ir.DataType.INT64
    factors = op.Cast(x, to=kind)
    if rank(x) == 0:
        return factors

    def multiplied(body: "Body", before: ir.Value, here: ir.Value) -> ir.Value:
        return body.node("Mul", before, here)

    return _doubled(factors, kind, from_start(dim, x), size(x, dim), multiplied)


def maximum(x: Value, dim: int) -> tuple[Value, Value]:
    """``cummax``: the values and where they are."""
    return _extreme(x, dim, "GreaterOrEqual")


def minimum(x: Value, dim: int) -> tuple[Value, Value]:
    """``cummin``: the values and where they are."""
    return _extreme(x, dim, "LessOrEqual")


def _extreme(x: Value, dim: int, wins: str) -> tuple[Value, Value]:
    """Of equal values the last one counts, and NaN wins, as in PyTorch.

    Source: aten/src/ATen/native/ReduceOps.cpp.
    """
    if rank(x) == 0:
        return op.Identity(x), op.Constant(value_int=0)
    axis, floats = from_start(dim, x), x.dtype.is_floating_point()
    shape = [1] * rank(x)
    shape[axis] = -1
    cells = op.Range(op.Constant(value_int=0), op.Squeeze(size(x, axis)), op.Constant(value_int=1))
    own = op.Expand(op.Reshape(cells, ints(*shape)), op.Shape(x))

    def later(body: "Body", before: ir.Value, here: ir.Value) -> ir.Value:
        old, new = (body.node("GatherElements", x, each, dtype=x.dtype, axis=axis) for each in (before, here))
        chosen = body.node(wins, new, old, dtype=ir.DataType.BOOL)
        if floats:
            unknown = body.node("IsNaN", new, dtype=ir.DataType.BOOL)
            chosen = body.node("Or", chosen, unknown, dtype=ir.DataType.BOOL)
        return body.node("Where", chosen, here, before, dtype=ir.DataType.INT64)

    found = _doubled(own, ir.DataType.INT64, axis, size(x, axis), later)
    return op.GatherElements(x, found, axis=axis), found


class Body:
    """The nodes of a loop's body."""

    def __init__(self) -> None:
        self.nodes: list[ir.Node] = []

    def node(
        self, name: str, *inputs: ir.Value, dtype: ir.DataType | None = None, **attributes: Any
    ) -> ir.Value:
        """Write a node and return its output. ``dtype`` None means that of the last input."""
        return self._written(ir.node(name, list(inputs), attributes=attributes), dtype or inputs[-1].dtype)

    def constant(self, *numbers: int) -> ir.Value:
        """Write a constant: int64[n]."""
        value = ir.tensor(list(numbers), dtype=ir.DataType.INT64)
        return self._written(ir.node("Constant", [], attributes={"value": value}), ir.DataType.INT64)

    def _written(self, node: ir.Node, dtype: ir.DataType | None) -> ir.Value:
        (output,) = node.outputs
        output.name = f"doubled_{len(self.nodes)}"
        output.type = None if dtype is None else ir.TensorType(dtype)
        self.nodes.append(node)
        return output


def _doubled(
    state: Value,
    dtype: ir.DataType,
    axis: int,
    n: Value,
    combine: Callable[[Body, ir.Value, ir.Value], ir.Value],
) -> Value:
    """Combine every cell of ``state`` with all cells before it along an axis of size ``n``.

    ``combine`` writes, for cells and the cells that are a step before them, what the two make together.
    """
    steps = op.ReduceSum(op.Cast(op.Less(ints(*WIDTHS), n), to=ir.DataType.INT64), keepdims=0)

    body = Body()
    step = _input("step", ir.DataType.INT64)
    going = _input("going", ir.DataType.BOOL)
    cells = _input("cells", dtype, scalar=False)
    nought, end, along = (body.constant(at) for at in (0, 2**62, axis))
    at = body.node("Unsqueeze", step, nought)
    width = body.node("Gather", body.constant(*WIDTHS), at, axis=0)

    def part(start: ir.Value, stop: ir.Value) -> ir.Value:
        return body.node("Slice", cells, start, stop, along, dtype=dtype)

    before = part(nought, body.node("Neg", width))
    kept, here = part(nought, width), part(width, end)
    made = body.node("Concat", kept, combine(body, before, here), axis=axis)
    outputs = [body.node("Identity", going), made]
    graph = ir.Graph([step, going, cells], outputs, nodes=body.nodes, name="doubled")
    # torch's recorder takes no variadic inputs after others: op.Loop would lose the first two.
    loop = ir.node("Loop", [steps, None, state], attributes={"body": graph})
    recorder: Any = evaluator.default()
    recorder.nodes.append(loop)
    return loop.outputs[0]


def _input(name: str, dtype: ir.DataType, *, scalar: bool = True) -> ir.Value:
    return ir.Value(name=f"doubled_{name}", type=ir.TensorType(dtype), shape=ir.Shape([]) if scalar else None)
