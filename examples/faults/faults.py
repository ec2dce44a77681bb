"""Modules with faults that people meet when they export; docs/troubleshooting.md exports them."""

import torch
from torch import Tensor, nn
from torch.nn import functional

CLASSES = 4


class SizeInPython(nn.Module):
    """Means over a map whose size is read with ``int``: TorchScript keeps the numbers of the capture."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 8, 3, padding=1)
        self.classes = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Pictures float32 [batch, 3, height, width] to logits [batch, 4]."""
        features = self.features(x)
        window = int(features.shape[2]), int(features.shape[3])
        logits: Tensor = self.classes(functional.avg_pool2d(features, window).flatten(1))
        return logits


class RowByRow(nn.Module):
    """Fills its answer row by row: TorchScript unrolls the loop for the rows of the capture."""

    def __init__(self) -> None:
        super().__init__()
        self.one = SizeInTensors()

    def forward(self, x: Tensor) -> Tensor:
        """Pictures float32 [batch, 3, height, width] to logits [batch, 4]."""
        logits = torch.zeros(len(x), CLASSES)
        for row in range(len(x)):
            logits[row] = self.one(x[row : row + 1])[0]
        return logits


class SizeInTensors(nn.Module):
    """The first network as it should be."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 8, 3, padding=1)
        self.classes = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Pictures float32 [batch, 3, height, width] to logits [batch, 4]."""
        logits: Tensor = self.classes(self.features(x).mean(dim=(2, 3)))
        return logits


class Overflow(SizeInTensors):
    """Sums where the other means: more than float16 holds."""

    def forward(self, x: Tensor) -> Tensor:
        """Pictures float16 [batch, 3, height, width] to logits [batch, 4]."""
        energy = (100 * self.features(x)).square().sum(dim=(2, 3))
        logits: Tensor = self.classes(energy / energy.sum(dim=1, keepdim=True))
        return logits


@torch.library.custom_op("faults::gated", mutates_args=())
def gated(x: Tensor) -> Tensor:
    """Stands for a kernel that only PyTorch knows."""
    return x * torch.sigmoid(x)


@gated.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


class CustomOperator(SizeInTensors):
    """Calls an operator that no exporter knows."""

    def forward(self, x: Tensor) -> Tensor:
        """Pictures float32 [batch, 3, height, width] to logits [batch, 4]."""
        logits: Tensor = self.classes(gated(self.features(x)).mean(dim=(2, 3)))
        return logits


def seeded(network: type[nn.Module]) -> nn.Module:
    """A network with weights of a fixed seed."""
    torch.manual_seed(0)
    return network().eval()


def size_in_python() -> nn.Module:
    return seeded(SizeInPython)


def row_by_row() -> nn.Module:
    return seeded(RowByRow)


def size_in_tensors() -> nn.Module:
    return seeded(SizeInTensors)


def overflow() -> nn.Module:
    return seeded(Overflow).half()


def custom_operator() -> nn.Module:
    return seeded(CustomOperator)
