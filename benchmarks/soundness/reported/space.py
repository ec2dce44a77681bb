"""Reported faults of pictures: resizing, pooling, pixels and regions of interest."""

from typing import Any

import torch
from soundness.fault import set_attribute
from soundness.reported.fault import CAPTURED, TRACED, Net, Reported, exported, instead, surgery
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import roi_align

PICTURE = {"x": "float32[batch, 3, height, width] in -1..1"}
EVEN = {"batch": "1..3", "height": "6..12 step 2", "width": "6..12 step 2"}
ANY = {"batch": "1..3", "height": "5..9", "width": "5..9"}
REGIONS = {
    "x": "float32[1, 3, 12, 12] in -1..1",
    "corners": "float32[count, 2] in 1..8",
    "sizes": "float32[count, 2] in 0.3..4",
}
COUNT = {"count": "1..6"}
SCALE = 0.5
"""Of a feature map to its picture."""


def behind_conv(run: Any) -> Net:
    """A forward with a convolution at hand."""
    return Net(run, c=nn.Conv2d(3, 4, 1))


def gathered(s: Any, x: Tensor) -> Any:
    """26 x 26 to 64 x 64 by whole numbers: output pixel i is input pixel i * 26 // 64."""
    index = (torch.arange(64) * 26) // 64
    return s.c(x)[:, :, index][:, :, :, index]


def aligned(s: Any, x: Tensor, corners: Tensor, sizes: Tensor) -> Any:
    """Regions of a feature map, pixels taken at their centres."""
    return roi_align(s.c(x), regions(corners, sizes), 3, SCALE, sampling_ratio=2, aligned=True)


def shifted(s: Any, x: Tensor, corners: Tensor, sizes: Tensor) -> Any:
    """The same, from regions that are half a pixel further up and left, pixels taken at their corners."""
    rois = regions(corners, sizes) - torch.tensor([0, 1, 1, 1, 1]) * (0.5 / SCALE)
    return roi_align(s.c(x), rois, 3, SCALE, sampling_ratio=2, aligned=False)


def regions(corners: Tensor, sizes: Tensor) -> Tensor:
    """Boxes with the number of their picture: [count, 5]."""
    return torch.cat((torch.zeros_like(corners[:, :1]), corners, corners + sizes), 1)


def depth_first(s: Any, x: Tensor) -> Any:
    """2 x 2 pixels into channels, in the order of ONNX's SpaceToDepth: block row, block column, channel."""
    b, c, h, w = x.shape
    blocks = x.view(b, c, h // 2, 2, w // 2, 2).permute(0, 3, 5, 1, 2, 4)
    return s.d(blocks.reshape(b, 4 * c, h // 2, w // 2))


def padded(_: Any, x: Tensor) -> Tensor:
    """Zeros around a picture, then the largest of 3 x 3."""
    return functional.max_pool2d(functional.pad(x, (1, 1, 1, 1)), 3, 2)


FAULTS = (
    Reported(
        "resize_to_one_pixel",
        "pytorch/pytorch#183523",
        "bilinear resizing to one pixel takes the middle",
        "exported with pytorch_half_pixel, which takes the first pixel where one is wanted",
        "surgery",
        lambda: behind_conv(lambda s, x: functional.interpolate(s.c(x), (1, 1), mode="bilinear")),
        PICTURE,
        ANY,
        surgery(
            lambda editor: set_attribute(
                editor.node("Resize"), "coordinate_transformation_mode", "pytorch_half_pixel"
            )
        ),
    ),
    Reported(
        "nearest_pixels_of_26",
        "microsoft/onnxruntime#28310",
        "nearest resizing from 26 to 64 takes input pixel i * 26 // 64",
        "ONNX Runtime rounds 64 / 26 first, and takes other pixels",
        "runtime",
        lambda: behind_conv(lambda s, x: functional.interpolate(s.c(x), (64, 64), mode="nearest")),
        {"x": "float32[batch, 3, 26, 26] in -1..1"},
        {"batch": "1..3"},
        exported(),
        healthy=gathered,
    ),
    Reported(
        "nearest_half_pixel",
        "onnx/onnx#3816",
        "PyTorch's nearest is asymmetric and rounds down",
        "written with half_pixel and floor, it takes the pixel before",
        "surgery",
        lambda: behind_conv(lambda s, x: functional.interpolate(s.c(x), scale_factor=2, mode="nearest")),
        PICTURE,
        ANY,
        surgery(
            lambda editor: set_attribute(
                editor.node("Resize"), "coordinate_transformation_mode", "half_pixel"
            )
        ),
    ),
    Reported(
        "bilinear_asymmetric",
        "NVIDIA/TensorRT#273",
        "align_corners=False takes pixels at their centres",
        "the resize layer's default takes them at their corners",
        "surgery",
        lambda: behind_conv(lambda s, x: functional.interpolate(s.c(x), scale_factor=2, mode="bilinear")),
        PICTURE,
        ANY,
        surgery(
            lambda editor: set_attribute(
                editor.node("Resize"), "coordinate_transformation_mode", "asymmetric"
            )
        ),
    ),
    Reported(
        "bilinear_scale_recomputed",
        "Tencent/ncnn#6836",
        "resizing by the factor 1.5 samples every 1 / 1.5 pixels",
        "it samples every (input size / rounded output size) pixels",
        "emulated",
        lambda: behind_conv(lambda s, x: functional.interpolate(s.c(x), scale_factor=1.5, mode="bilinear")),
        PICTURE,
        ANY,
        instead(
            lambda s, x: functional.interpolate(
                s.c(x), scale_factor=1.5, mode="bilinear", recompute_scale_factor=True
            )
        ),
    ),
    Reported(
        "average_pool_ceil_divisor",
        "pytorch/pytorch#183528",
        "a window that hangs over the padded border is divided by what lies within it",
        "ONNX Runtime divides it by the whole kernel (opset 7 to 18)",
        "emulated",
        lambda: behind_conv(lambda s, x: functional.avg_pool2d(s.c(x), 3, 2, 1, ceil_mode=True)),
        PICTURE,
        EVEN,
        instead(lambda s, x: functional.avg_pool2d(functional.pad(s.c(x), (1, 2, 1, 2)), 3, 2)),
    ),
    Reported(
        "max_pool_same_padding",
        "onnx/onnx#388",
        "a padding of 1 on every side",
        "read as TensorFlow's SAME, which pads even sizes at their ends only",
        "surgery",
        lambda: behind_conv(lambda s, x: functional.max_pool2d(s.c(x), 3, 2, 1)),
        PICTURE,
        EVEN,
        surgery(lambda editor: set_attribute(editor.node("MaxPool"), "pads", [0, 0, 1, 1])),
    ),
    Reported(
        "max_pool_swallows_padding",
        "onnx/optimizer#269",
        "zeros around a picture count in the largest of a window",
        "Pad is fused into MaxPool, whose padding never counts; ONNX Runtime's pad fusion does the same",
        "runtime",
        lambda: Net(padded),
        {"x": "float32[batch, 3, height, width] in -2..-1"},
        ANY,
        exported(*CAPTURED),
        overrides=TRACED,
    ),
    Reported(
        "roi_align_corners",
        "microsoft/onnxruntime#6921",
        "aligned=True takes pixels at their centres",
        "the kernel takes them at their corners, half a pixel away",
        "surgery",
        lambda: behind_conv(aligned),
        REGIONS,
        COUNT,
        surgery(
            lambda editor: set_attribute(
                editor.node("RoiAlign"), "coordinate_transformation_mode", "output_half_pixel"
            )
        ),
    ),
    Reported(
        "roi_align_shifted",
        "pytorch/vision#4692",
        "aligned=True takes regions smaller than a pixel as they are",
        "exported by moving the regions half a pixel, and then each counts as a pixel at least",
        "emulated",
        lambda: behind_conv(aligned),
        REGIONS,
        COUNT,
        instead(shifted),
    ),
    Reported(
        "pixel_unshuffle_order",
        "microsoft/onnxscript#2891",
        "PixelUnshuffle keeps a channel's pixels together",
        "exported as SpaceToDepth, which puts the pixels first and the channels last",
        "emulated",
        lambda: Net(lambda s, x: s.d(functional.pixel_unshuffle(x, 2)), d=nn.Conv2d(12, 4, 1)),
        PICTURE,
        EVEN,
        instead(depth_first),
    ),
    Reported(
        "pixel_shuffle_order",
        "onnx/onnx#1957",
        "PixelShuffle reads channel, row, column: DepthToSpace in mode CRD",
        "written without a mode, which is DCR",
        "surgery",
        lambda: Net(
            lambda s, x: s.e(functional.pixel_shuffle(s.d(x), 2)), d=nn.Conv2d(3, 12, 1), e=nn.Conv2d(3, 2, 1)
        ),
        PICTURE,
        ANY,
        surgery(lambda editor: set_attribute(editor.node("DepthToSpace"), "mode", "DCR")),
    ),
)
