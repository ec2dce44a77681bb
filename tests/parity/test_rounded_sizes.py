"""Sizes that a file computes in float32: the declared sizes at which they are cut otherwise are tried."""

import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

import onnxproof
from onnxproof.validate.contents import CONSTANT
from onnxproof.validate.verdict import Verdict

SHARE = 0.29
"""Of 100, 200 and 400 steps, double makes one less than float32."""

DIMS = {"batch": "1..2", "steps": "16..399"}


class Cut(nn.Module):
    """The first steps: a share of them, which Python computes in double, or torch in float32."""

    def __init__(self, *, single: bool = False) -> None:
        super().__init__()
        self.single = single

    def forward(self, x: Tensor) -> Tensor:
        if self.single:
            return x[:, : int((torch.tensor(float(x.shape[1])) * SHARE).floor())] * 2
        return x[:, : math.floor(x.shape[1] * SHARE)] * 2


def file_of(folder: Path, kind: int = TensorProto.FLOAT, share: float = SHARE) -> Path:
    """What torch.export writes of ``Cut``: the share of the steps as a product in float32."""
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    held = {
        "two": np.array(2, np.float32),
        "share": np.array(share, dtype),
        "zero": np.array([0]),
        "one": np.array([1]),
    }
    nodes = [
        helper.make_node("Shape", ["x"], ["steps"], start=1, end=2),
        helper.make_node("Cast", ["steps"], ["number"], to=kind),
        helper.make_node("Mul", ["number", "share"], ["product"]),
        helper.make_node("Floor", ["product"], ["whole"]),
        helper.make_node("Cast", ["whole"], ["end"], to=TensorProto.INT64),
        helper.make_node("Slice", ["x", "zero", "end", "one"], ["cut"]),
        helper.make_node("Mul", ["cut", "two"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "cut",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "steps"])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", "kept"])],
        [numpy_helper.from_array(array, name) for name, array in held.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    file = folder / "cut.onnx"
    onnx.save(model, file)
    return file


def judged(module: nn.Module, file: Path, dims: Mapping[str, str] = MappingProxyType(DIMS)) -> Verdict:
    return onnxproof.check_module(
        module.eval(), file, inputs={"x": "float32[batch, steps] in -1..1"}, dims=dims
    )


def made(verdict: Verdict) -> list[int]:
    return [case.sizes["steps"] for case in verdict.cases if case.name.endswith("-rounded-size")]


def test_a_size_that_float32_cuts_otherwise_is_tried(tmp_path: Path) -> None:
    verdict = judged(Cut(), file_of(tmp_path))
    assert made(verdict) == [100, 200]
    assert verdict.status == "fail"
    shapes = next(check for check in verdict.checks if check.name == "shapes" and check.status == "fail")
    assert "x100-rounded-size: output is float32[1, 29]; expected float32[1, 28]" in shapes.reason
    assert any("x100-rounded-size" in note and "float32" in note for note in verdict.notes)


def test_a_model_that_computes_it_in_float32_itself_passes_there(tmp_path: Path) -> None:
    verdict = judged(Cut(single=True), file_of(tmp_path))
    assert made(verdict) == [100, 200]
    assert verdict.status == "pass"


@pytest.mark.parametrize(
    ("kind", "share"), [(TensorProto.DOUBLE, SHARE), (TensorProto.FLOAT, 0.25)], ids=["double", "exact"]
)
def test_a_file_that_cuts_as_python_does_gets_no_case(tmp_path: Path, kind: int, share: float) -> None:
    verdict = judged(Cut(), file_of(tmp_path, kind, share))
    assert made(verdict) == []
    assert verdict.status == ("pass" if share == SHARE else "fail")


def test_a_shape_that_the_models_own_rounding_decides_is_not_measured_and_told(tmp_path: Path) -> None:
    verdict = judged(Cut(single=True), file_of(tmp_path))
    told = next(note for note in verdict.notes if "not measured" in note)
    assert "an output is not measured in 2 cases, first 1x100-rounded-size: " in told
    assert "output is [1, 29] in float32 and [1, 28] in float64 in PyTorch" in told


class Chosen(nn.Module):
    """The numbers above 0, where float32's rounding decides which these are; and the numbers themselves."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(8, 64)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = self.linear(x)
        coarse = (y + 1e4) - 1e4
        return {"places": (coarse - coarse.round(decimals=2) > 0).nonzero(), "numbers": y}


def test_an_output_beside_one_of_an_open_shape_is_measured_everywhere(tmp_path: Path) -> None:
    inputs, dims = {"x": "float32[batch, 8] in -1..1"}, {"batch": "1..4"}
    bundle = onnxproof.export_module(
        Chosen().eval(), inputs=inputs, dims=dims, out=tmp_path / "b", set=["validate.effort=quick"]
    )
    verdict = bundle.verdict
    assert verdict is not None
    assert verdict.status == "pass"
    assert any("an output is not measured in" in note and "places is" in note for note in verdict.notes)
    (measured,) = verdict.facts[0].fields
    assert measured.name == "numbers"
    counting = [case for case in verdict.cases if case.content not in CONSTANT]
    assert measured.count == sum(64 * case.sizes["batch"] for case in counting)


def test_nothing_passes_where_nothing_could_be_measured(tmp_path: Path) -> None:
    verdict = judged(Cut(single=True), file_of(tmp_path), {**DIMS, "steps": "100"})
    assert verdict.status == "error"
    assert {check.name for check in verdict.checks if check.status == "error"} == {"compared"}


def test_a_third_shape_fails(tmp_path: Path) -> None:
    verdict = judged(Cut(single=True), file_of(tmp_path, share=0.5), {**DIMS, "steps": "100"})
    assert "expected float32[1, 29]" in next(
        check.reason for check in verdict.checks if check.name == "shapes" and check.link == "runtime"
    )
