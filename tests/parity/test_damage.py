"""The harness can fail: a healthy export passes, each planted damage fails for its own reason."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from exports import graph_of
from once import Once
from onnx import helper, numpy_helper
from torch import Tensor, nn

from onnxproof.export.capture import capture
from onnxproof.export.finish import finish
from onnxproof.export.make import make_graph
from onnxproof.export.model import build_model
from onnxproof.job import Job, load_job
from onnxproof.steps.planning import plan_of
from onnxproof.validate.ahead import Prepared, prepare
from onnxproof.validate.cases import Case
from onnxproof.validate.judge import judge
from onnxproof.validate.legs.onnx_runtime import OrtLeg
from onnxproof.validate.legs.pytorch import torch_truth
from onnxproof.validate.sweep import sweep
from onnxproof.validate.trial import Plan, Trial
from onnxproof.validate.verdict import Check, Verdict
from onnxproof.validate.verify import validate_files
from onnxproof.wrappers.families import yolox
from onnxproof.wrappers.family import WrappedModel

CONFIGS = Path(__file__).parents[2] / "configs"
SMALL = ("dims.batch=1..2", 'dims.height="64..128 step 32"', 'dims.width="64..128 step 32"')
EFFORT = ("validate.effort=quick", "validate.threads=1")
TRACED = ("export.exporter=torchscript",)
"""What is damaged may come from either exporter, and this one takes a third of the time."""


@dataclass(frozen=True)
class Export:
    """A healthy export: the job, the model, and the graph that damage is done to."""

    job: Job
    model: WrappedModel
    proto: onnx.ModelProto

    @cached_property
    def plan(self) -> Plan:
        return plan_of(self.job, self.model)

    @cached_property
    def prepared(self) -> Prepared:
        """PyTorch's side, which keeps its answers for the next file."""
        return prepare(self.model, self.plan, keep=True)

    def verdict(self, proto: onnx.ModelProto, folder: Path) -> Verdict:
        file = folder / "model.onnx"
        onnx.save(proto, file)
        return validate_files(self.model, (file,), self.plan, opset=20, prepared=self.prepared)[0]

    def recaptured(self, module: nn.Module, opset: int = 20) -> onnx.ModelProto:
        captured = capture(replace(self.model, module=module), "torchscript", opset, optimize=False)
        return finish(captured.proto, self.model.contract.inputs, self.model.contract.outputs)

    def edited(self, edit: Callable[[onnx.GraphProto], None]) -> onnx.ModelProto:
        proto = onnx.ModelProto()
        proto.CopyFrom(self.proto)
        edit(proto.graph)
        return proto


@pytest.fixture(scope="module")
def exports(once: Once) -> Callable[[str], Export]:
    """The export of a ``wrapper.decode``. PyTorch's answers are kept for all of its files."""

    @cache
    def make(decode: str) -> Export:
        job = load_job(CONFIGS / "digits-yolox.toml", (*SMALL, *EFFORT, *TRACED, f"wrapper.decode={decode}"))
        model, _ = build_model(job)
        return Export(job, model, graph_of(once, job, model))

    return make


@pytest.fixture(scope="module")
def packed(exports: Callable[[str], Export]) -> Export:
    return exports("packed")


@pytest.fixture(scope="module")
def split(exports: Callable[[str], Export]) -> Export:
    return exports("split")


def failed(verdict: Verdict) -> dict[str, Check]:
    assert verdict.status == "fail"
    return {check.name: check for check in verdict.checks if check.status == "fail"}


def weights(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """The convolutions' weights, in the order of the graph's initializers."""
    names = {node.input[1] for node in graph.node if node.op_type == "Conv"}
    return (tensor for tensor in graph.initializer if tensor.name in names)


def rewrite(tensor: onnx.TensorProto, change: Callable[[Any], Any]) -> None:
    values = change(numpy_helper.to_array(tensor).copy())
    tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), tensor.name))


@pytest.mark.slow
@pytest.mark.parametrize("decode", ["packed", "split", "none"])
def test_a_healthy_export_passes(decode: str, exports: Callable[[str], Export], tmp_path: Path) -> None:
    export = exports(decode)
    verdict = export.verdict(export.proto, tmp_path)
    assert verdict.status == "pass", [check for check in verdict.checks if check.status != "pass"]
    assert verdict.to_json()["decisions"]["matched"] > 0


@pytest.mark.slow
def test_every_optimization_level_that_is_asked_for_is_judged(packed: Export, tmp_path: Path) -> None:
    """One leg for each; a fault is found in all of them."""
    asked = packed.job.validation.model_copy(update={"optimization": ("none", "basic", "extended", "all")})
    several = replace(packed, job=packed.job.model_copy(update={"validation": asked}))
    healthy = several.verdict(packed.proto, tmp_path)
    assert healthy.status == "pass"
    legs = ["ort-cpu-none", "ort-cpu-basic", "ort-cpu-extended", "ort-cpu"]
    assert [facts.leg for facts in healthy.facts] == legs
    damaged = several.verdict(packed.edited(one_weight), tmp_path)
    assert {
        check.leg for check in damaged.checks if check.name == "ratio_rms" and check.status == "fail"
    } == {*legs}


@pytest.mark.slow
def test_a_healthy_export_passes_at_every_declared_size(tmp_path: Path) -> None:
    largest = ('dims.height="64..320 step 32"', 'dims.width="64..320 step 32"')
    job = load_job(CONFIGS / "digits-yolox.toml", (*EFFORT, *largest))
    model, _ = build_model(job)
    file = tmp_path / "model.onnx"
    onnx.save(make_graph(job, model).proto, file)
    _, height, width = model.contract.dims
    every = range(height.min, height.max + 1, height.multiple)
    sizes = [(size, width.min) for size in every] + [(height.min + 32, size) for size in every]
    cases = [Case(f"{h}x{w}", {"batch": 1, "height": h, "width": w}, "noise", h + w) for h, w in sizes]
    candidate = OrtLeg(file, job.validation.providers, 1)
    (facts,) = sweep(Trial(model.contract, torch_truth(model, cases[0], 1), (candidate,), tuple(cases)))
    checks = judge(facts, {"label": "score"})
    assert facts.cases == 2 * 9
    assert {check.status for check in checks} <= {"pass", "skipped"}, checks


def one_weight(graph: onnx.GraphProto) -> None:
    """A single number of a single kernel, the largest one, by one per cent."""

    def change(values: Any) -> Any:
        values.reshape(-1)[np.argmax(np.abs(values))] *= 1.01
        return values

    rewrite(list(weights(graph))[10], change)


def one_tensor(graph: onnx.GraphProto) -> None:
    rewrite(next(weights(graph)), lambda values: values * 1.001)


def to_float16(graph: onnx.GraphProto) -> None:
    for tensor in weights(graph):
        rewrite(tensor, lambda values: values.astype(np.float16))


def wrong_mean(graph: onnx.GraphProto) -> None:
    """The red channel's mean, in the third digit."""

    def change(values: Any) -> Any:
        values.reshape(-1)[0] += 0.001
        return values

    (mean,) = (
        tensor for tensor in graph.initializer if list(tensor.dims) == [1, 3, 1, 1] and is_mean(tensor)
    )
    rewrite(mean, change)


def is_mean(tensor: onnx.TensorProto) -> bool:
    return bool(np.allclose(numpy_helper.to_array(tensor).reshape(-1), (0.485, 0.456, 0.406)))


@pytest.mark.parametrize(
    ("damage", "least"),
    [
        pytest.param(one_weight, 5, id="one-number-of-one-weight-x1.01"),
        pytest.param(one_tensor, 5, id="one-weight-tensor-x1.001", marks=pytest.mark.slow),
        pytest.param(to_float16, 20, id="weights-rounded-to-float16", marks=pytest.mark.slow),
        pytest.param(wrong_mean, 20, id="normalisation-constant-off-by-0.001", marks=pytest.mark.slow),
    ],
)
def test_damaged_numbers_fail_by_their_ratio(
    packed: Export, tmp_path: Path, damage: Callable[[onnx.GraphProto], None], least: float
) -> None:
    checks = failed(packed.verdict(packed.edited(damage), tmp_path))
    assert "ratio_rms" in checks
    assert checks["ratio_rms"].value is not None
    assert checks["ratio_rms"].value > least
    assert "runs" not in checks
    assert "shapes" not in checks


def test_swapped_outputs_fail_by_their_shapes(split: Export, tmp_path: Path) -> None:
    def swap(graph: onnx.GraphProto) -> None:
        swapped = {"boxes": "scores", "scores": "boxes"}
        for node in graph.node:
            for position, name in enumerate(node.output):
                node.output[position] = swapped.get(name, name)
        for value in graph.output:
            value.type.tensor_type.shape.dim[2].dim_value = 10 if value.name == "boxes" else 4

    checks = failed(split.verdict(split.edited(swap), tmp_path))
    assert "shapes" in checks
    assert "boxes is float32" in checks["shapes"].reason


def test_outputs_in_another_order_fail_by_the_interface(split: Export, tmp_path: Path) -> None:
    def reorder(graph: onnx.GraphProto) -> None:
        first, second = (onnx.ValueInfoProto() for _ in range(2))
        first.CopyFrom(graph.output[0])
        second.CopyFrom(graph.output[1])
        del graph.output[:]
        graph.output.extend([second, first])

    checks = failed(split.verdict(split.edited(reorder), tmp_path))
    assert checks["interface"].reason == "outputs are scores, boxes; expected boxes, scores"


def test_a_dropped_output_fails_by_the_interface(split: Export, tmp_path: Path) -> None:
    def drop(graph: onnx.GraphProto) -> None:
        del graph.output[1]

    checks = failed(split.verdict(split.edited(drop), tmp_path))
    assert checks["interface"].reason == "outputs are boxes; expected boxes, scores"


@pytest.mark.parametrize(
    "declared",
    [
        pytest.param(True, id="axis-says-dynamic", marks=pytest.mark.slow),
        pytest.param(False, id="axis-says-frozen"),
    ],
)
def test_a_frozen_height_fails(packed: Export, tmp_path: Path, *, declared: bool) -> None:
    """As from an export without dynamic shapes: the grid is a constant of the height at capture."""
    job = load_job(CONFIGS / "digits-yolox.toml", (*SMALL, *EFFORT, *TRACED, "dims.height=96"))
    model, _ = build_model(job)
    frozen = make_graph(job, model).proto
    if declared:
        axes = [frozen.graph.input[0].type.tensor_type.shape.dim[2]]
        for axis in axes:
            axis.dim_param = "height"
    checks = failed(packed.verdict(frozen, tmp_path))
    assert checks.keys() & {"runs", "shapes"}
    if not declared:
        assert (
            "the axis height of input input is declared dynamic but frozen at 96"
            in checks["interface"].reason
        )


def test_a_half_cell_grid_offset_fails_and_moves_the_detections(
    packed: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = yolox._grid

    def half_a_cell_off(maps: Any) -> Tensor:
        return grid(maps) + torch.tensor([0.5, 0.5, 0.0])

    with monkeypatch.context() as patch:
        patch.setattr(yolox, "_grid", half_a_cell_off)
        damaged = packed.recaptured(packed.model.module)
    verdict = packed.verdict(damaged, tmp_path)
    checks = failed(verdict)
    assert checks.keys() >= {"ratio_rms", "ratio_max", "decisions"}
    (facts,) = verdict.facts
    assert facts.decisions is not None
    causes = [located.finding.cause for located in facts.decisions.defects]
    assert any("the box moved by" in cause for cause in causes)


class FirstOnly(nn.Module):
    """Answers every member of a batch with the first one's answer."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, input: Tensor) -> Tensor:
        answer: Tensor = self.module(input[:1])
        return answer.expand(input.shape[0], -1, -1)


class SometimesNan(nn.Module):
    """One NaN, in the first row, and only where the picture is all white."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, input: Tensor) -> Tensor:
        answer: Tensor = self.module(input)
        first = torch.arange(answer.shape[1]).view(1, -1, 1) == 0
        return torch.where(first & (input.min() > 0.99), torch.full_like(answer, torch.nan), answer)


def test_a_batch_that_answers_only_its_first_picture_fails(packed: Export, tmp_path: Path) -> None:
    verdict = packed.verdict(packed.recaptured(FirstOnly(packed.model.module)), tmp_path)
    checks = failed(verdict)
    assert "ratio_max" in checks
    assert "decisions" in checks
    batches = {case.name: case.sizes["batch"] for case in verdict.cases}
    (facts,) = verdict.facts
    assert all(batches[measured.worst_case] > 1 for measured in facts.fields)


def test_a_nan_on_one_kind_of_input_fails(packed: Export, tmp_path: Path) -> None:
    checks = failed(packed.verdict(packed.recaptured(SometimesNan(packed.model.module)), tmp_path))
    assert "saturated" in checks["finite"].reason


class OtherwiseIfBright(nn.Module):
    """Half the answer, and only where the inputs' mean is between 0.8 and 0.95."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, input: Tensor) -> Tensor:
        answer: Tensor = self.module(input)
        mean = input.mean()
        return torch.where((mean > 0.8) & (mean < 0.95), answer / 2, answer)


@pytest.mark.slow
def test_an_answer_that_changes_on_bright_inputs_alone_fails(packed: Export, tmp_path: Path) -> None:
    checks = failed(packed.verdict(packed.recaptured(OtherwiseIfBright(packed.model.module)), tmp_path))
    assert "bright" in checks["function"].reason
    assert "bright" in checks["ratio_rms"].reason


@pytest.mark.parametrize("kind", ["branch", "bound"])
def test_what_no_case_reaches_fails_although_every_number_is_right(
    kind: str, packed: Export, tmp_path: Path
) -> None:
    """The model chooses nothing by value, so what the file chooses by is not the model's."""
    node = helper.make_node

    def plant(graph: onnx.GraphProto) -> None:
        port, name = graph.input[0].name, graph.output[0].name
        for one in graph.node:
            one.output[:] = ["inner" if output == name else output for output in one.output]
        held = {"low": 0.601, "high": 0.602, "least": -9e9, "most": 9e9}
        tensors = [numpy_helper.from_array(np.array(value, np.float32), key) for key, value in held.items()]
        graph.initializer.extend(tensors)
        if kind == "bound":
            graph.node.append(node("Clip", ["inner", "least", "most"], [name]))
            return
        graph.node.extend(
            [
                node("ReduceMean", [port], ["mean"], keepdims=0),
                node("Greater", ["mean", "low"], ["above"]),
                node("Less", ["mean", "high"], ["below"]),
                node("And", ["above", "below"], ["inside"]),
                node("Neg", ["inner"], ["negated"]),
                node("Where", ["inside", "negated", "inner"], [name], name="door"),
            ]
        )

    assert failed(packed.verdict(packed.edited(plant), tmp_path)).keys() == {"bounds"}


@pytest.mark.slow
def test_another_opset_than_asked_for_fails(packed: Export, tmp_path: Path) -> None:
    checks = failed(packed.verdict(packed.recaptured(packed.model.module, opset=18), tmp_path))
    assert checks.keys() == {"opset"}


def test_a_damaged_file_does_not_excuse_its_own_decisions(packed: Export, tmp_path: Path) -> None:
    """Scores pushed over the threshold are defects, however large the file's own errors are."""

    def more_confident(graph: onnx.GraphProto) -> None:
        biases = [
            tensor
            for tensor in graph.initializer
            for node in graph.node
            if node.op_type == "Conv" and node.input[2] == tensor.name and list(tensor.dims) == [1]
        ]
        assert len(biases) == 3
        for tensor in biases:
            rewrite(tensor, lambda values: values + 8)

    verdict = packed.verdict(packed.edited(more_confident), tmp_path)
    assert "decisions" in failed(verdict)


@pytest.mark.slow
def test_a_model_without_float64_is_judged_by_the_named_tolerance(packed: Export, tmp_path: Path) -> None:
    class SingleOnly(nn.Module):
        def __init__(self, module: Any) -> None:
            super().__init__()
            self.module = module

        def forward_with_margins(self, input: Tensor) -> Any:
            if input.element_size() == 8:
                raise TypeError("this kernel is written for float32")
            return self.module.forward_with_margins(input)

    single = replace(packed, model=replace(packed.model, module=SingleOnly(packed.model.module)))
    healthy = single.verdict(packed.proto, tmp_path)
    assert healthy.status == "pass"
    assert "this kernel is written for float32" in healthy.notes[0]
    assert {check.name for check in healthy.checks} >= {"max_error"}
    assert "max_error" in failed(single.verdict(packed.edited(wrong_mean), tmp_path))
