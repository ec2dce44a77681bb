"""Reported faults of arithmetic: division and rounding of negative numbers, bounds, statistics."""

import math
from typing import Any

import torch
from soundness.reported.fault import CAPTURED, TRACED, Net, Reported, Run, exported, instead, plain
from torch import Tensor, nn
from torch.nn import functional

NUMBERS = {"x": "int64[batch, 8] in -9..9"}
ROWS = {"x": "float32[batch, 8] in -1..1"}
BATCH = {"batch": "1..4"}
STEP = 0.125
"""A quantisation step that is a power of two: dividing by it rounds nothing."""


def scaled(run: Run) -> Net:
    """A forward with eight weights at hand."""
    return Net(run, w=nn.Parameter(torch.rand(8) + 0.5))


def direction(_: Any, y: Tensor, x: Tensor) -> Tensor:
    """``torch.atan2`` of two integers, by quadrant."""
    y, x = y.float(), x.float()
    angle = torch.atan(y / torch.where(x == 0, 1.0, x))
    behind = torch.where(y < 0, angle - math.pi, angle + math.pi)
    return torch.where(x == 0, torch.sign(y) * (math.pi / 2), torch.where(x < 0, behind, angle))


def crossed_bounds() -> Net:
    """A clamp whose lower bound is above the upper one in four of eight columns."""
    lower = torch.linspace(-0.8, 0.6, 8)
    return Net(
        lambda s, x: torch.minimum(torch.maximum(x, s.lower), s.upper),
        lower=nn.Parameter(lower),
        upper=nn.Parameter(lower.flip(0)),
    )


FAULTS = (
    Reported(
        "floor_divide_truncates",
        "pytorch/pytorch#44692",
        "integer // rounds towards minus infinity",
        "the exporter writes Div, which rounds towards zero: -5 // 4 gives -1",
        "tool",
        lambda: scaled(lambda s, x: (x // 4).float() * s.w),
        NUMBERS,
        BATCH,
        exported(*TRACED),
        overrides=CAPTURED,
    ),
    Reported(
        "ceil_division",
        "onnx/tensorflow-onnx#2174",
        "-(-n // 4) rounds up: the steps that are left of a sequence after a strided layer",
        "the converter writes Div for the floored division, so that it rounds down",
        "emulated",
        lambda: scaled(lambda s, x: -(-(x + 10) // 4).float() * s.w),
        NUMBERS,
        BATCH,
        instead(lambda s, x: -torch.div(-(x + 10), 4, rounding_mode="trunc").float() * s.w),
        overrides=CAPTURED,
    ),
    Reported(
        "right_shift_divides",
        "pytorch/pytorch#139455",
        "a shift to the right rounds towards minus infinity",
        "written as Div, which rounds towards zero",
        "emulated",
        lambda: scaled(lambda s, x: (x >> 2).float() * s.w),
        NUMBERS,
        BATCH,
        instead(lambda s, x: torch.div(x, 4, rounding_mode="trunc").float() * s.w),
        overrides=CAPTURED,
    ),
    Reported(
        "remainder_of_negatives",
        "pytorch/pytorch#60179",
        "torch.remainder has the sign of the divisor",
        "exported as fmod, which has the sign of the dividend",
        "emulated",
        lambda: scaled(lambda s, x: torch.remainder(x, 5).float() * s.w),
        NUMBERS,
        BATCH,
        instead(lambda s, x: torch.fmod(x, 5).float() * s.w),
    ),
    Reported(
        "round_half_up",
        "onnx/tensorflow-onnx#373",
        "halves round to the even neighbour",
        "Round written as Floor(x + 0.5), which rounds halves up",
        "emulated",
        lambda: scaled(lambda s, x: torch.round(x / 2) * s.w),
        NUMBERS,
        BATCH,
        instead(lambda s, x: torch.floor(x / 2 + 0.5) * s.w),
    ),
    Reported(
        "round_half_away",
        "apache/tvm#18590",
        "ONNX's Round takes halves to the even neighbour",
        "lowered to a rounding that takes halves away from zero",
        "emulated",
        lambda: scaled(lambda s, x: torch.round(x / 2) * s.w),
        NUMBERS,
        BATCH,
        instead(lambda s, x: torch.sign(x) * torch.floor(torch.abs(x / 2) + 0.5) * s.w),
    ),
    Reported(
        "quantize_floors",
        "microsoft/onnxruntime#18576",
        "quantising rounds to the nearest step",
        "it rounds down to the next step",
        "emulated",
        lambda: scaled(lambda s, x: torch.round(x / STEP) * STEP * s.w),
        ROWS,
        BATCH,
        instead(lambda s, x: torch.floor(x / STEP) * STEP * s.w),
    ),
    Reported(
        "atan2_on_the_axis",
        "apple/coremltools#2769",
        "atan2(0, x) is pi for negative x",
        "the rotation asks y > 0, not y >= 0; PyTorch's exporters make the same mistake and write -pi",
        "tool",
        lambda: Net(lambda _, y, x: torch.atan2(y.float(), x.float())),
        {"y": "int64[batch, 8] in -2..2", "x": "int64[batch, 8] in -2..2"},
        BATCH,
        plain(),
        healthy=direction,
    ),
    Reported(
        "clip_order",
        "microsoft/onnxruntime#5934",
        "where the lower bound is above the upper one, the upper one wins",
        "the lower one wins: the bounds are applied in the other order",
        "emulated",
        crossed_bounds,
        ROWS,
        BATCH,
        instead(lambda s, x: torch.maximum(torch.minimum(x, s.upper), s.lower)),
    ),
    Reported(
        "clip_upper_bound_lost",
        "NVIDIA/TensorRT#4606",
        "ReLU6 behind a linear layer ends at 6",
        "MatMul, Add and Clip are fused with a ReLU that has no upper bound",
        "emulated",
        lambda: Net(lambda s, x: functional.relu6(20 * s.l(x)), l=nn.Linear(8, 6)),
        ROWS,
        BATCH,
        instead(lambda s, x: functional.relu(20 * s.l(x))),
    ),
    Reported(
        "clip_arguments_lost",
        "hidet-org/hidet#97",
        "clamped to -0.5 and 0.5",
        "a fusion drops the bounds, and nothing is clamped",
        "emulated",
        lambda: scaled(lambda s, x: functional.hardtanh(x, -0.5, 0.5) * s.w),
        ROWS,
        BATCH,
        instead(lambda s, x: x * s.w),
    ),
    Reported(
        "std_biased",
        "vadimkantorov/convasr#64",
        "torch.std divides by n - 1",
        "what stands in for it in the export divides by n",
        "emulated",
        lambda: scaled(lambda s, x: (x * s.w).std(1, keepdim=True)),
        ROWS,
        BATCH,
        instead(lambda s, x: (x * s.w).std(1, keepdim=True, unbiased=False)),
    ),
    Reported(
        "cumsum_reverse_ignored",
        "NVIDIA/TensorRT#4513",
        "sums from the end",
        "the attribute reverse is not read, and the sums start at the beginning",
        "emulated",
        lambda: scaled(lambda s, x: (x * s.w).flip(1).cumsum(1).flip(1)),
        ROWS,
        BATCH,
        instead(lambda s, x: (x * s.w).cumsum(1)),
    ),
)
