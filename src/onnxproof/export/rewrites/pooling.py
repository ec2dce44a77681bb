"""Average pooling with a divisor of its own, of which torch's own translation takes no notice."""

import math
from collections.abc import Callable, Sequence

import torch

from onnxproof.export.rewrites.values import Value, ints, op, rank, size

DIVISOR = 6
"""Which argument is the divisor."""


def has_divisor(node: torch.fx.Node) -> bool:
    """Whether the sums of the windows are divided by a given number."""
    return (
        node.args[DIVISOR] if len(node.args) > DIVISOR else node.kwargs.get("divisor_override")
    ) is not None


def average(axes: int) -> Callable[..., Value]:
    """The translation of ``avg_pool2d`` and ``avg_pool3d``, by the number of axes."""

    def translation(
        x: Value,
        kernel_size: Sequence[int],
        stride: Sequence[int] = (),
        padding: Sequence[int] = (0,),
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Value:
        del count_include_pad  # which changes the divisor alone
        kernel, pads = _each(kernel_size, axes), _each(padding, axes)
        steps = _each(stride or kernel, axes)
        first = rank(x) - axes
        wide = x
        for axis, step in enumerate(steps, start=first):
            if ceil_mode and step > 1:
                # A last window may begin in the picture or its left border and end behind both.
                wide = op.Concat(wide, _zeros(wide, x, axis, step - 1), axis=axis)
        if first == 1:
            wide = op.Unsqueeze(wide, ints(0))
        means = op.AveragePool(
            wide, kernel_shape=kernel, strides=steps, pads=[*pads, *pads], count_include_pad=1
        )
        if first == 1:
            means = op.Squeeze(means, ints(0))
        if ceil_mode:
            for axis, (pad, step) in enumerate(zip(pads, steps, strict=True), start=first):
                count = op.Div(op.Add(size(x, axis), ints(pad + step - 1)), ints(step))
                means = op.Slice(means, ints(0), count, ints(axis))
        area, divisor = (
            op.CastLike(op.Constant(value_float=float(number)), x)
            for number in (math.prod(kernel), divisor_override or math.prod(kernel))
        )
        return op.Div(op.Mul(means, area), divisor)

    return translation


def _each(sizes: Sequence[int], axes: int) -> list[int]:
    return list(sizes) * (axes // len(sizes))


def _zeros(wide: Value, x: Value, axis: int, count: int) -> Value:
    """As many zeros along an axis of ``wide``, which has the axes of ``x``."""
    before, after = op.Shape(wide, start=0, end=axis), op.Shape(wide, start=axis + 1)
    zero = op.CastLike(op.Constant(value_float=0.0), x)
    return op.Expand(zero, op.Concat(before, ints(count), after, axis=0))
