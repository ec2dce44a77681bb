"""A file against the module that it was made from: ``check_module``, and the fixture of the pytest plugin."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from once import Once
from torch import nn

import onnxproof
from onnxproof.testing import plugin
from onnxproof.testing.parity import judged
from onnxproof.validate.exact import registry
from onnxproof.validate.exact.operators import find

onnx_parity = plugin.onnx_parity
"""The fixture, also where the package was installed before it had the plugin."""

DIMS = {"batch": "1..3", "height": "8..16", "width": "8..16"}


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )


@pytest.fixture(scope="module")
def exported(once: Once) -> Path:
    """A file that torch wrote of the network, with names of its own."""

    def make(folder: Path) -> None:
        torch.onnx.export(
            network().eval(),
            (torch.rand(2, 3, 9, 9),),
            str(folder / "theirs.onnx"),
            input_names=["pixel_values"],
            output_names=["scores"],
            dynamic_axes={"pixel_values": {0: "batch", 2: "height", 3: "width"}, "scores": {0: "batch"}},
            dynamo=False,
        )

    return once("a file of torch.onnx.export", make) / "theirs.onnx"


Parity = Callable[..., onnxproof.Verdict]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_right_file_passes_and_names_are_found(exported: Path, onnx_parity: Parity) -> None:
    verdict = onnx_parity(network(), exported, dims=DIMS, task="classification")
    assert verdict.passed
    assert "the file's output scores is the model's logits" in verdict.notes
    assert [link.status for link in verdict.links if link.link in ("function", "runtime")] == ["pass", "pass"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_wrong_file_fails_with_its_link_its_worst_case_and_the_figure(
    exported: Path, onnx_parity: Parity
) -> None:
    other = network()
    with torch.no_grad():
        other[0].weight *= 1.2  # type: ignore[index]
    with pytest.raises(pytest.fail.Exception) as failed:
        onnx_parity(other, exported, dims=DIMS, task="classification")
    said = str(failed.value)
    assert "theirs.onnx: the verdict is fail" in said
    assert "fail    function   the file does not compute what the checkpoint computes" in said
    assert "(limit 0.001)" in said
    assert "largest error" in said
    assert "onnxproof explain" in said


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_the_evaluator_fails_at_is_not_told_of_the_file(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The function link is skipped by the operator's name, and no case counts as one that does not run."""

    def raises(*_: Any) -> None:
        raise ValueError("a size that it was not written for")

    entry = find("", "Relu", 20)
    assert entry is not None
    monkeypatch.setitem(registry._OPERATORS, ("", "Relu"), [replace(entry, function=raises)])
    verdict = onnxproof.check_module(network(), exported, dims=DIMS, task="classification")
    checks = [check for check in verdict.checks if check.name == "function"]
    assert {check.status for check in checks} == {"skipped"}
    assert "Relu of opset" in checks[0].reason
    assert "a size that it was not written for" in checks[0].reason
    assert [link.status for link in verdict.links if link.link == "function"] == ["skipped"]
    assert verdict.status == "pass"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"dims": {"batch": "1..3"}}, 'add dims={"height": "1..8"}'),
        ({"dims": {**DIMS, "batch": "3..1"}}, "the minimum is above the maximum"),
        ({"dims": DIMS, "task": "classify"}, 'model.task = "classify"'),
        ({"dims": DIMS, "map": {"image": "input"}}, "the file has no input or output image"),
    ],
    ids=["dims are missing", "dims are wrong", "an unknown task", "an unknown name"],
)
def test_a_wrong_request_is_a_failure_in_words(
    exported: Path, onnx_parity: Parity, options: dict[str, object], says: str
) -> None:
    with pytest.raises(pytest.fail.Exception) as failed:
        onnx_parity(network(), exported, **options)
    assert says in str(failed.value)


def test_a_missing_file_is_a_failure_in_words(tmp_path: Path) -> None:
    verdict, failure = judged(network(), tmp_path / "no.onnx", {"dims": DIMS})
    assert verdict is None
    assert failure is not None
    assert "no.onnx" in failure
    assert "Error: " in failure


class Pair(nn.Module):
    """Two outputs of one form."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.one, self.other = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.one(x), self.other(x)


class Turned(Pair):
    """The same in another order."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        one, other = super().forward(x)
        return other, one


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_outputs_in_another_order_and_the_mode_are_told(tmp_path: Path) -> None:
    file = tmp_path / "turned.onnx"
    torch.onnx.export(
        Turned().eval(),
        (torch.rand(2, 4),),
        str(file),
        input_names=["x"],
        output_names=["other", "one"],
        dynamic_axes={"x": {0: "batch"}, "one": {0: "batch"}, "other": {0: "batch"}},
        dynamo=False,
    )
    module = Pair().train()
    failed = onnxproof.check_module(module, file, dims={"batch": "1..3"})
    assert module.training
    assert failed.status == "fail"
    assert failed.notes[-1].endswith('which is which: map={"other": "output_0", "one": "output_1"}')
    assert any(note.startswith("the module is in training mode") for note in failed.notes)
    passed = onnxproof.check_module(
        module.eval(), file, dims={"batch": "1..3"}, map={"other": "output_1", "one": "output_0"}
    )
    assert passed.passed
    assert any("in another order" in note for note in passed.notes)
    assert not any("training mode" in note or "which is which" in note for note in passed.notes)


class Branching(nn.Module):
    """A branch by value, as PyTorch advises to write it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.one, self.other = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x: torch.Tensor) -> Any:
        return torch.cond(x.sum() > 0, lambda x: self.one(x), lambda x: self.other(x).relu(), (x,))


@pytest.fixture(scope="module")
def branching(once: Once) -> Path:
    """A file with an If."""

    def make(folder: Path) -> None:
        torch.onnx.export(
            Branching().eval(),
            (torch.randn(3, 6),),
            str(folder / "branching.onnx"),
            input_names=["x"],
            output_names=["y"],
            dynamic_shapes={"x": {0: torch.export.Dim.AUTO}},
            dynamo=True,
            external_data=False,
            verbose=False,
        )

    return once("a file of torch.onnx.export with a branch", make) / "branching.onnx"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_a_model_with_control_flow_has_a_function_link(branching: Path, tmp_path: Path) -> None:
    asked: dict[str, Any] = {
        "inputs": {"x": "float32[batch, 6] in -1..1"},
        "dims": {"batch": "1..4"},
    }
    right = onnxproof.check_module(Branching(), branching, **asked)
    assert right.passed
    checks = [one for one in right.checks if one.name == "function"]
    assert {one.status for one in checks} == {"pass"}
    assert all(one.value is not None and one.value < 1e-6 for one in checks)
    model = onnx.load(branching)
    [weight] = [one for one in model.graph.initializer if one.name == "one.weight"]
    moved = onnx.numpy_helper.to_array(weight) * np.float32(1 + 1e-5)
    weight.CopyFrom(onnx.numpy_helper.from_array(moved, weight.name))
    onnx.save(model, tmp_path / "moved.onnx")
    wrong = onnxproof.check_module(Branching(), tmp_path / "moved.onnx", **asked)
    assert "fail" in [one.status for one in wrong.checks if one.name == "function"]
