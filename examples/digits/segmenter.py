"""A small network that marks in a picture the digits that a vector asks for.

A U-shaped network (Ronneberger et al., 2015) in which the vector scales and shifts the channels on the way
up (feature-wise linear modulation, Perez et al., 2018).
"""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional

DIGITS = 10
CLASSES = ("background", "asked for", "other digit")
STEP = 16
"""Height and width are multiples of this, in pixels."""

FOLD = 2
"""Side of the squares of pixels that become channels before the first layer, and pixels behind the last."""


class Block(nn.Module):
    """Two convolutions of 3 x 3 with batch normalisation; where `queried`, the query plays in."""

    def __init__(self, inputs: int, channels: int, queried: bool = False) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, channels, 3, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(channels)
        self.modulation = nn.Linear(DIGITS, 2 * channels) if queried else None

    def forward(self, features: Tensor, query: Tensor) -> Tensor:
        """Features [batch, inputs, h, w] and query [batch, 10] to [batch, channels, h, w]."""
        features = torch.relu(self.first_norm(self.first(features)))
        if self.modulation is not None:
            scale, shift = self.modulation(2 * query - 1)[:, :, None, None].chunk(2, dim=1)
            features = torch.relu(features * (1 + scale) + shift)
        return torch.relu(self.second_norm(self.second(features)))


class Segmenter(nn.Module):
    """Logits of three classes for every pixel; `widths` are the channels at 1/2, 1/4, 1/8 and 1/16."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.widths = widths
        inputs = (3 * FOLD**2, *widths[:-1])
        self.down = nn.ModuleList(Block(a, b) for a, b in zip(inputs, widths, strict=True))
        deeper = tuple(reversed(widths))
        self.up = nn.ModuleList(Block(a + b, b, queried=True) for a, b in itertools.pairwise(deeper))
        self.head = nn.Conv2d(widths[0], len(CLASSES) * FOLD**2, 1)

    def forward(self, image: Tensor, query: Tensor) -> dict[str, Tensor]:
        """RGB pictures [batch, 3, height, width] in 0..1, height and width multiples of 16, and the digits
        asked for, [batch, 10] of 0 and 1, to `logits` [batch, 3, height, width]."""
        return {"logits": self.decode(self.encode(image, query), query)}

    def encode(self, image: Tensor, query: Tensor) -> list[Tensor]:
        """The features at 1/2, 1/4, 1/8 and 1/16 of the picture's size; the query plays no part yet."""
        features = functional.pixel_unshuffle(2 * image - 1, FOLD)
        levels: list[Tensor] = []
        for block in self.down:
            features = block(functional.max_pool2d(features, 2) if levels else features, query)
            levels.append(features)
        return levels

    def decode(self, levels: list[Tensor], query: Tensor) -> Tensor:
        """The logits [batch, 3, height, width] from the features that `encode` found."""
        features = levels[-1]
        for block, finer in zip(self.up, reversed(levels[:-1]), strict=True):
            larger = functional.interpolate(features, scale_factor=2.0, mode="nearest")
            features = block(torch.cat((larger, finer), dim=1), query)
        return functional.pixel_shuffle(self.head(features), FOLD)


def build(widths: tuple[int, ...] = (16, 32, 64, 96)) -> Segmenter:
    """The network of the checkpoint in `segmenter/`, untrained."""
    return Segmenter(tuple(widths))
