"""YOLOX as Megvii saved it: its tensors' names in those of cjm_yolox_pytorch, and what the shapes say.

Sources of the names and numbers: yolox/models and exps/default in github.com/Megvii-BaseDetection/YOLOX.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

STEM = "backbone.backbone.stem.conv.conv.weight"
"""A tensor that only Megvii's layout has. Its first axis is the width of the network."""

CLASSES = "head.cls_preds.0.weight"
DEPTHWISE = "backbone.backbone.dark2.0.dconv.conv.weight"
BLOCKS = re.compile(r"backbone\.backbone\.dark2\.1\.m\.(\d+)\.conv1\.conv\.weight")

CHANNELS = 64
"""The stem's width in the network of width 1."""

VARIANTS: Mapping[tuple[int, int, bool], str] = {
    (16, 1, True): "nano",
    (24, 1, False): "tiny",
    (32, 1, False): "s",
    (48, 2, False): "m",
    (64, 3, False): "l",
    (80, 4, False): "x",
}
"""By the stem's width, the number of blocks in the first stage, and whether convolutions are depthwise."""

SIZES: Mapping[str, int] = {"nano": 416, "tiny": 416}
"""The side of the pictures that a variant was trained on, px, where it is not USUAL_SIZE."""

USUAL_SIZE = 640

FIT: Mapping[str, Any] = {
    "resize": "letterbox",
    "filter": "opencv-linear",
    "channels": "bgr",
    "rounding": "down",
    "place": "top-left",
    "pad_to": "size",
    "way_back": "ratio",
}
"""How Megvii's code fits pictures (yolox/data/data_augment.py, preproc): the keys of ``Preprocess``."""

_LAYER = {"conv1": "main_conv", "conv2": "short_conv", "conv3": "final_conv", "m": "blocks"}
"""The parts of a CSP layer."""

_PARTS: tuple[tuple[str, str], ...] = (
    (r"backbone\.backbone\.stem\.", "backbone.stem."),
    (r"backbone\.backbone\.dark(\d)\.", "backbone.stage{}."),
    (r"backbone\.lateral_conv0\.", "neck.reduce_layers.0."),
    (r"backbone\.reduce_conv1\.", "neck.reduce_layers.1."),
    (r"backbone\.C3_p4\.", "neck.top_down_blocks.0."),
    (r"backbone\.C3_p3\.", "neck.top_down_blocks.1."),
    (r"backbone\.bu_conv2\.", "neck.downsamples.0."),
    (r"backbone\.bu_conv1\.", "neck.downsamples.1."),
    (r"backbone\.C3_n3\.", "neck.bottom_up_blocks.0."),
    (r"backbone\.C3_n4\.", "neck.bottom_up_blocks.1."),
    (r"head\.stems\.", "neck.out_convs."),
    (r"head\.(cls|reg)_convs\.", "bbox_head.multi_level_{}_convs."),
    (r"head\.(cls|reg|obj)_preds\.", "bbox_head.multi_level_conv_{}."),
)
_CSP_LAYER = re.compile(
    r"(backbone\.stage[123]\.1|backbone\.stage4\.2|neck\.(?:top_down|bottom_up)_blocks\.\d)\.(conv[123]|m)\."
)


@dataclass(frozen=True, slots=True)
class Megvii:
    """What Megvii's checkpoint is: the variant (None for an unknown one), and the number of its classes."""

    variant: str | None
    classes: int
    depthwise: bool

    @property
    def size(self) -> int:
        """The side of the pictures that it was trained on, px."""
        return SIZES.get(self.variant or "", USUAL_SIZE)


def recognised(state: Mapping[str, Tensor]) -> Megvii | None:
    """What a checkpoint is by its names and shapes. Returns None if it is not in Megvii's layout."""
    if STEM not in state or CLASSES not in state:
        return None
    depth = len({found[1] for found in map(BLOCKS.fullmatch, state) if found})
    depthwise = DEPTHWISE in state
    variant = VARIANTS.get((int(state[STEM].shape[0]), depth, depthwise))
    return Megvii(variant, int(state[CLASSES].shape[0]), depthwise)


def renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors by the names of cjm_yolox_pytorch. Other names stay as they are.

    Both stems take each second pixel of a picture as one of four pictures, but stack these in another order.
    So the channels of the stem's weight are put into the order of cjm_yolox_pytorch.
    """
    made = {_renamed(name): tensor for name, tensor in state.items()}
    if STEM in state:
        top_left, bottom_left, top_right, bottom_right = state[STEM].chunk(4, dim=1)
        made[_renamed(STEM)] = torch.cat((top_left, top_right, bottom_left, bottom_right), dim=1)
    return made


def _renamed(name: str) -> str:
    for pattern, target in _PARTS:
        found = re.match(pattern, name)
        if found:
            groups = [str(int(part) - 1) if part.isdigit() else part for part in found.groups()]
            name = target.format(*groups) + name[found.end() :]
            break
    return _CSP_LAYER.sub(lambda found: f"{found[1]}.{_LAYER[found[2]]}.", name)


class Depthwise(nn.Module):
    """A convolution of each channel by itself, and one of 1 x 1 that mixes them, in place of one of 3 x 3."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        conv, norm, kind = block.conv, block.bn, type(block)
        plain = {"bias": False, "eps": norm.eps, "momentum": norm.momentum}
        self.dconv = kind(
            conv.in_channels, conv.in_channels, conv.kernel_size[0], conv.stride[0], conv.padding[0], **plain
        )
        self.dconv.conv = nn.Conv2d(
            conv.in_channels,
            conv.in_channels,
            conv.kernel_size,
            conv.stride,
            conv.padding,
            groups=conv.in_channels,
            bias=False,
        )
        self.pconv = kind(conv.in_channels, conv.out_channels, 1, **plain)

    def forward(self, x: Tensor) -> Tensor:
        """The features, one map for each output channel."""
        mixed: Tensor = self.pconv(self.dconv(x))
        return mixed


def make_depthwise(network: nn.Module, block: type[nn.Module]) -> nn.Module:
    """Replace the ``block``s of 3 x 3 in a network, except the stem's, as Megvii's nano has them."""
    for name, part in list(network.named_modules()):
        if isinstance(part, block) and part.conv.kernel_size == (3, 3) and ".stem." not in f".{name}.":  # type: ignore[union-attr]
            parent, _, last = name.rpartition(".")
            setattr(network.get_submodule(parent), last, Depthwise(part))
    return network
