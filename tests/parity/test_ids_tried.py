"""Damage that shows at the end of a range of integers, where they are equal, or where all conditions hold."""

from collections.abc import Callable, Mapping
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn

import onnxproof

Run = Callable[..., Tensor]


class Rule(nn.Module):
    """Another answer where a rule holds."""

    def __init__(self, rule: Run) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(1000, 4)
        self.rule = rule

    def forward(self, *inputs: Tensor) -> Tensor:
        ids = inputs[0].long()
        answer = self.table(ids if ids.dim() == 1 else ids.sum(-1))
        return torch.where(self.rule(*inputs)[:, None], -answer, answer)


def at_the_end(t: Tensor) -> Tensor:
    return 3 * t > 2990


def all_of(flags: Tensor) -> Tensor:
    return flags.all(-1)


def equal(user: Tensor, item: Tensor) -> Tensor:
    return user == item


def leap(year: Tensor) -> Tensor:
    return year % 200 == 100


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize(
    ("rule", "inputs", "says"),
    [
        pytest.param(at_the_end, {"t": "int64[batch] in 0..999"}, "highest-ids", id="the-end-of-a-range"),
        pytest.param(all_of, {"flags": "bool[batch, 6]"}, "all-true", id="all-conditions"),
        pytest.param(
            equal,
            {"user": "int64[batch] in 0..999", "item": "int64[batch] in 0..999"},
            "-ids",
            id="equal-numbers",
        ),
        pytest.param(leap, {"year": "int64[batch] in 201..399"}, "each", id="one-of-the-numbers"),
    ],
)
def test_a_file_without_a_rule_fails(rule: Run, inputs: Mapping[str, str], says: str, tmp_path: Path) -> None:
    module = Rule(rule).eval()
    drawn = [
        torch.zeros(2, 6, dtype=torch.bool) if "bool" in text else torch.tensor([210, 220])
        for text in inputs.values()
    ]
    file = tmp_path / "right.onnx"
    torch.onnx.export(
        module,
        tuple(drawn),
        str(file),
        input_names=list(inputs),
        output_names=["y"],
        dynamic_axes={name: {0: "batch"} for name in (*inputs, "y")},
        dynamo=False,
        opset_version=17,
    )
    dims = {"batch": "1..4"}
    right = onnxproof.check_module(module, file, inputs=inputs, dims=dims)
    assert right.passed, right.checks
    model = onnx.load(file)
    (node,) = (node for node in model.graph.node if node.op_type == "Where")
    node.input[1] = node.input[2]
    onnx.save(model, tmp_path / "wrong.onnx")
    wrong = onnxproof.check_module(module, tmp_path / "wrong.onnx", inputs=inputs, dims=dims)
    failed = [check for check in wrong.checks if check.link == "function" and check.status == "fail"]
    assert failed
    assert any(says in check.reason for check in failed), [check.reason for check in failed]
