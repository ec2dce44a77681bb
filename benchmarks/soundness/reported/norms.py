"""Reported faults of normalisation: statistics, epsilon, scales, and norms folded along the wrong axis."""

from typing import Any

import torch
from soundness.fault import set_attribute
from soundness.reported.fault import CAPTURED, Net, Reported, instead, surgery
from torch import Tensor, nn
from torch.nn import functional

MAPS = {"x": "float32[batch, 6, height, width] in -1..1"}
SIZES = {"batch": "1..3", "height": "5..9", "width": "5..9"}


def spread(norm: nn.Module) -> nn.Module:
    """The same norm, with statistics, weights and biases as training leaves them."""
    for name, tensor in (*norm.named_parameters(), *norm.named_buffers()):
        if tensor.is_floating_point():
            low = 0.5 if name in ("weight", "running_var") else -0.5
            nn.init.uniform_(tensor, low, low + 1)
    return norm


def instance_norm() -> Net:
    """An instance norm that keeps running statistics, so that it uses them in evaluation."""
    norm = spread(nn.InstanceNorm2d(6, affine=True, track_running_stats=True))
    return Net(lambda s, x: s.n(x), n=norm)


def over_the_batch(s: Any, x: Tensor) -> Any:
    """Convolution and batch norm in the form of training."""
    y = s.c(x)
    n = s.n
    mean, variance = y.mean((0, 2, 3), keepdim=True), y.var((0, 2, 3), keepdim=True, unbiased=False)
    normal = (y - mean) * torch.rsqrt(variance + 1e-5)
    scale, offset = n.weight[:, None, None], n.bias[:, None, None]
    return normal * scale + offset


def by_group(s: Any, x: Tensor) -> Any:
    """A group norm with the scale and the offset of each group's first channel."""
    first = (p.view(2, 3)[:, :1].expand(2, 3).flatten() for p in (s.n.weight, s.n.bias))
    return functional.group_norm(x, 2, *first)


def folded_by_input(s: Any, x: Tensor) -> Any:
    """Transposed convolution and batch norm, folded as if the weight's first axis were the outputs."""
    n, c = s.n, s.c
    factor = n.weight / torch.sqrt(n.running_var + n.eps)
    bias = (c.bias - n.running_mean) * factor + n.bias
    return functional.conv_transpose2d(x, c.weight * factor[:, None, None, None], bias, stride=2)


FAULTS = (
    Reported(
        "instance_norm_running_statistics",
        "pytorch/pytorch#53887",
        "an instance norm that tracks running statistics uses them in evaluation",
        "exported as InstanceNormalization, which takes the statistics of its input",
        "emulated",
        instance_norm,
        MAPS,
        SIZES,
        instead(lambda s, x: functional.instance_norm(x, None, None, s.n.weight, s.n.bias)),
        overrides=CAPTURED,
    ),
    Reported(
        "batch_norm_in_training_form",
        "microsoft/onnxscript#1791",
        "a batch norm in evaluation uses its running statistics",
        "captured in training form, so that it takes the statistics of the batch",
        "emulated",
        lambda: Net(lambda s, x: s.n(s.c(x)), c=nn.Conv2d(6, 8, 3), n=spread(nn.BatchNorm2d(8))),
        MAPS,
        SIZES,
        instead(over_the_batch),
    ),
    Reported(
        "group_norm_scales_groups",
        "onnx/onnx#5466",
        "a group norm has a scale and an offset for each channel",
        "GroupNormalization of opset 18 has them for each group only",
        "emulated",
        lambda: Net(lambda s, x: s.n(x), n=spread(nn.GroupNorm(2, 6))),
        MAPS,
        SIZES,
        instead(by_group),
    ),
    Reported(
        "layer_norm_preset_epsilon",
        "microsoft/onnxruntime#3768",
        "the layer norm's epsilon is 1e-5",
        "the fusion with the sum before it does not read epsilon and takes its own, 1e-12",
        "surgery",
        lambda: Net(lambda s, x, y: s.n(0.02 * (x + y)), n=spread(nn.LayerNorm(16))),
        {"x": "float32[batch, time, 16] in -1..1", "y": "float32[batch, time, 16] in -1..1"},
        {"batch": "1..3", "time": "1..6"},
        surgery(lambda editor: set_attribute(editor.node("LayerNormalization"), "epsilon", 1e-12)),
    ),
    Reported(
        "layer_norm_fused_epsilon",
        "microsoft/onnxruntime#2639",
        "BERT's layer norm has the epsilon 1e-12",
        "the fusion of its parts does not read epsilon and takes the default, 1e-5",
        "surgery",
        lambda: Net(lambda s, x: s.n(x), n=spread(nn.LayerNorm(16, eps=1e-12))),
        {"x": "float32[batch, time, 16] in -2..2"},
        {"batch": "1..3", "time": "1..6"},
        surgery(lambda editor: set_attribute(editor.node("LayerNormalization"), "epsilon", 1e-5)),
    ),
    Reported(
        "layer_norm_fused_epsilon_of_large_steps",
        "microsoft/onnxruntime#2639",
        "the epsilon 1e-12, behind steps of a large variance",
        "the fusion takes 1e-5; the difference hides in float32's error",
        "surgery",
        lambda: Net(lambda s, x: s.n(x), n=spread(nn.LayerNorm(16, eps=1e-12))),
        {"x": "float32[batch, time, 16] in -40..40"},
        {"batch": "1..3", "time": "1..6"},
        surgery(lambda editor: set_attribute(editor.node("LayerNormalization"), "epsilon", 1e-5)),
    ),
    Reported(
        "conv_transpose_norm_folded_by_input",
        "pytorch/pytorch#184076",
        "a transposed convolution's outputs are the second axis of its weight",
        "the batch norm is folded along the first axis, which fits as there are as many inputs as outputs",
        "emulated",
        lambda: Net(
            lambda s, x: s.n(s.c(x)), c=nn.ConvTranspose2d(6, 6, 3, stride=2), n=spread(nn.BatchNorm2d(6))
        ),
        MAPS,
        SIZES,
        instead(folded_by_input),
    ),
)
