"""Functions of PyTorch that freeze a dynamic size while torch.export captures: prints what it says.

``torch.einsum`` does so if opt_einsum is installed.
"""

import torch
from torch import Tensor, nn
from torch.export import Dim


class Product(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bi,ij,jk->bk", x, torch.ones(8, 5), torch.ones(5, 6))


class Grid(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.linspace(0, 1, x.shape[0])[:, None]


for module in (Product(), Grid()):
    try:
        torch.export.export(module, (torch.rand(3, 8),), dynamic_shapes=({0: Dim("rows", min=2, max=9)},))
        print(type(module).__name__, "is captured")
    except Exception as error:  # noqa: BLE001 - whatever torch.export raises
        print(type(module).__name__, "is refused:", " ".join(str(error).split())[:160])
