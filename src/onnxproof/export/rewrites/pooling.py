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
        # A last window may begin in the picture or its left border and end behind them.
        behind = [pad + (step - 1 if ceil_mode else 0) for pad, step in zip(pads, steps, strict=True)]
        before = [0] * (rank(x) - axes)
        wide = op.Pad(x, ints(*before, *pads, *before, *behind))
        if len(before) == 1:
            wide = op.Unsqueeze(wide, ints(0))
        means = op.AveragePool(wide, kernel_shape=kernel, strides=steps)
        if len(before) == 1:
            means = op.Squeeze(means, ints(0))
        if ceil_mode:
            for axis, (pad, step) in enumerate(zip(pads, steps, strict=True), start=len(before)):
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
