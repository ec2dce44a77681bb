"""Operators that fit pictures of any size to a network, in the graph, as ``runtime/preprocess`` does outside.

``export/laying.py`` writes them in ONNX. Both take how pictures are fitted as the JSON of a ``Preprocess``
whose height and width are fixed.

The pixels are not rounded to whole numbers, as the libraries round them. So no number of the graph jumps, and
a pixel is within 1.2 of 255 of the library's (tests/parity/test_in_graph.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from onnxproof.contract import Filter, Preprocess
from onnxproof.document import Entry
from onnxproof.runtime.preprocess import place
from onnxproof.system.parsed import parse_json

Size = tuple[int, int]

LARGEST = 255.0
"""The largest value of a pixel."""


@dataclass(frozen=True, slots=True)
class Interpolation:
    """How ``interpolate`` of PyTorch states a filter. ``antialias`` averages all pixels that an output pixel
    covers."""

    mode: str
    antialias: bool

    @property
    def overshoots(self) -> bool:
        """Whether results may lie outside of the range of the pixels.

        The libraries resize along rows first and then along columns, and cut off what lies outside each time.
        """
        return self.mode == "bicubic"


INTERPOLATIONS: Mapping[Filter, Interpolation] = {
    "opencv-linear": Interpolation("bilinear", antialias=False),
    "pillow-bilinear": Interpolation("bilinear", antialias=True),
    "torch-bilinear": Interpolation("bilinear", antialias=True),
    "pillow-bicubic": Interpolation("bicubic", antialias=True),
    "torch-bicubic": Interpolation("bicubic", antialias=True),
}
"""The filters that ONNX's Resize has, too."""

CROPS = ("crop", "stretch-crop")
"""The values of ``Preprocess.resize`` that cut the centre out of what they resize to."""


@lru_cache
def told(text: str) -> Preprocess:
    """The ``Preprocess`` that an operator's text states."""
    return Preprocess.read(Entry(parse_json(text), "preprocess"))


@torch.library.custom_op("onnxproof::laid", mutates_args=())
def laid(pictures: Tensor, preprocess: str) -> Tensor:
    """Float pictures [b, 3, H, W] in 0..255 at the size that ``preprocess`` fixes, with their padding."""
    spec = told(preprocess)
    placed, way = place(_size(pictures), spec), INTERPOLATIONS[spec.filter]
    (width, height), (target_width, target_height) = placed.resized, placed.target
    resized = pictures
    for size in ((pictures.shape[2], width), (height, width)) if way.overshoots else ((height, width),):
        resized = functional.interpolate(
            resized, size=size, mode=way.mode, align_corners=False, antialias=way.antialias
        )
        if way.overshoots:
            resized = resized.clamp(0, LARGEST)
    left, top = placed.left, placed.top
    edges = (left, target_width - width - left, top, target_height - height - top)
    if len(set(spec.padding)) == 1:
        return functional.pad(resized, edges, value=float(spec.padding[0])).clone()
    color = torch.tensor(spec.padding, dtype=pictures.dtype).view(1, 3, 1, 1)
    padded: Tensor = functional.pad(resized - color, edges) + color
    return padded


@laid.register_fake
def _(pictures: Tensor, preprocess: str) -> Tensor:
    spec = told(preprocess)
    return pictures.new_empty(pictures.shape[0], pictures.shape[1], spec.height.min, spec.width.min)


@torch.library.custom_op("onnxproof::placement", mutates_args=())
def placement(pictures: Tensor, preprocess: str) -> Tensor:
    """Where ``laid`` lays pictures [b, 3, H, W], [4]: scale and offset, both first of x and then of y.

    A place in what the network sees is the place in the picture times the scale, plus the offset.
    """
    placed = place(_size(pictures), told(preprocess))
    numbers = [placed.scale_x, placed.scale_y, placed.left, placed.top]
    return torch.tensor(numbers, dtype=pictures.dtype)


@placement.register_fake
def _(pictures: Tensor, preprocess: str) -> Tensor:
    del preprocess
    return pictures.new_empty(4)


def _size(pictures: Tensor) -> Size:
    height, width = pictures.shape[2:]
    return width, height
