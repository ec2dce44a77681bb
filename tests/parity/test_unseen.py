"""A weight that is not the checkpoint's fails the verdict although no case decides otherwise for it: in front
of a decision, in an expert that few inputs choose, and where two tensors are changed alike. What makes no
difference by right passes."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

import onnxproof
from onnxproof.validate.checks import Check

Array = NDArray[np.float32]
Change = Callable[[dict[str, Array]], None]

INPUT = {"x": "float32[batch, 8] in -2..2"}
DIMS = {"batch": "1..4"}


class Decides(nn.Module):
    """Decides by the numbers of a layer, and computes on with what it decided."""

    def __init__(self, decide: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.after, self.decide = nn.Linear(8, 8), nn.Linear(8, 8), decide

    def forward(self, x: Tensor) -> Tensor:
        """[batch, 8] of x [batch, 8]."""
        decided: Tensor = self.after(self.decide(self.layer(x)))
        return decided


class Experts(nn.Module):
    """Has each input computed by one of its experts. The last is chosen by next to none."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.router, self.experts = nn.Linear(8, 4), nn.ModuleList(nn.Linear(8, 8) for _ in range(4))
        with torch.no_grad():
            self.router.bias[3] = -4.0

    def forward(self, x: Tensor) -> Tensor:
        """[batch, 8] of x [batch, 8]."""
        chosen = torch.nn.functional.one_hot(self.router(x).argmax(1), 4).float()
        answers = torch.stack([expert(x) for expert in self.experts], 1)
        return (answers * chosen[:, :, None]).sum(1)


class Classes(nn.Module):
    """Tells the best of ten classes, of which three are far behind."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = nn.Linear(8, 16), nn.Linear(16, 10)
        with torch.no_grad():
            self.head.bias[7:] -= 3.0

    def forward(self, x: Tensor) -> Tensor:
        """[batch] of x [batch, 8]."""
        best: Tensor = self.head(torch.tanh(self.body(x))).argmax(1)
        return best


class Equalized(nn.Module):
    """Two layers with a ReLU between them, which one factor may be moved across."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, 8] of x [batch, 8]."""
        second: Tensor = self.second(torch.relu(self.first(x)))
        return second


DECISIONS = {
    "sign": torch.sign,
    "greater": lambda layer: (layer > 0).float() * 2 - 1,
    "one-hot": lambda layer: torch.nn.functional.one_hot(layer.argmax(-1), 8).float(),
    "top-k": lambda layer: torch.zeros_like(layer).scatter(1, layer.topk(2, -1).indices, 1.0),
}


def written(model: nn.Module, folder: Path, change: Change) -> Path:
    """The file that torch's exporter writes of a model, with its tensors changed."""
    file = folder / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter is deprecated
        torch.onnx.export(
            model.eval(),
            (torch.rand(2, 8),),
            str(file),
            dynamo=False,
            input_names=["x"],
            output_names=["output"],
            dynamic_axes={"x": {0: "batch"}},
        )
    proto = onnx.load(file)
    tensors = {one.name: numpy_helper.to_array(one).copy() for one in proto.graph.initializer}
    change(tensors)
    for one in proto.graph.initializer:
        one.CopyFrom(numpy_helper.from_array(tensors[one.name], one.name))
    onnx.save(proto, file)
    return file


def judged(model: nn.Module, file: Path) -> onnxproof.Verdict:
    return onnxproof.check_module(model, file, inputs=INPUT, dims=DIMS)


def unseen(verdict: onnxproof.Verdict) -> Check:
    """The one check that fails."""
    (check,) = [check for check in verdict.checks if check.status == "fail"]
    assert (check.name, check.link) == ("unseen", "function")
    return check


def scaled(name: str, factor: float) -> Change:
    def change(tensors: dict[str, Array]) -> None:
        tensors[name] = (tensors[name] * np.float32(factor)).astype(np.float32)

    return change


def nothing(tensors: dict[str, Array]) -> None:
    """Leave them."""


@pytest.mark.parametrize("decide", [pytest.param(decide, id=name) for name, decide in DECISIONS.items()])
def test_a_weight_before_a_decision(decide: Callable[[Tensor], Tensor], tmp_path: Path) -> None:
    model = Decides(decide)
    check = unseen(judged(model, written(model, tmp_path, scaled("layer.weight", 1.0003))))
    assert "layer.weight ([8, 8]) stands for module.layer.weight and is 3.0e-04 of its size" in check.reason
    assert "the file answers alike on all" in check.reason
    assert judged(model, written(model, tmp_path, nothing)).passed


def test_an_expert_that_no_case_comes_to(tmp_path: Path) -> None:
    model = Experts()
    check = unseen(judged(model, written(model, tmp_path, scaled("experts.3.weight", -1))))
    assert "experts.3.weight ([8, 8]) stands for" in check.reason
    assert judged(model, written(model, tmp_path, nothing)).passed


def exchanged(tensors: dict[str, Array]) -> None:
    """Exchange two classes, in the weight and in the bias."""
    for name in ("head.weight", "head.bias"):
        tensors[name][[8, 9]] = tensors[name][[9, 8]]


def test_classes_that_are_exchanged(tmp_path: Path) -> None:
    model = Classes()
    check = unseen(judged(model, written(model, tmp_path, exchanged)))
    assert check.value == 2
    assert judged(model, written(model, tmp_path, nothing)).passed


def moved_across(tensors: dict[str, Array]) -> None:
    """Multiply the channels of the first layer by powers of two, and divide the second layer's by them."""
    factors = np.float32(2.0) ** np.arange(-8, 8, dtype=np.float32)
    tensors["first.weight"] *= factors[:, None]
    tensors["first.bias"] *= factors
    tensors["second.weight"] /= factors


def test_factors_that_are_moved_from_one_layer_to_the_next(tmp_path: Path) -> None:
    model = Equalized()
    verdict = judged(model, written(model, tmp_path, moved_across))
    assert verdict.passed, [check for check in verdict.checks if check.status != "pass"]


def test_bisect_tells_of_it(tmp_path: Path) -> None:
    """No value of the graph tells a node from the others; the note names the constant."""
    model = Decides(torch.sign)
    bundle = tmp_path / "decides"
    onnxproof.export_module(model.eval(), inputs=INPUT, dims=DIMS, out=bundle, validate=False)
    file = written(model, tmp_path, scaled("layer.weight", 1.0003))
    found = onnxproof.bisect(bundle, model=model, onnx=file, out=tmp_path / "found")
    (note,) = [note for note in found.notes if "unseen" in note]
    assert note.startswith("no output tells it, but validate fails by the check unseen: layer.weight")


def test_another_file_with_another_weight_before_a_decision(tmp_path: Path) -> None:
    model = Decides(torch.sign)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    a = written(model, tmp_path / "a", nothing)
    b = written(model, tmp_path / "b", scaled("layer.weight", 1.0003))
    verdict = onnxproof.compare(a, b, inputs=INPUT, dims=DIMS)
    check = unseen(verdict)
    assert "With A's numbers in its place" in check.reason
    assert onnxproof.compare(a, a, inputs=INPUT, dims=DIMS).passed
