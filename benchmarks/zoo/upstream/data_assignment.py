"""A module assigns to ``weight.data`` in ``forward``: torch.onnx.export crashes the process."""

import subprocess
import sys

import torch
from torch import Tensor, nn


class Fused(nn.Module):
    """Computes a kernel from its weights at every forward, as reparametrised networks (SPAN) do in eval."""

    def __init__(self) -> None:
        super().__init__()
        self.small, self.whole = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        self.whole.weight.data = nn.functional.pad(self.small.weight.data.clone().detach(), (1, 1, 1, 1))
        whole: Tensor = self.whole(image)
        return whole


def export(way: str) -> None:
    """Export one way, and use the module afterwards."""
    module, image = Fused().eval(), torch.rand(2, 3, 8, 8)
    try:
        if way == "onnx":
            torch.onnx.export(module, (image,), dynamo=True, verbose=False)
        else:
            torch.export.export(module, (image,), strict=way == "strict")
    except Exception as error:  # noqa: BLE001
        print(way, "raises", type(error).__name__, str(error)[:80])
    module(image)


if len(sys.argv) > 1:
    export(sys.argv[1])
else:
    for way in ("not strict", "strict", "onnx"):
        code = subprocess.run(
            [sys.executable, __file__, way], check=False, stderr=subprocess.DEVNULL
        ).returncode
        print(f"{way}: the process ends with {code}")
