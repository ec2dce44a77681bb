"""Answers that a model leaves open: steps behind a mask, state from run to run, the order of equal scores."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

import onnxproof
from onnxproof.errors import CheckError
from onnxproof.pipeline import Bundle
from onnxproof.validate.verdict import Verdict

FAST = ("validate.effort=quick", "validate.threads=1")


def failures(verdict: Verdict) -> dict[str, str]:
    """The reasons of the checks that failed or could not be run, by the check's name."""
    return {check.name: check.reason for check in verdict.checks if check.status in ("fail", "error")}


def damaged(bundle: Bundle, model: nn.Module, edit: Callable[[onnx.GraphProto], None]) -> Verdict:
    """The verdict on the bundle's graph after an edit."""
    proto = onnx.load(bundle.path / "model.onnx")
    edit(proto.graph)
    file = bundle.path.parent / "damaged.onnx"
    onnx.save(proto, file)
    return onnxproof.validate(bundle.path, model=model, onnx=file)


def behind(graph: onnx.GraphProto, output: str, node: str, value: Any) -> None:
    """Put ``node`` (Add, Mul) with a constant behind an output."""
    for one in graph.node:
        one.output[:] = [f"{output}_before" if name == output else name for name in one.output]
        one.input[:] = [f"{output}_before" if name == output else name for name in one.input]
    graph.initializer.append(numpy_helper.from_array(np.array(value), f"{output}_value"))
    graph.node.append(helper.make_node(node, [f"{output}_before", f"{output}_value"], [output]))


class Tagger(nn.Module):
    """PyTorch's fused encoder layers answer with zeros at padded steps; captured ones compute numbers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(50, 16)
        self.layers = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 1)
        self.head = nn.Linear(16, 7)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        answer: Tensor = self.head(self.layers(self.embedding(ids), src_key_padding_mask=mask == 0))
        return answer


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("task", ["sequence", "raw"])
def test_padded_steps_do_not_count_and_all_others_do(task: str, tmp_path: Path) -> None:
    model = Tagger().eval()
    bundle = onnxproof.export_module(
        model,
        inputs={"ids": "int64[batch, time] in 0..49", "mask": "int64[batch, time] as mask"},
        dims={"batch": "1..3", "time": "1..12"},
        task=task,
        out=tmp_path / "tagger",
        set=FAST,
    )
    assert bundle.verdict is not None
    assert bundle.verdict.passed, failures(bundle.verdict)
    output = bundle.manifest.contract.outputs[0].name
    assert (
        f"{output} is not compared at steps that mask drops: nothing defines it there" in bundle.verdict.notes
    )
    with torch.no_grad():
        alone = model(torch.ones(1, 4, dtype=torch.int64), torch.tensor([[1, 1, 0, 0]]))
    assert torch.equal(alone[0, 2], model.head.bias), "PyTorch no longer answers with zeros: a weak witness"
    verdict = damaged(bundle, model, lambda graph: behind(graph, output, "Mul", np.float32(1.001)))
    assert verdict.status == "fail"


class Keeping(nn.Module):
    """A recurrence that goes on where the last run ended."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.cells = nn.GRU(4, 6, batch_first=True)
        self.state: Tensor | None = None

    def forward(self, steps: Tensor) -> Tensor:
        state = self.state
        if state is not None and state.shape[1] != steps.shape[0]:
            state = None
        answer: Tensor
        answer, state = self.cells(steps, state)
        self.state = state.detach()
        return answer


class Forgetting(Keeping):
    """The same, from the start in each run."""

    def forward(self, steps: Tensor) -> Tensor:
        self.state = None
        return super().forward(steps)


STEPS: dict[str, Any] = {
    "inputs": {"steps": "float32[batch, time, 4] in -1..1"},
    "dims": {"batch": "1..3", "time": "2..8"},
    "set": FAST,
}


@pytest.mark.slow
def test_a_module_that_keeps_state_is_told_and_float64_is_not_blamed(tmp_path: Path) -> None:
    bundle = onnxproof.export_module(Keeping(), out=tmp_path / "keeping", **STEPS)
    assert bundle.verdict is not None
    # The trace froze which way the state goes, too.
    assert list(failures(bundle.verdict)) == ["tracing", "state"]
    assert not bundle.verdict.facts
    assert "run again on the same input (output changes by up to" in failures(bundle.verdict)["state"]
    assert not any("float64" in note for note in bundle.verdict.notes)
    assert Verdict.from_json(bundle.verdict.to_json()) == bundle.verdict
    with pytest.raises(CheckError, match="run again on the same input"):
        onnxproof.bisect(bundle.path, model=Keeping(), out=tmp_path / "bisect")
    model = bundle.path / "model.onnx"
    with pytest.raises(CheckError, match="run again on the same input"):
        onnxproof.compare(model, model, job=bundle.path, model=Keeping())


@pytest.mark.slow
def test_a_module_that_forgets_its_state_passes(tmp_path: Path) -> None:
    bundle = onnxproof.export_module(Forgetting(), out=tmp_path / "forgetting", **STEPS)
    assert bundle.verdict is not None
    assert bundle.verdict.passed, failures(bundle.verdict)


class Peaks(nn.Module):
    """CenterNet's decoding: the places of the best local maxima of heat maps, and their classes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 4, 1))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        heat = self.layers(x).sigmoid()
        peaks = heat * (nn.functional.max_pool2d(heat, 3, 1, 1) == heat)
        scores, places = peaks.permute(0, 2, 3, 1).flatten(1).topk(10)
        return {"scores": scores, "places": places, "classes": places % 4, "pixels": places // 4}


PICTURE: dict[str, Any] = {
    "inputs": {"x": "float32[batch, 3, height, width] in 0..1"},
    "dims": {"batch": "1..3", "height": "16..64 step 16", "width": "16..64 step 16"},
    "picture": "x",
}


@pytest.mark.slow
@pytest.mark.parametrize("exporter", ["torch.export", "torchscript"])
def test_equal_scores_in_another_order_are_ties_and_other_places_are_not(
    exporter: str, tmp_path: Path
) -> None:
    overrides = (*FAST, f"export.exporter={exporter}")
    bundle = onnxproof.export_module(Peaks(), out=tmp_path / "peaks", set=overrides, **PICTURE)
    assert bundle.verdict is not None
    assert bundle.verdict.passed, failures(bundle.verdict)
    labels = {label.name: label for label in bundle.verdict.facts[0].labels}
    assert labels["places"].flips > 0, "no tie was met: a weak witness"
    for output in ("places", "classes", "pixels"):
        edit = functools.partial(behind, output=output, node="Add", value=np.int64(1))
        verdict = damaged(bundle, Peaks(), edit)
        failed = {(check.name, check.field) for check in verdict.checks if check.status == "fail"}
        assert failed == {("flips", output)}


class Ranked(nn.Module):
    """Reads its best scores: ``in_order`` the k-th by weights of its own, else their sum alone."""

    weights: Tensor

    def __init__(self, *, in_order: bool) -> None:
        super().__init__()
        self.in_order = in_order
        self.register_buffer("weights", torch.tensor([3.0, 2.0, 1.0]) if in_order else torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        best = x.topk(3, dim=-1, sorted=self.in_order).values
        answer: Tensor = torch.tanh(best * self.weights).sum(-1)
        return answer


def ranked(folder: Path, *, in_order: bool) -> tuple[Bundle, nn.Module]:
    model = Ranked(in_order=in_order).eval()
    inputs = {"x": "float32[batch, 16] in -1..1"}
    bundle = onnxproof.export_module(model, inputs=inputs, dims={"batch": "1..4"}, out=folder / "m", set=FAST)
    return bundle, model


def in_any_order(graph: onnx.GraphProto) -> None:
    (node,) = (node for node in graph.node if node.op_type == "TopK")
    kept = [one for one in node.attribute if one.name != "sorted"]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute("sorted", 0)])


def test_a_top_k_in_any_order_is_the_files_fault_where_the_order_matters(tmp_path: Path) -> None:
    bundle, model = ranked(tmp_path, in_order=True)
    assert bundle.verdict is not None
    assert bundle.verdict.passed, failures(bundle.verdict)
    verdict = damaged(bundle, model, in_any_order)
    assert "function" in failures(verdict)
    runtime = [reason for name, reason in failures(verdict).items() if name.startswith("ratio")]
    assert runtime
    assert all(reason.endswith("the file's own fault may be in that, see function") for reason in runtime)
    assert "ONNX Runtime errs" not in str(verdict)
    assert any("sorted=0" in note for note in verdict.notes)


def test_a_top_k_in_any_order_passes_where_the_order_does_not_matter(tmp_path: Path) -> None:
    bundle, model = ranked(tmp_path, in_order=False)
    assert bundle.verdict is not None
    assert bundle.verdict.passed, failures(bundle.verdict)
    verdict = damaged(bundle, model, in_any_order)
    assert verdict.passed, failures(verdict)
    assert not any("sorted=0" in note for note in verdict.notes)
