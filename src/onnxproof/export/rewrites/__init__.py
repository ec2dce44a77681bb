"""Operators that torch's exporter translates wrongly or not at all, written in ONNX.

Each is exact: it states the function that PyTorch computes, for every size. A program gets a rewrite only if
it has an operator that needs one. So what torch's exporter writes rightly stays as it writes it.
"""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from onnxproof.export.rewrites import (
    adaptive_pooling,
    affine,
    angle,
    attention,
    copied,
    cumulative,
    diagonal,
    distance,
    division,
    fourier,
    grouped,
    hypotenuse,
    laying,
    near_zero,
    norms,
    order,
    pooling,
    regions,
    rolled,
    scatter,
    suppression,
    truth,
    windows,
)

Translation = Callable[..., Any]


def _always(node: torch.fx.Node) -> bool:
    del node
    return True


@dataclass(frozen=True, slots=True)
class Rewrite:
    """How to write an operator in ONNX. ``needed`` says whether a node of it needs that, and ``since`` from
    which opset on."""

    translation: Translation
    needed: Callable[[torch.fx.Node], bool] = _always
    since: int = 0


_WINDOWS = {
    f"aten::{made.__name__}{overload}": Rewrite(windows.window(made))
    for made, overloads in (
        (torch.hamming_window, ("", ".periodic", ".periodic_alpha", ".periodic_alpha_beta")),
        (torch.kaiser_window, ("", ".periodic", ".beta")),
        (torch.bartlett_window, ("", ".periodic")),
        (torch.hann_window, (".periodic",)),
        (torch.blackman_window, (".periodic",)),
    )
    for overload in overloads
}
_AVERAGE = Rewrite(adaptive_pooling.average, adaptive_pooling.size_is_open)
_MAXIMUM = Rewrite(adaptive_pooling.maximum, adaptive_pooling.size_is_open)

REWRITES: Mapping[str, Rewrite] = {
    "aten::_fft_r2c": Rewrite(fourier.from_real),
    "aten::_is_all_true": Rewrite(truth.all_true),
    "aten::_is_any_true": Rewrite(truth.any_true),
    "aten::adaptive_avg_pool1d": _AVERAGE,
    "aten::adaptive_avg_pool2d": _AVERAGE,
    "aten::adaptive_avg_pool3d": Rewrite(adaptive_pooling.average),
    "aten::adaptive_max_pool1d": _MAXIMUM,
    "aten::adaptive_max_pool2d": _MAXIMUM,
    "aten::adaptive_max_pool3d": Rewrite(adaptive_pooling.maximum),
    "aten::_grouped_mm": Rewrite(grouped.product, grouped.are_rows),
    "aten::affine_grid_generator": Rewrite(affine.grid),
    "aten::avg_pool2d": Rewrite(pooling.average(2), pooling.has_divisor),
    "aten::avg_pool3d": Rewrite(pooling.average(3), pooling.has_divisor),
    "aten::argsort.stable": Rewrite(order.indices_in_order),
    "aten::atan2": Rewrite(angle.angle),
    "aten::cdist": Rewrite(distance.distances),
    "aten::copy": Rewrite(copied.copied, copied.is_spread),
    "aten::cummax": Rewrite(cumulative.maximum),
    "aten::cummin": Rewrite(cumulative.minimum),
    "aten::cumprod": Rewrite(cumulative.product),
    "aten::diagonal_scatter": Rewrite(diagonal.scattered),
    "aten::expm1": Rewrite(near_zero.expm1, near_zero.is_of_floats),
    "aten::floor_divide": Rewrite(division.divided, division.is_of_floats),
    "aten::floor_divide.Scalar": Rewrite(division.divided),
    "aten::group_norm": Rewrite(norms.group_norm, since=norms.SINCE),
    "aten::hypot": Rewrite(hypotenuse.length),
    "aten::index_reduce": Rewrite(scatter.reduced),
    "aten::kthvalue": Rewrite(order.kth_value),
    "aten::log1p": Rewrite(near_zero.log1p, near_zero.is_of_floats),
    "aten::log_sigmoid": Rewrite(near_zero.log_sigmoid),
    "aten::median": Rewrite(order.median),
    "aten::median.dim": Rewrite(order.median_along),
    "aten::remainder.Scalar": Rewrite(division.remainder, division.is_by_size),
    "aten::roll": Rewrite(rolled.rolled, rolled.shift_is_open),
    "aten::scaled_dot_product_attention": Rewrite(attention.attention, attention.is_masked_or_odd),
    "aten::scatter_reduce.two": Rewrite(scatter.scattered, scatter.are_means),
    "aten::searchsorted.Scalar": Rewrite(order.searched),
    "aten::searchsorted.Tensor": Rewrite(order.searched),
    "aten::sort.stable": Rewrite(order.in_order),
    "_operator::floordiv": Rewrite(division.floored, division.may_be_negative),
    **_WINDOWS,
    "onnxproof::detections": Rewrite(suppression.detections),
    "onnxproof::oriented_detections": Rewrite(suppression.oriented_detections),
    "onnxproof::laid": Rewrite(laying.laid),
    "onnxproof::placement": Rewrite(laying.placement),
    "onnxproof::from_half_spectrum": Rewrite(fourier.from_half_spectrum),
    "torchvision::roi_pool": Rewrite(regions.region_maximum, regions.values_only),
    "transformers::grouped_mm_fallback": Rewrite(grouped.product),
}
"""The rewrites by the operators' qualified names. Those of other libraries are there only if these are
imported."""


MADE: Mapping[str, torch._ops.OpOverload] = {
    "aten::diagonal": torch.ops.aten.diagonal_scatter.default,  # of what is written to the view
    "aten::floor_divide": torch.ops.aten.floor_divide.Scalar,  # of integers by a float number
}
"""What torch.onnx may make of an operator before it translates, if that needs a rewrite."""


def table_for(program: torch.export.ExportedProgram, opset: int) -> dict[Any, Translation]:
    """The rewrites that a program needs at an opset, by operator: a ``custom_translation_table`` of
    torch.onnx.export."""
    table: dict[Any, Translation] = {}
    for module in program.graph_module.modules():
        if not isinstance(module, torch.fx.GraphModule):
            continue
        for node in module.graph.nodes:
            name = _name_of(node.target)
            rewrite = REWRITES.get(name)
            if rewrite is not None and opset >= rewrite.since and rewrite.needed(node):
                table[node.target] = rewrite.translation
            if name in MADE:
                table[MADE[name]] = REWRITES[_name_of(MADE[name])].translation
    return table


def _name_of(target: object) -> str:
    """The qualified name of an operator, or of Python's ``//``. Returns "" for anything else."""
    if isinstance(target, torch._ops.OpOverload):
        return str(target.name())  # type: ignore[no-untyped-call]
    return "_operator::floordiv" if target is operator.floordiv else ""
