"""Operators that TorchScript's exporter writes for some sizes or not at all: each file is exact."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import onnxproof

INPUTS = {"x": "float32[batch, time, 6] in -1..1"}
DIMS = {"batch": "1..3", "time": "5..12"}

SLOW = pytest.mark.slow
Function = Callable[[Tensor], Tensor]


class Module(nn.Module):
    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(lambda x: x.diff(), id="diff"),
        pytest.param(lambda x: x.diff(n=2, dim=1), id="diff-twice", marks=SLOW),
        pytest.param(lambda x: x.diff(dim=1, prepend=x[:, :1] / 2, append=x[:, :2] * 3), id="diff-of-joined"),
        pytest.param(lambda x: (x > 0).diff(dim=1, prepend=x[:, :1] > 0.5), id="diff-of-booleans"),
        pytest.param(lambda x: (x * 9).long().diff(dim=1), id="diff-of-integers", marks=SLOW),
        pytest.param(lambda x: (x > 0).cumsum(1) + (x * 9).int().cumsum(-1), id="sums-of-booleans"),
        pytest.param(
            lambda x: x.cumsum(1) + (x > 0).cumsum(2, dtype=torch.float32), id="sums-in-floats", marks=SLOW
        ),
        pytest.param(lambda x: (x / 1e5).log1p() + (x / 1e6).expm1(), id="near-0", marks=SLOW),
        pytest.param(lambda x: (x * 2 > 0).long().log1p() + x.expm1(), id="of-integers", marks=SLOW),
        pytest.param(lambda x: nn.functional.logsigmoid(x * 200), id="logarithm-of-a-sigmoid"),
        pytest.param(lambda x: x.unfold(1, 4, 2), id="windows"),
        pytest.param(lambda x: x.unfold(-1, 3, 1), id="windows-along-the-last-axis", marks=SLOW),
    ],
)
def test_what_torchscript_does_not_write_states_the_function(function: Function, tmp_path: Path) -> None:
    bundle = onnxproof.export_module(
        Module(function).eval(),
        inputs=INPUTS,
        dims=DIMS,
        out=tmp_path / "bundle",
        set=("validate.effort=quick", "validate.threads=1", "export.exporter=torchscript"),
    )
    assert bundle.verdict is not None
    assert bundle.verdict.passed, [check for check in bundle.verdict.checks if check.status != "pass"]
    assert {"function", "flips"} & {check.name for check in bundle.verdict.checks}
