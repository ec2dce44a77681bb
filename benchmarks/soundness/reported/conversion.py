"""Reported faults of conversions between frameworks: input, layout and weights."""

from typing import Any

import numpy as np
import torch
from soundness.fault import Array, Editor, NothingPlantedError
from soundness.reported.fault import Net, Reported, instead, surgery
from torch import Tensor, nn
from torch.nn import functional

PICTURE = {"x": "float32[batch, 3, height, width] in 0..1"}
SIZES = {"batch": "1..3", "height": "6..9", "width": "6..9"}
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)


def normalised() -> Net:
    """A convolution behind ImageNet's normalisation."""
    mean, deviation = (nn.Parameter(torch.tensor(v).view(3, 1, 1)) for v in (MEAN, DEVIATION))
    return Net(
        lambda s, x: s.c((x - s.mean) / s.deviation), c=nn.Conv2d(3, 4, 3), mean=mean, deviation=deviation
    )


def reshaped(s: Any, x: Tensor) -> Any:
    """Pixels side by side, reshaped into planes where a transposition is due."""
    b, c, h, w = x.shape
    return s.c(x.permute(0, 2, 3, 1).reshape(b, c, h, w))


def by_output() -> Net:
    """A transposed convolution with a weight of 8 bits and a step for each output."""
    levels = torch.randint(-127, 128, (4, 4, 3, 3)).float()
    return Net(
        lambda s, x: functional.conv_transpose2d(x, s.levels * s.steps[:, None, None], stride=2),
        levels=nn.Parameter(levels),
        steps=nn.Parameter(torch.rand(4) * 0.01 + 0.001),
    )


def round_weights(editor: Editor) -> None:
    """Round every float weight to three decimals."""
    names = [tensor.name for tensor in editor.graph.initializer if len(tensor.dims) > 1]
    if not names:
        raise NothingPlantedError("the graph has no weights")
    for name in names:
        editor.rewrite(name, to_three_decimals)


def to_three_decimals(values: Array) -> Array:
    """The nearest thousandth."""
    return np.round(values, 3)


FAULTS = (
    Reported(
        "channels_reversed",
        "arXiv:2312.15101",
        "red, green, blue",
        "the converted model reads the picture as blue, green, red",
        "emulated",
        normalised,
        PICTURE,
        SIZES,
        instead(lambda s, x: s.c((x.flip(1) - s.mean) / s.deviation)),
    ),
    Reported(
        "preprocessing_of_another_model",
        "arXiv:2312.15101",
        "ImageNet's mean and deviation",
        "the converted model takes 0.5 and 0.5",
        "emulated",
        normalised,
        PICTURE,
        SIZES,
        instead(lambda s, x: s.c((x - 0.5) / 0.5)),
    ),
    Reported(
        "weights_lose_digits",
        "arXiv:2306.06157",
        "the weights are those of the checkpoint",
        "the converter loses digits of them",
        "surgery",
        lambda: Net(lambda s, x: s.d(functional.relu(s.c(x))), c=nn.Conv2d(3, 8, 3), d=nn.Conv2d(8, 4, 1)),
        PICTURE,
        SIZES,
        surgery(round_weights),
    ),
    Reported(
        "layout_reshaped",
        "onnx/tensorflow-onnx#993",
        "pixels side by side become planes by a transposition",
        "by a reshape, the numbers stay in their order",
        "emulated",
        lambda: Net(lambda s, x: s.c(x), c=nn.Conv2d(3, 4, 3)),
        PICTURE,
        SIZES,
        instead(reshaped),
    ),
    Reported(
        "conv_transpose_steps_by_input",
        "onnx/tensorflow-onnx#2134",
        "a transposed convolution's outputs are the second axis of its weight",
        "the quantisation steps are laid along the first axis, which has the same size",
        "emulated",
        by_output,
        {"x": "float32[batch, 4, height, width] in -1..1"},
        SIZES,
        instead(
            lambda s, x: functional.conv_transpose2d(x, s.levels * s.steps[:, None, None, None], stride=2)
        ),
    ),
)
