"""Modules that ask for float32, hold half precision, or return constants: each is judged by float64."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torchvision.models.optical_flow import raft_small

import onnxproof
from onnxproof.errors import ModelFileError
from onnxproof.export.fold import fold_batch_norms
from onnxproof.runtime.session import open_session
from onnxproof.validate.verdict import Verdict
from onnxproof.wrappers.double.float64 import Float64

ROW = {"x": "float32[batch, 8] in -1..1"}
QUICK = ("validate.threads=1", "validate.effort=quick", "export.exporter=torchscript")


class Net(nn.Module):
    """A function of a layer and an input."""

    def __init__(self, layer: nn.Module, run: Callable[[nn.Module, Tensor], Any]) -> None:
        super().__init__()
        self.layer = layer
        self.run = run

    def forward(self, x: Tensor) -> Any:
        return self.run(self.layer, x)


def exported(folder: Path, net: nn.Module, inputs: dict[str, str]) -> Verdict:
    torch.manual_seed(0)
    made = onnxproof.export_module(
        net.eval(), inputs=inputs, dims={"batch": "1..4"}, out=folder / "bundle", set=QUICK
    )
    assert made.verdict is not None
    return made.verdict


def with_table(layer: nn.Module, x: Tensor) -> Any:
    return {"y": layer(x), "anchors": torch.arange(6.0).view(3, 2)}


@pytest.mark.parametrize(
    ("net", "inputs", "reference"),
    [
        pytest.param(
            Net(nn.Linear(8, 8), lambda layer, x: layer(layer(x).float())), ROW, "torch-float32", id="a-cast"
        ),
        pytest.param(
            Net(nn.Linear(8, 8), lambda layer, x: layer(x) * torch.linspace(-1, 1, 8)),
            ROW,
            "torch-float32",
            id="a-grid",
        ),
        pytest.param(Net(nn.Linear(8, 5), with_table), ROW, "torch-float32", id="a-constant-output"),
        pytest.param(
            nn.Linear(16, 4).half(), {"x": "float16[batch, 16]"}, "torch-float16", id="a-module-in-half"
        ),
        pytest.param(
            Net(nn.Linear(8, 5).half(), lambda layer, x: layer(x.half()).float()),
            ROW,
            "torch-float32",
            id="half-inside",
        ),
    ],
)
def test_a_healthy_export_passes_by_the_oracle(
    tmp_path: Path, net: nn.Module, inputs: dict[str, str], reference: str
) -> None:
    verdict = exported(tmp_path, net, inputs)
    assert verdict.passed, [check for check in verdict.checks if check.status != "pass"]
    (facts,) = verdict.facts
    assert (facts.reference, facts.oracle, facts.oracle_missing) == (reference, "torch-float64", {})
    assert {check.name for check in verdict.checks} >= {"ratio_rms", "ratio_max"}
    assert not any("float64" in note for note in verdict.notes)


def test_a_constant_output_hides_no_damage_beside_it(tmp_path: Path) -> None:
    net = Net(nn.Linear(8, 5), with_table)
    assert exported(tmp_path, net, ROW).passed
    damaged = onnx.load(tmp_path / "bundle" / "model.onnx")
    for node in damaged.graph.node:
        node.output[:] = ["right" if name == "y" else name for name in node.output]
    damaged.graph.initializer.append(numpy_helper.from_array(np.array(1.00005, np.float32), "scale"))
    damaged.graph.node.append(helper.make_node("Mul", ["right", "scale"], ["y"]))
    onnx.save(damaged, tmp_path / "damaged.onnx")
    verdict = onnxproof.validate(tmp_path / "bundle", model=net, onnx=tmp_path / "damaged.onnx")
    failed = {(check.name, check.field) for check in verdict.checks if check.status == "fail"}
    assert failed == {("function", "y")}


def test_norms_are_folded_in_a_module_that_asks_for_float32() -> None:
    def run(layer: nn.Module, x: Tensor) -> Tensor:
        places = torch.linspace(-1, 1, x.shape[3])
        found: Tensor = layer(x.float()) * places[1:-1]
        return found

    net = Net(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), run).eval()
    x = torch.rand(1, 3, 6, 7)
    folded, count = fold_batch_norms(net, (x,))
    assert count == 1
    torch.testing.assert_close(folded(x), net(x))


def test_norms_of_a_module_in_half_are_folded_in_half() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).half().eval()
    folded, count = fold_batch_norms(net, (torch.rand(1, 3, 6, 7).half(),))
    assert count == 1
    assert {tensor.dtype for tensor in folded.parameters()} == {torch.float16}


def test_a_dtype_without_kernels_is_told(tmp_path: Path) -> None:
    rows, weights = (helper.make_tensor_value_info(name, TensorProto.BFLOAT16, [2, 2]) for name in "xw")
    y = helper.make_tensor_value_info("y", TensorProto.BFLOAT16, [2, 2])
    graph = helper.make_graph([helper.make_node("Gemm", ["x", "w"], ["y"])], "g", [rows, weights], [y])
    file = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), file)
    with pytest.raises(ModelFileError, match="few are for bfloat16") as told:
        open_session(file)
    assert "is it whole" not in str(told.value)


@pytest.mark.slow
def test_raft_runs_in_float64() -> None:
    net = raft_small(weights=None).eval()
    pictures = torch.rand(2, 1, 3, 128, 128) * 2 - 1
    double = Float64(net)
    with double.running():
        flows = double.module(*map(double.widen, pictures), num_flow_updates=2)
    with torch.no_grad():
        plain = net(*pictures, num_flow_updates=2)
    for exact, single in zip(flows, plain, strict=True):
        assert double.result(exact)[1] is None
        assert exact.dtype == torch.float64
        assert 0 < float((exact - single).abs().max() / exact.abs().max()) < 1e-4
