"""Reported faults of simplifiers and of fusions: nodes merged that must not be, outputs and axes lost."""

from typing import Any

import torch
from soundness.fault import Editor, NothingPlantedError
from soundness.reported.fault import Net, Reported, instead, surgery
from torch import nn

ROWS = {"x": "float32[batch, 8] in -1..1"}
BATCH = {"batch": "1..4"}
PICTURE = {"x": "float32[batch, 4, height, width] in -1..1"}
SIZES = {"batch": "1..3", "height": "4..7", "width": "4..7"}


def matrix() -> nn.Parameter:
    """Weights of 8 x 8."""
    return nn.Parameter(torch.randn(8, 8))


def vector() -> nn.Parameter:
    """A bias of 8."""
    return nn.Parameter(torch.randn(8))


def lose_first_axis(editor: Editor) -> None:
    """Take the first axis, of size 1, off the output."""
    (output,) = editor.graph.output
    editor.splice(output.name, lambda emit, value: emit("Squeeze", value, [0]))
    del output.type.tensor_type.shape.dim[0]


def drop_last_output(editor: Editor) -> None:
    """Declare one output less."""
    if len(editor.graph.output) < 2:
        raise NothingPlantedError("the graph has one output only")
    del editor.graph.output[-1]


def two_outputs(s: Any, x: Any) -> Any:
    """Scores and boxes."""
    return {"scores": s.a(x), "boxes": s.b(x)}


FAULTS = (
    Reported(
        "grouped_conv_drops_sum",
        "microsoft/onnxruntime#12498",
        "what is added to a grouped convolution is in its output",
        "fused into the convolution, and lost where that has groups",
        "emulated",
        lambda: Net(lambda s, x: s.c(x) + x, c=nn.Conv2d(4, 4, 3, padding=1, groups=2)),
        PICTURE,
        SIZES,
        instead(lambda s, x: s.c(x)),
    ),
    Reported(
        "identity_transpose_fused",
        "microsoft/onnxruntime#32228",
        "a Transpose with perm [0, 1] changes nothing",
        "ONNX Runtime 1.27 fuses it into Gemm as a transposition, unseen where the operand is square",
        "emulated",
        lambda: Net(lambda s, x: x @ s.w + s.b, w=matrix(), b=vector()),
        {"x": "float32[8, 8] in -1..1"},
        {},
        instead(lambda s, x: x.T @ s.w + s.b),
    ),
    Reported(
        "transposes_composed_backwards",
        "onnx/onnx#2446",
        "two transpositions are one: first the first, then the second",
        "the optimizer composes them in the other order",
        "emulated",
        lambda: Net(lambda s, x: s.l(x.permute(0, 2, 1, 3).permute(0, 1, 3, 2)), l=nn.Linear(4, 3)),
        {"x": "float32[batch, 4, 4, 4] in -1..1"},
        BATCH,
        instead(lambda s, x: s.l(x.permute(0, 3, 1, 2))),
    ),
    Reported(
        "bias_along_rows",
        "openxla/xla#46897",
        "a bias has one number for each column",
        "folded into the product along the rows, unseen as there are as many rows as columns",
        "emulated",
        lambda: Net(lambda s, x: x @ s.w + s.b, w=matrix(), b=vector()),
        {"x": "float32[batch, 8, 8] in -1..1"},
        BATCH,
        instead(lambda s, x: x @ s.w + s.b[:, None]),
    ),
    Reported(
        "size_frozen",
        "pytorch/pytorch#69605",
        "the size of an axis is that of the input at hand",
        "it is a constant, that of the example",
        "emulated",
        lambda: Net(lambda s, x: s.l(x).sum(1) / x.shape[1], l=nn.Linear(4, 3)),
        {"x": "float32[batch, time, 4] in -1..1"},
        {"batch": "1..3", "time": "2..9"},
        instead(lambda s, x: s.l(x).sum(1) / 5),
    ),
    Reported(
        "leading_axis_lost",
        "microsoft/onnxruntime#11870",
        "the output has a leading axis of 1",
        "after optimization it has not; ONNX Runtime only warns",
        "emulated",
        lambda: Net(lambda s, x: s.l(x)[None], l=nn.Linear(8, 3)),
        ROWS,
        BATCH,
        surgery(lose_first_axis),
    ),
    Reported(
        "output_deleted",
        "onnxsim/onnxsim#227",
        "two outputs",
        "the simplified file has one",
        "surgery",
        lambda: Net(two_outputs, a=nn.Linear(8, 3), b=nn.Linear(8, 4)),
        ROWS,
        BATCH,
        surgery(drop_last_output),
    ),
    Reported(
        "merged_slices_share_constants",
        "inisis/OnnxSlim#277",
        "two slices of different rows are cut to the same columns, by the same constants",
        "slices are merged, and the merged constants get the same names: both take the same rows",
        "emulated",
        lambda: Net(
            lambda s, x: s.a(x[:, 1:5][:, :, :2]) + s.b(x[:, 4:8][:, :, :2]),
            a=nn.Linear(2, 3),
            b=nn.Linear(2, 3),
        ),
        {"x": "float32[batch, 9, 4] in -1..1"},
        BATCH,
        instead(lambda s, x: s.a(x[:, 1:5, :2]) + s.b(x[:, 1:5, :2])),
    ),
)
