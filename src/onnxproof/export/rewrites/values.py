"""What the rewrites have in common: how they write constants, sizes and indices into a graph.

A rewrite is called by torch's exporter while it translates a program. It gets the operator's arguments as
PyTorch has them: tensors and symbolic sizes are values of the graph, everything else is a Python value. What
it calls on ``op`` becomes a node.
"""

from typing import Any

from onnxscript import opset18

Value = Any
"""A value of the graph under construction. onnxscript's types are for its eager mode."""

op: Any = opset18
"""Operators of opset 18, the oldest that torch's exporter writes. Those that the rewrites use are the same in
all later ones."""


def ints(*numbers: int) -> Value:
    """A constant: int64[n]."""
    return op.Constant(value_ints=list(numbers))


def rank(x: Value) -> int:
    """How many axes a value of the program has. What a rewrite itself computed has no known shape."""
    return len(x.shape)


def from_start(axis: int, x: Value) -> int:
    """An axis of ``x``, counted from the first one."""
    return axis % max(rank(x), 1)


def size(x: Value, axis: int) -> Value:
    """The size of an axis: int64[1]."""
    at = from_start(axis, x)
    return op.Shape(x, start=at, end=at + 1)


def number(of: Value | int) -> Value:
    """A Python integer or a symbolic size as int64[1]."""
    return ints(of) if isinstance(of, int) else op.Reshape(of, ints(1))


def count_to(end: Value) -> Value:
    """0, 1, …, ``end`` - 1: int64[end]. ``end`` has one element."""
    scalar = op.Reshape(end, op.Constant(value_ints=[]))
    return op.Range(op.Constant(value_int=0), scalar, op.Constant(value_int=1))


def swapped(x: Value, axes: int, axis: int = -2) -> Value:
    """``x``, which has that many axes, with the last one and another one exchanged."""
    order = list(range(axes))
    order[axis], order[-1] = order[-1], order[axis]
    return op.Transpose(x, perm=order)
