"""From a module's class logits to what the tasks of whole inputs take: one tensor of scores."""

import torch
from torch import Tensor, nn


class ClassScores(nn.Module):
    """A module that returns, among others, logits [b, C]: these alone, or the softmax ("classification")
    or sigmoid ("multilabel") of them."""

    def __init__(self, module: nn.Module, position: int, task: str, decode: str) -> None:
        super().__init__()
        self.module = module
        self.position = position
        self.task = task
        self.decode = decode

    def forward(self, *inputs: Tensor) -> Tensor:
        """Logits or probabilities, float [b, C]."""
        logits: Tensor = self.module(*inputs)[self.position]
        if self.decode == "none":
            return logits
        return torch.softmax(logits, dim=1) if self.task == "classification" else torch.sigmoid(logits)
