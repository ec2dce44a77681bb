"""Small networks of kornia: local features, edges, and geometry as layers."""

import torch
from torch import Tensor, nn

from architectures.architecture import BATCH, Architecture, by, made

LIBRARY = "kornia"
PATCH = {"patch": "float32[batch, 1, 32, 32] in -2..2"}
PATCHES = {"batch": "2..5"}
"""The descriptors squeeze a batch of one away."""

GREY = {"image": "float32[batch, 1, height, width] in 0..1"}
COLOUR = {"image": "float32[batch, 3, height, width] in 0..1"}
FREE = {"batch": "1..3", "height": "32..64 step 16", "width": "32..64 step 16"}


class Blurred(nn.Module):
    """A picture's colours, blurred, and its edges: what kornia puts before a network."""

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures [b, 3, h, w] to blurred Lab colours and to edges [b, 1, h, w]."""
        lab = made("kornia.color:rgb_to_lab", image)
        blurred = made("kornia.filters:gaussian_blur2d", lab, (5, 5), (1.5, 1.5))
        return blurred, made("kornia.filters:sobel", made("kornia.color:rgb_to_grayscale", image))


class Turned(nn.Module):
    """Pictures warped by homographies."""

    def forward(self, image: Tensor, tilt: Tensor) -> Tensor:
        """Pictures [b, 3, h, w] and tilts [b, 3, 3] to pictures of the same size."""
        there = torch.eye(3) + 0.05 * tilt
        warped: Tensor = made("kornia.geometry.transform:warp_perspective", image, there, image.shape[-2:])
        return warped


ARCHITECTURES: tuple[Architecture, ...] = (
    Architecture("hardnet", LIBRARY, by("kornia.feature:HardNet", pretrained=False), PATCH, PATCHES),
    Architecture("sosnet", LIBRARY, by("kornia.feature:SOSNet", pretrained=False), PATCH, PATCHES),
    Architecture("tfeat", LIBRARY, by("kornia.feature:TFeat", pretrained=False), PATCH, PATCHES),
    Architecture("keynet", LIBRARY, by("kornia.feature:KeyNet", pretrained=False), GREY, FREE),
    Architecture("kornia-blur", LIBRARY, Blurred, COLOUR, FREE),
    Architecture(
        "kornia-warp",
        LIBRARY,
        Turned,
        {"image": "float32[batch, 3, 24, 32] in 0..1", "tilt": "float32[batch, 3, 3] in -1..1"},
        BATCH,
    ),
)
