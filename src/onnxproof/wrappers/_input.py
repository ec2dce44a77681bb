"""The first stage inside every picture model's graph: from what the host hands over to what the
network was trained on."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class PictureInput(nn.Module):
    """Scale, lay out and normalise a batch of pictures, in this order:

    1. uint8 becomes float; 2. ``scale``: [0, 255] is divided by 255; 3. ``channels_last``:
    [b, H, W, 3] becomes [b, 3, H, W]; 4. (x - mean) / std for each channel.

    These are the operations, and so the numbers, of ``cjm_yolox_pytorch``'s ``YOLOXInferenceWrapper``.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], *, scale: bool, channels_last: bool
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))
        self.scale = scale
        self.channels_last = channels_last

    def forward(self, pictures: Tensor) -> Tensor:
        """Float or uint8 [b, 3, H, W] or [b, H, W, 3] to float [b, 3, H, W]."""
        x = pictures if pictures.is_floating_point() else pictures.to(self.mean.dtype)
        if self.scale:
            x = x / 255.0
        if self.channels_last:
            x = x.permute(0, 3, 1, 2)
        return (x - self.mean) / self.std
