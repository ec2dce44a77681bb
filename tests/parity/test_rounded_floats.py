"""A model in float64 whose file goes through float32: the file's fault, unless the model does so itself."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

import onnxproof

TO_FLOAT32 = "through_float32"


class Doubled(nn.Module):
    """Two layers in float64."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(6, 5).double(), nn.Linear(5, 3).double()

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.last(self.inner(torch.tanh(self.first(x))))
        return logits

    def inner(self, x: Tensor) -> Tensor:
        return x


class Mixed(Doubled):
    """The same with a step in float32."""

    def inner(self, x: Tensor) -> Tensor:
        return x.float().double()


def written(module: Doubled, file: Path, casts: Sequence[int]) -> Path:
    """The module's graph, with casts to these types between its layers."""
    weights = [
        numpy_helper.from_array(tensor.detach().numpy(), name) for name, tensor in module.named_parameters()
    ]
    nodes = [
        helper.make_node("Gemm", ["x", "first.weight", "first.bias"], ["a"], transB=1),
        helper.make_node("Tanh", ["a"], ["h0"]),
    ]
    for at, kind in enumerate(casts):
        nodes.append(helper.make_node("Cast", [f"h{at}"], [f"h{at + 1}"], to=kind, name=f"cast{at}"))
    last = f"h{len(casts)}"
    nodes.append(helper.make_node("Gemm", [last, "last.weight", "last.bias"], ["output"], transB=1))
    sides = [
        [helper.make_tensor_value_info(name, TensorProto.DOUBLE, ["batch", size])]
        for name, size in (("x", 6), ("output", 3))
    ]
    graph = helper.make_graph(nodes, "g", sides[0], sides[1], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), file)
    return file


def judged(module: nn.Module, file: Path) -> onnxproof.Verdict:
    return onnxproof.check_module(
        module.eval(),
        file,
        inputs={"x": "float64[batch, 6] in -2..2"},
        dims={"batch": "1..2"},
        set=["validate.threads=1"],
    )


def of_casts(verdict: onnxproof.Verdict) -> list[tuple[str, str]]:
    return [(check.status, check.reason) for check in verdict.checks if check.name == "casts"]


BACK_AND_FORTH = (TensorProto.FLOAT, TensorProto.DOUBLE)


def test_a_cast_to_float32_that_the_model_does_not_do_fails_by_name(tmp_path: Path) -> None:
    module = Doubled()
    verdict = judged(module, written(module, tmp_path / "model.onnx", BACK_AND_FORTH))
    ((status, reason),) = of_casts(verdict)
    assert (status, verdict.passed) == ("fail", False)
    assert "Cast cast0 rounds float64 to float32, which moves output by" in reason
    (line,) = [line for line in str(verdict).splitlines() if line.startswith("function")]
    assert "the check casts fails: Cast cast0" in line


def test_a_cast_that_the_model_does_too_passes(tmp_path: Path) -> None:
    module = Mixed()
    verdict = judged(module, written(module, tmp_path / "model.onnx", BACK_AND_FORTH))
    assert of_casts(verdict) == [("pass", "PyTorch has steps in float32, too")]
    assert verdict.passed


@pytest.mark.parametrize("casts", [(), (TensorProto.DOUBLE,)], ids=["none", "to-itself"])
def test_a_file_in_float64_throughout_is_not_asked_and_says_its_unit(
    casts: Sequence[int], tmp_path: Path
) -> None:
    module = Doubled()
    verdict = judged(module, written(module, tmp_path / "model.onnx", casts))
    assert verdict.passed
    assert of_casts(verdict) == []
    reasons = [
        check.reason for check in verdict.checks if (check.link, check.name) == ("function", "function")
    ]
    assert reasons
    assert all("in ratio to float32's rounding of the largest value" in reason for reason in reasons)
    (line,) = [line for line in str(verdict).splitlines() if line.startswith("runtime")]
    assert "times what float32's rounding makes; the model is in float64" in line


def test_a_cast_of_numbers_that_float32_holds_loses_nothing(tmp_path: Path) -> None:
    class Whole(Doubled):
        def forward(self, x: Tensor) -> Tensor:
            return torch.floor(x) * 0.1

    nodes = [
        helper.make_node("Floor", ["x"], ["a"]),
        helper.make_node("Cast", ["a"], ["b"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["b"], ["c"], to=TensorProto.DOUBLE),
        helper.make_node("Mul", ["c", "tenth"], ["output"]),
    ]
    sides = [
        [helper.make_tensor_value_info(name, TensorProto.DOUBLE, ["batch", 6])] for name in ("x", "output")
    ]
    tenth = numpy_helper.from_array(np.array(0.1), "tenth")
    graph = helper.make_graph(nodes, "g", sides[0], sides[1], [tenth])
    file = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), file)
    verdict = judged(Whole(), file)
    assert of_casts(verdict) == [("pass", "no cast to float32 loses digits")]
    assert verdict.passed
