"""Weights that a module computes anew at each call: rounding them is no fault, changing them is one."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everyone calls it

import onnxproof
from onnxproof.validate.exact.record import known_of_module
from onnxproof.validate.verdict import Verdict
from onnxproof.wrappers.double import weights
from onnxproof.wrappers.double.float64 import Float64

INPUTS = {"x": "float32[batch, 4, height, width] in -1..1"}
DIMS = {"batch": "1..2", "height": "8..16", "width": "8..16"}
QUICK = ("validate.effort=quick", "validate.threads=1")


class Merged(nn.Module):
    """Two layers that a call merges into the kernel of a third, as super-resolution networks do."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.wide, self.narrow = nn.Conv2d(4, 16, 3, bias=False), nn.Conv2d(16, 4, 1, bias=False)
        self.merged = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.merged.requires_grad_(requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        wide, narrow = self.wide.weight.detach(), self.narrow.weight.detach()
        self.merged.weight.data = F.conv2d(wide.permute(1, 0, 2, 3), narrow).permute(1, 0, 2, 3).contiguous()
        merged: Tensor = self.merged(x)
        return merged.relu()


class Written(Merged):
    """The same, written into the kernel in place."""

    def forward(self, x: Tensor) -> Tensor:
        wide, narrow = self.wide.weight, self.narrow.weight
        with torch.no_grad():
            self.merged.weight.copy_(F.conv2d(wide.permute(1, 0, 2, 3), narrow).permute(1, 0, 2, 3))
        merged: Tensor = self.merged(x)
        return merged.relu()


class Deep(nn.Module):
    """Many of them in a row, behind a buffer that the first call casts and replaces."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = torch.rand(1, 4, 1, 1)
        self.layers = nn.Sequential(*(Merged(seed) for seed in range(6)))

    def forward(self, x: Tensor) -> Tensor:
        self.mean = self.mean.type_as(x)
        return self.layers(x - self.mean)  # type: ignore[no-any-return]


def exported(module: nn.Module, out: Path) -> onnxproof.Bundle:
    return onnxproof.export_module(
        module.eval(),
        inputs=INPUTS,
        dims=DIMS,
        out=out / "bundle",
        set=(*QUICK, "export.exporter=torchscript"),
    )


def judged(module: nn.Module, bundle: onnxproof.Bundle, file: Path) -> Verdict:
    document = {
        "name": "merged",
        "model": {"family": "module", "task": "raw"},
        "inputs": INPUTS,
        "dims": DIMS,
        "validate": {"effort": "quick", "threads": 1},
        "export": {"opset": bundle.manifest.opset},
    }
    job = onnxproof.Job.from_document(document, folder=file.parent, source="merged")
    return onnxproof.validate(job, model=module, onnx=file)


def with_kernel(bundle: onnxproof.Bundle, kernel: NDArray[np.float32], out: Path) -> Path:
    proto = onnx.load(bundle.path / "model.onnx")
    (stored,) = (one for one in proto.graph.initializer if len(one.dims) == 4)
    stored.CopyFrom(numpy_helper.from_array(kernel, stored.name))
    onnx.save(proto, out / "changed.onnx")
    return out / "changed.onnx"


def kernel_of(bundle: onnxproof.Bundle) -> NDArray[np.float32]:
    (stored,) = (one for one in onnx.load(bundle.path / "model.onnx").graph.initializer if len(one.dims) == 4)
    return np.array(numpy_helper.to_array(stored))


def test_a_weight_that_a_call_computes_is_proven(tmp_path: Path) -> None:
    bundle = exported(Merged(), tmp_path)
    assert bundle.verdict is not None
    assert bundle.verdict.passed, [check for check in bundle.verdict.checks if check.status != "pass"]
    found = [one for one in bundle.verdict.checks if one.name == "function" and one.field == "output"]
    assert found
    for check in found:
        assert check.value is not None
        assert check.value < 1e-3  # of PyTorch's float32 error: the constant's rounding is taken out


@pytest.mark.parametrize("share", [pytest.param(1e-5, marks=pytest.mark.slow), 1e-6])
def test_a_change_to_such_a_weight_fails(share: float, tmp_path: Path) -> None:
    module = Merged()
    bundle = exported(module, tmp_path)
    kernel = kernel_of(bundle)
    kernel[1, 2, 0, 1] += np.float32(np.abs(kernel).max() * share * 4)
    verdict = judged(module, bundle, with_kernel(bundle, kernel, tmp_path))
    assert not verdict.passed
    assert "function" in {check.name for check in verdict.checks if check.status == "fail"}


def test_what_the_weight_held_before_the_call_fails(tmp_path: Path) -> None:
    module = Merged()
    before = module.merged.weight.detach().numpy().copy()
    bundle = exported(module, tmp_path)
    assert not judged(module, bundle, with_kernel(bundle, before, tmp_path)).passed


def test_what_float32_makes_of_a_table_stands_beside_that_table() -> None:
    """Were it beside another one, any numbers would count as either, rounded."""
    module = Deep().eval()
    given = torch.rand(1, 4, 8, 8)
    with torch.no_grad():
        module(given)
    tables = known_of_module(module, {"x": given.numpy()}).recorded.tables
    assert len(tables) > 20
    for table in tables:
        assert table.slack <= 1e-6 * table.scale, table.name


@pytest.mark.parametrize(
    "module", [pytest.param(Merged(), id="replaced"), pytest.param(Written(), id="in-place")]
)
@pytest.mark.parametrize("large", [False, True], ids=["", "widened-where-read"])
def test_the_tensors_that_a_run_rewrites_are_named_and_stay_the_modules_own(
    module: Merged, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if large:
        monkeypatch.setattr(weights, "MOST_WIDENED", 0)
        monkeypatch.setattr(weights, "FEWEST_LENT", 1)
    module.eval()
    before = module.merged.weight.detach().clone()
    double = Float64(module)
    given = torch.rand(1, 4, 8, 8)
    wide = double.widen(given)
    assert double.rewritten == frozenset()
    for _ in range(2):
        with double.running():
            answer = double.module(wide)
    assert double.rewritten == {"merged.weight"}
    assert torch.equal(module.merged.weight, before)
    exact = type(module)().double().eval()
    with torch.no_grad():
        assert torch.equal(answer, exact(given.double()))
