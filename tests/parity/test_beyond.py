"""Inputs that are made to reach the model's own bounds: a file that lacks one fails the link ``function``."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional

import onnxproof

Change = Callable[[onnx.GraphProto], None]


class Net(nn.Module):
    """A function of an input and a linear layer."""

    def __init__(self, run: Callable[["Net", Tensor], Tensor], scale: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.layer = nn.Linear(16, 16)
        self.layer.weight.data *= scale
        self.run = run

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)


def capped(net: Net, x: Tensor) -> Tensor:
    return functional.relu6(net.layer(x) + 1)


def capped_in_place(net: Net, x: Tensor) -> Tensor:
    return functional.relu6(net.layer(x), inplace=True)


def normalized(net: Net, x: Tensor) -> Any:
    return net.layer(functional.normalize(x, dim=1, eps=1e-6))


def jumping(_: Net, x: Tensor) -> Tensor:
    return torch.where(x > 0.999, 100 * x, x)


def exported(module: nn.Module, file: Path) -> Path:
    torch.onnx.export(
        module.eval(),
        (torch.rand(3, 16),),
        str(file),
        input_names=["x"],
        output_names=["y"],
        dynamic_axes={"x": {0: "batch"}, "y": {0: "batch"}},
        dynamo=False,
        opset_version=17,
    )
    return file


def without(kind: str) -> Change:
    """Takes the last node of a kind out."""

    def change(graph: onnx.GraphProto) -> None:
        *_, node = (node for node in graph.node if node.op_type == kind)
        for other in graph.node:
            for at, name in enumerate(other.input):
                if name == node.output[0]:
                    other.input[at] = node.input[0]
        for port in graph.output:
            if port.name == node.output[0]:
                (before,) = (one for one in graph.node if node.input[0] in one.output)
                before.output[0] = port.name
        graph.node.remove(node)

    return change


def uncapped(graph: onnx.GraphProto) -> None:
    """Puts a ReLU in the place of the Clip to 0..6."""
    (node,) = (node for node in graph.node if node.op_type == "Clip")
    node.op_type = "Relu"
    del node.input[1:]


def jumps_at_two(graph: onnx.GraphProto) -> None:
    (node,) = (node for node in graph.node if node.op_type == "Greater")
    graph.initializer.append(numpy_helper.from_array(np.array(2, np.float32), "two"))
    node.input[1] = "two"


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize(
    ("module", "low", "change", "says"),
    [
        pytest.param(Net(capped, 3), -1, uncapped, "relu6 above 6", id="a-bound-that-one-corner-reaches"),
        pytest.param(
            Net(capped_in_place, 4),
            -1,
            uncapped,
            "relu6 above 6",
            id="in-place-and-no-corner-reaches-it",
        ),
        pytest.param(Net(normalized), -1, without("Clip"), "below 1e-06", id="the-least-norm"),
        pytest.param(Net(jumping), -1, jumps_at_two, "gt above 0.999", id="a-threshold"),
    ],
)
def test_a_file_without_the_models_bound_fails_where_it_is_reached(
    module: Net, low: int, change: Change, says: str, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {
        "inputs": {"x": f"float32[batch, 16] in {low}..1"},
        "dims": {"batch": "1..3"},
    }
    file = exported(module, tmp_path / "right.onnx")
    right = onnxproof.check_module(module, file, **asked)
    assert right.passed
    assert not any("beyond" in case.name for case in right.cases)
    model = onnx.load(file)
    change(model.graph)
    onnx.save(model, tmp_path / "wrong.onnx")
    wrong = onnxproof.check_module(module, tmp_path / "wrong.onnx", **asked)
    assert wrong.status == "fail"
    assert {link.link: link.status for link in wrong.links}["function"] == "fail"
    (case,) = (case.name for case in wrong.cases if "beyond" in case.name)
    (note,) = (note for note in wrong.notes if note.startswith(case))
    assert says in note
    assert wrong.facts[0].cases == right.facts[0].cases == len(wrong.cases) - 1


class Padded(nn.Module):
    """Each step is capped. At padded steps no answer is compared."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Net(capped_in_place, 4)

    def forward(self, x: Tensor, kept: Tensor) -> Any:
        return self.net(x) * kept[..., None]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_steps_that_a_padding_mask_keeps_are_compared(tmp_path: Path) -> None:
    module = Padded().eval()
    axes = {0: "batch", 1: "time"}
    torch.onnx.export(
        module,
        (torch.rand(2, 3, 16), torch.ones(2, 3, dtype=torch.int64)),
        str(tmp_path / "right.onnx"),
        input_names=["x", "kept"],
        output_names=["y"],
        dynamic_axes={"x": axes, "kept": axes, "y": axes},
        dynamo=False,
        opset_version=17,
    )
    asked: dict[str, Any] = {
        "inputs": {"x": "float32[batch, time, 16] in -1..1", "kept": "int64[batch, time] as mask"},
        "dims": {"batch": "1..2", "time": "2..3"},
    }
    assert onnxproof.check_module(module, tmp_path / "right.onnx", **asked).passed
    model = onnx.load(tmp_path / "right.onnx")
    uncapped(model.graph)
    onnx.save(model, tmp_path / "wrong.onnx")
    wrong = onnxproof.check_module(module, tmp_path / "wrong.onnx", **asked)
    assert wrong.status == "fail"
    assert any("relu6 above 6" in note for note in wrong.notes)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_bisect_names_the_node_on_the_input_that_was_sought(tmp_path: Path) -> None:
    module = Net(capped, 3)
    made = onnxproof.export_module(
        module,
        inputs={"x": "float32[batch, 16] in -1..1"},
        dims={"batch": "1..3"},
        out=tmp_path / "bundle",
        set=("validate.effort=quick", "export.exporter=torchscript", "export.simplify=none"),
    )
    model = onnx.load(made.path / "model.onnx")
    uncapped(model.graph)
    onnx.save(model, tmp_path / "wrong.onnx")
    verdict = onnxproof.validate(made.path, model=module, onnx=tmp_path / "wrong.onnx")
    (number,) = (number for number, case in enumerate(verdict.cases) if "beyond" in case.name)
    for case in (None, str(number)):
        found = onnxproof.bisect(
            made.path, model=module, onnx=tmp_path / "wrong.onnx", case=case, out=tmp_path / f"bisect-{case}"
        )
        assert found.status == "node"
        assert found.nodes[0].operator == "Relu"
        assert (found.case["name"], found.case_number) == (verdict.cases[number].name, number)
