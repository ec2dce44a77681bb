"""A right file whose runtime rounds more roughly than PyTorch passes; damage does not, nor a wrong kernel."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from torch import nn
from torch.nn import functional

import onnxproof
from onnxproof.validate import rough, verify
from onnxproof.validate.kernels import Asking, NodeError
from onnxproof.validate.legs.leg import Answer
from onnxproof.validate.legs.onnx_runtime import OrtLeg
from onnxproof.validate.verdict import Check, Verdict

PICTURE = {"x": "float32[batch, 3, height, width] in 0..1"}
LARGE = {"batch": "1..2", "height": "128..384 step 2", "width": "128..384 step 2"}
QUICK = ("validate.threads=1", "validate.effort=quick")


class Mean(nn.Module):
    """A feature map's mean over height and width."""

    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Conv2d(3, 8, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean: torch.Tensor = self.c(x).mean((2, 3))
        return mean


class Score(nn.Module):
    """An autoencoder's score: the mean absolute difference of a whole picture."""

    def __init__(self) -> None:
        super().__init__()
        self.e, self.d = nn.Conv2d(3, 8, 4, 2, 1), nn.ConvTranspose2d(8, 3, 4, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        apart: torch.Tensor = self.d(functional.relu(self.e(x))).sigmoid() - x
        return apart.abs().mean((1, 2, 3))


def exported(module: nn.Module, folder: Path) -> Verdict:
    torch.manual_seed(0)
    bundle = onnxproof.export_module(
        module.eval(), inputs=PICTURE, dims=LARGE, out=folder / "bundle", set=list(QUICK)
    )
    assert bundle.verdict is not None
    return bundle.verdict


def named(verdict: Verdict, name: str) -> list[Check]:
    return [check for check in verdict.checks if check.name == name]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Mean, Score])
def test_a_rough_kernel_passes_and_is_named(kind: type[nn.Module], tmp_path: Path) -> None:
    torch.manual_seed(0)
    verdict = exported(kind(), tmp_path)
    assert verdict.status == "pass"
    (ratio,) = named(verdict, "ratio_rms")
    assert ratio.value is not None
    assert ratio.limit is not None
    assert ratio.value > ratio.limit
    (kernels,) = named(verdict, "kernels")
    assert (kernels.status, kernels.link) == ("pass", "runtime")
    (note,) = [note for note in verdict.notes if "the file is right" in note]
    assert "ReduceMean" in note
    assert "times what PyTorch errs" in note
    assert Verdict.from_json(verdict.to_json()).checks == verdict.checks


def cut_short(file: Path, target: Path) -> Path:
    """The same mean, of all columns but the last."""
    model = onnx.load(file)
    (mean,) = (node for node in model.graph.node if node.op_type == "ReduceMean")
    ends = {"from": [0], "to": [-1], "along": [3]}
    model.graph.initializer.extend(numpy_helper.from_array(np.array(v), k) for k, v in ends.items())
    cut = helper.make_node("Slice", [mean.input[0], *ends], ["cut"])
    mean.input[0] = "cut"
    model.graph.node.insert(list(model.graph.node).index(mean), cut)
    onnx.save(model, target)
    return target


class Wrong(OrtLeg):
    """A runtime with a kernel that is wrong by one part in ten thousand."""

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Answer:
        outputs = super().run(inputs).outputs
        return Answer({name: array * np.float32(1.0001) for name, array in outputs.items()}, {})


@pytest.mark.slow
def test_the_damaged_partners_of_a_rough_kernel_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net = Mean()
    assert exported(net, tmp_path).status == "pass"
    damaged = cut_short(tmp_path / "bundle" / "model.onnx", tmp_path / "damaged.onnx")
    verdict = onnxproof.validate(tmp_path / "bundle", model=net, onnx=damaged)
    assert verdict.status == "fail"
    assert not named(verdict, "kernels")
    monkeypatch.setattr(verify, "OrtLeg", Wrong)
    verdict = onnxproof.validate(tmp_path / "bundle", model=net)
    assert verdict.status == "fail"
    assert any("does not answer as it does" in check.reason for check in named(verdict, "ratio_rms"))


NODE = NodeError("mean", "ReduceMean", 1e-6, 1e-4, 0.01, 40.0)


def small_mean(folder: Path, answer: Asking, monkeypatch: pytest.MonkeyPatch) -> Verdict:
    """A verdict where the nodes give an answer that is made up."""
    monkeypatch.setattr(rough, "ask_nodes", lambda *_, **__: answer)
    torch.manual_seed(0)
    dims = {"batch": "1..2", "height": "8..16 step 2", "width": "8..16 step 2"}
    bundle = onnxproof.export_module(
        Mean().eval(), inputs=PICTURE, dims=dims, out=folder / "bundle", set=list(QUICK)
    )
    assert bundle.verdict is not None
    return bundle.verdict


@pytest.mark.first_case
@pytest.mark.parametrize(
    ("answer", "status", "kernels"),
    [
        pytest.param(Asking(True, "", entry=NODE, entry_share=0.9, nodes=2), "pass", "pass", id="within"),
        pytest.param(Asking(False, "mean errs too much", beyond=NODE), "fail", "fail", id="beyond its bound"),
        pytest.param(Asking(False, "no Odd in float64"), "pass", "skipped", id="not known"),
    ],
)
def test_where_the_yardstick_is_coarse_the_nodes_decide(
    answer: Asking, status: str, kernels: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rough, "COARSE", 0.0)
    verdict = small_mean(tmp_path, answer, monkeypatch)
    assert verdict.status == status
    (check,) = named(verdict, "kernels")
    assert check.status == kernels
