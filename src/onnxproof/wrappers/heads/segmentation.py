"""From class logits to masks inside the graph."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from onnxproof.wrappers.family import Outputs


class MaskInference(nn.Module):
    """A module that returns, among others, logits [b, C, H, W], with arg-max and softmax behind it."""

    def __init__(self, module: nn.Module, position: int) -> None:
        super().__init__()
        self.module = module
        self.position = position

    def forward(self, *inputs: Tensor) -> Outputs:
        """Masks int64 [b, H, W] and the probabilities of their classes [b, H, W]."""
        confidence, mask = torch.max(self._probabilities(inputs), dim=1)
        return mask, confidence

    def forward_with_margins(self, *inputs: Tensor) -> tuple[Outputs, Mapping[str, Tensor]]:
        """As ``forward``, and each pixel's lead over the next class."""
        probabilities = self._probabilities(inputs)
        confidence, mask = torch.max(probabilities, dim=1)
        if probabilities.shape[1] == 1:
            return (mask, confidence), {"mask": torch.full_like(confidence, torch.inf)}
        second = torch.topk(probabilities, 2, dim=1).values[:, 1]
        return (mask, confidence), {"mask": confidence - second}

    def _probabilities(self, inputs: Outputs) -> Tensor:
        logits: Tensor = self.module(*inputs)[self.position]
        return torch.softmax(logits, dim=1)
