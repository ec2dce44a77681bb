"""Damage that shows only where an input is at an end of its declared range; and healthy files that answer NaN
there, as their models do."""

from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor, nn

import onnxproof


class Unit(nn.Module):
    """Rows of length 1, and the logarithm of their sums; both bounded from below."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[batch, 4] and [batch] of [batch, 4]."""
        return x / x.norm(dim=1, keepdim=True).clamp(min=1e-6), torch.log(x.abs().sum(1).clamp(min=1e-8))


class Open(nn.Module):
    """The same without the bounds: NaN and infinity where a row is zero, and NaN below."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x / x.norm(dim=1, keepdim=True), torch.log(x)


class Normed(nn.Module):
    """Norms whose variance is zero where the input has one value."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rows, self.maps, self.head = nn.LayerNorm(4), nn.GroupNorm(2, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.maps(self.rows(x)))
        return scores.softmax(-1)


def written(module: nn.Module, target: Path) -> Path:
    torch.onnx.export(
        module.eval(),
        (torch.rand(2, 4),),
        str(target),
        dynamo=False,
        input_names=["x"],
        dynamic_axes={"x": {0: "batch"}},
    )
    return target


def judged(module: nn.Module, file: Path, span: str) -> onnxproof.Verdict:
    return onnxproof.check_module(
        module, file, inputs={"x": f"float32[batch, 4] in {span}"}, dims={"batch": "1..4"}
    )


def without_bound(file: Path, number: int) -> Path:
    """The file with one of its Clips left out."""
    proto = onnx.load(file)
    clip: Any = [node for node in proto.graph.node if node.op_type == "Clip"][number]
    for node in proto.graph.node:
        for at, name in enumerate(node.input):
            if name == clip.output[0]:
                node.input[at] = clip.input[0]
    proto.graph.node.remove(clip)
    target = file.with_name(f"without-{number}.onnx")
    onnx.save(proto, target)
    return target


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_dropped_bound_fails_at_the_lowest_input(tmp_path: Path) -> None:
    file = written(Unit(), tmp_path / "model.onnx")
    right = judged(Unit(), file, "0..1")
    assert right.passed, right
    assert [case.content for case in right.cases][-2:] == ["lowest", "highest"]
    for number in (0, 1):
        wrong = judged(Unit(), without_bound(file, number), "0..1")
        assert not wrong.passed
        failed = [check for check in wrong.checks if check.status == "fail" and check.name == "finite"]
        assert failed
        assert all("1-lowest" in check.reason for check in failed)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_dropped_bound_fails_at_zero_within_the_range(tmp_path: Path) -> None:
    wrong = judged(Unit(), without_bound(written(Unit(), tmp_path / "model.onnx"), 0), "-1..1")
    assert [check for check in wrong.checks if check.status == "fail" and "1-zero" in check.reason]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("module", [Open(), Normed()], ids=lambda module: type(module).__name__)
@pytest.mark.parametrize("span", ["-1..1", "0..1", "0.1..0.7"])
def test_a_healthy_file_passes_where_the_model_is_degenerate(
    module: nn.Module, span: str, tmp_path: Path
) -> None:
    verdict = judged(module, written(module, tmp_path / "model.onnx"), span)
    assert verdict.passed, verdict
