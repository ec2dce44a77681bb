"""Functions that torch.export cannot follow: their stand-ins leave the sizes free."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import onnxproof
from onnxproof.export.stand_ins import followable


class Product(nn.Module):
    """A product of three matrices, the cheapest pair first."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Parameter(torch.randn(8, 5))
        self.second = nn.Parameter(torch.randn(5, 6))

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = torch.einsum("bi,ij,jk->bk", x, self.first, self.second)
        return made


class Planned(Product):
    """The same, planned in Python as opt_einsum does it."""

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = (range(size) for size in sys.modules["opt_einsum.parser"].get_shape(x))
        if len(rows) * 5 * len(columns) < 1000:
            return x @ self.first @ self.second
        return x @ (self.first @ self.second)


def exported(module: nn.Module, out: Path) -> onnxproof.Bundle:
    return onnxproof.export_module(
        module.eval(),
        inputs={"x": "float32[batch, 8] in -1..1"},
        dims={"batch": "1..3"},
        out=out / "bundle",
        set=("validate.effort=quick", "export.exporter=torch.export"),
    )


def test_the_order_of_a_product_freezes_no_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parser: Any = ModuleType("opt_einsum.parser")
    parser.get_shape = lambda tensor: tensor.shape
    monkeypatch.setitem(sys.modules, "opt_einsum.parser", parser)
    bundle = exported(Planned(), tmp_path)
    assert bundle.verdict is not None
    assert bundle.verdict.passed


def test_a_product_of_three_beside_opt_einsum(tmp_path: Path) -> None:
    pytest.importorskip("opt_einsum")
    bundle = exported(Product(), tmp_path)
    assert bundle.verdict is not None
    assert bundle.verdict.passed


def test_the_functions_are_back_afterwards() -> None:
    before = torch.linspace, torch.istft, Tensor.istft
    with pytest.raises(ZeroDivisionError), followable():
        assert torch.linspace is not before[0]
        raise ZeroDivisionError
    assert (torch.linspace, torch.istft, Tensor.istft) == before
