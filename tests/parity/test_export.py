"""Folding, capture and simplification: each keeps its contract, or says why it did not."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import onnxsim
import pytest
import torch
from contracts import contract
from exports import graph_of
from once import Once
from torch import Tensor, nn

import onnxproof
from onnxproof.errors import ExportError, UserCodeError
from onnxproof.export.capture import Ladder, capture, opset_of
from onnxproof.export.examples import capture_sizes
from onnxproof.export.finish import interface_of
from onnxproof.export.fold import find_folding, fold_batch_norms
from onnxproof.export.make import make_graph
from onnxproof.export.model import build_model
from onnxproof.export.simplify import SimplifyError, simplify
from onnxproof.job import load_job
from onnxproof.tensors import Dim, TensorSpec
from onnxproof.wrappers.family import WrappedModel

CONFIGS = Path(__file__).parents[2] / "configs"
FAST = (
    "dims.batch=1..3",
    'dims.height="64..128 step 32"',
    'dims.width="64..128 step 32"',
    "validate.effort=quick",
)


def seeded_norm(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels)
    with torch.no_grad():
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            assert tensor is not None
            tensor.copy_(torch.rand(channels) + 0.5)
    return norm


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution = nn.Conv2d(3, 4, 3, bias=False)
        self.norm = seeded_norm(4)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.norm(self.convolution(x))
        return answer


class UsedElsewhere(Plain):
    """The convolution's own output is added to the norm's, so folding would change the function."""

    def forward(self, x: Tensor) -> Tensor:
        convolved: Tensor = self.convolution(x)
        answer: Tensor = convolved + self.norm(convolved)
        return answer


class UsedTwice(Plain):
    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.norm(self.convolution(x)) + self.convolution(x)
        return answer


def test_a_norm_is_folded_and_the_function_is_nearer_to_the_truth() -> None:
    module = Plain().eval()
    x = torch.rand(2, 3, 16, 16)
    folded, count = fold_batch_norms(module, (x,))
    assert count == 1
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in folded.modules())
    with torch.no_grad():
        truth = module.double()(x.double())
        torch.testing.assert_close(folded(x).double(), truth, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("make", [UsedElsewhere, UsedTwice])
def test_a_norm_that_cannot_be_folded_is_left(make: type[Plain]) -> None:
    module = make().eval()
    x = torch.rand(2, 3, 16, 16)
    folded, count = fold_batch_norms(module, (x,))
    assert count == 0
    with torch.no_grad():
        assert torch.equal(folded(x), module(x))


@pytest.mark.parametrize(("make", "folds"), [(Plain, {"convolution": "norm"}), (UsedElsewhere, {})])
def test_a_folding_that_does_not_hold_is_not_captured(make: type[Plain], folds: dict[str, str]) -> None:
    model = wrapped(make())
    folding = find_folding(model.module, (torch.rand(2, 3, 16, 16),))
    assert dict(folding.folds.keys()) == {"convolution": "norm"}
    ladder = Ladder(model, folding, "torchscript", 17, optimize=False, limit_s=60.0)
    captured = ladder.climb()
    assert captured.folds == folds
    assert ("BatchNormalization" in {node.op_type for node in captured.proto.graph.node}) == (not folds)


def test_a_norm_in_training_form_is_left() -> None:
    _, count = fold_batch_norms(Plain().train(), (torch.rand(2, 3, 16, 16),))
    assert count == 0


def test_the_models_own_module_is_not_changed() -> None:
    module = Plain().eval()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    fold_batch_norms(module, (torch.rand(2, 3, 16, 16),))
    after = module.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def wrapped(module: nn.Module, *dims: Dim) -> WrappedModel:
    spec = TensorSpec("input", "float32", ("batch", 3, 16, 16))
    promised = contract(
        inputs=(spec,),
        outputs=(TensorSpec("output", "float32", ("batch", 4, 14, 14)),),
        dims=dims or (Dim("batch", 1, 4),),
    )
    return WrappedModel(module.eval(), promised, "test")


class Branching(Plain):
    """Python decides by a value, which torch.export cannot trace and TorchScript bakes in."""

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.norm(self.convolution(x))
        return answer if float(x.sum()) > 0 else -answer


def test_torchscript_takes_over_where_torch_export_fails_and_says_so() -> None:
    model = wrapped(Branching())
    captured = capture(model, "auto", 20, optimize=False)
    assert captured.exporter == "torchscript"
    assert "torch.export could not capture the model" in captured.reasons[0]
    with pytest.raises(ExportError, match=r"torch\.export could not capture"):
        capture(model, "torch.export", 20, optimize=False)


def test_an_opset_that_torch_export_cannot_write_goes_to_torchscript() -> None:
    model = wrapped(Plain())
    captured = capture(model, "auto", 13, optimize=False)
    assert captured.exporter == "torchscript"
    assert opset_of(captured.proto) == 13


@pytest.mark.slow
def test_a_model_that_nothing_captures_is_an_export_error() -> None:
    class Broken(Plain):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(nn.functional.layer_norm(x, (1, 2, 3)))

    model = wrapped(Broken())
    with pytest.raises(ExportError, match="normalized_shape"):
        capture(model, "auto", 20, optimize=False)


def test_what_the_modules_own_code_raises_is_told_with_its_line() -> None:
    class Broken(Plain):
        def forward(self, x: Tensor) -> Tensor:
            raise ValueError("this model does not run")

    model = wrapped(Broken())
    with pytest.raises(UserCodeError, match=r"ValueError at .*test_export\.py:\d+.*this model does not run"):
        capture(model, "auto", 20, optimize=False)


def test_capture_avoids_the_sizes_that_torch_export_takes_for_constants() -> None:
    sizes = capture_sizes([Dim("batch", 1, 8), Dim("height", 32, 640, 32), Dim("width", 32, 640, 32)])
    assert sizes["batch"] >= 2
    assert sizes["height"] >= 64
    assert len(set(sizes.values())) == 3


@pytest.mark.parametrize("exporter", [pytest.param("torch.export", marks=pytest.mark.slow), "torchscript"])
def test_the_files_axes_are_the_jobs(exporter: str) -> None:
    job = load_job(CONFIGS / "digits-yolox.toml", (*FAST, f"export.exporter={exporter}"))
    model, _ = build_model(job)
    graph = make_graph(job, model)
    assert interface_of(graph.proto) == (
        ("input", "float32", ("batch", 3, "height", "width")),
        ("output", "float32", ("batch", "anchors", 6)),
    )
    assert not graph.proto.graph.value_info


def freeze_an_axis(proto: onnx.ModelProto) -> None:
    proto.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 2


def rename_an_axis(proto: onnx.ModelProto) -> None:
    proto.graph.output[0].type.tensor_type.shape.dim[0].dim_param = "s77"


def rename_the_output(proto: onnx.ModelProto) -> None:
    for node in proto.graph.node:
        node.output[:] = ["merged" if name == "output" else name for name in node.output]
    proto.graph.output[0].name = "merged"


def drop_an_output(proto: onnx.ModelProto) -> None:
    del proto.graph.output[:]


def simplifying(change: Callable[[onnx.ModelProto], None]) -> Any:
    def simplify(proto: onnx.ModelProto, **_: Any) -> tuple[onnx.ModelProto, bool]:
        changed = onnx.ModelProto()
        changed.CopyFrom(proto)
        change(changed)
        return changed, True

    return simplify


@pytest.fixture
def plain_graph(once: Once) -> onnx.ModelProto:
    job = load_job(
        CONFIGS / "digits-yolox.toml", (*FAST, "export.exporter=torchscript", "export.simplify=none")
    )
    return graph_of(once, job, build_model(job)[0])


@pytest.mark.parametrize("change", [freeze_an_axis, rename_an_axis, rename_the_output])
def test_what_a_simplifier_changes_in_the_interface_is_changed_back(
    change: Any, plain_graph: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxsim, "simplify", simplifying(change))
    mended = simplify(plain_graph, "onnxsim", 60)
    assert interface_of(mended) == interface_of(plain_graph)
    onnx.checker.check_model(mended, full_check=True)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        pytest.param(
            drop_an_output, "onnxsim changed the interface: 2 inputs and outputs became 1", id="dropped"
        ),
        pytest.param(lambda _: os.abort(), r"onnxsim failed: it crashed \(SIGABRT\)", id="crashed"),
        pytest.param(
            lambda _: time.sleep(60),
            "onnxsim failed: it took more than 1 s",
            id="hung",
            marks=pytest.mark.slow,
        ),
        pytest.param(lambda _: [][0], "onnxsim failed: IndexError", id="raised"),
    ],
)
def test_a_simplifier_that_fails_is_told(
    change: Any, told: str, plain_graph: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxsim, "simplify", simplifying(change))
    with pytest.raises(SimplifyError, match=told):
        simplify(plain_graph, "onnxsim", 1)


@pytest.mark.slow
def test_a_pass_that_breaks_the_numbers_does_not_cost_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = onnxsim.simplify

    def broken_fusion(proto: onnx.ModelProto, **options: Any) -> tuple[onnx.ModelProto, bool]:
        made, right = real(proto, **options)
        return (made if options.get("perform_optimization") is False else moved(made, 1.001)), right

    monkeypatch.setattr(onnxsim, "simplify", broken_fusion)
    overrides = (*FAST, "export.exporter=torchscript")
    bundle = onnxproof.export(CONFIGS / "digits-yolox.toml", out=tmp_path, set=overrides)
    assert bundle.verdict is not None
    assert bundle.verdict.passed
    assert bundle.manifest.simplify == "onnxsim without fusions"
    assert any(
        "simplified by onnxsim without fusions: the simplified graph did worse" in note
        for note in bundle.notes
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "slow", [pytest.param(False, id="as-fast", marks=pytest.mark.slow), pytest.param(True, id="slower")]
)
def test_the_best_simplifier_makes_the_smallest_graph_that_is_not_slower(
    slow: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("onnxproof.steps.prove.time_ratio", lambda *_: 1.5 if slow else 1.0)
    asked = (*FAST, "export.exporter=torchscript", "export.fold_batch_norms=false", "export.simplify=best")
    bundle = onnxproof.export(CONFIGS / "digits-yolox.toml", out=tmp_path, set=asked)
    assert bundle.verdict is not None
    assert bundle.verdict.passed
    assert (bundle.manifest.simplify == "none") == slow
    assert slow == any("takes 1.50 times as long" in note for note in bundle.notes)


def test_a_simplifier_that_breaks_the_numbers_is_dropped_and_the_verdict_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def wrong_constant(proto: onnx.ModelProto, **_: Any) -> tuple[onnx.ModelProto, bool]:
        return moved(proto, 1.001), True

    monkeypatch.setattr(onnxsim, "simplify", wrong_constant)
    overrides = ("validate.effort=quick", "validate.threads=1", "export.exporter=torchscript")
    bundle = onnxproof.export(CONFIGS / "digits-classifier.toml", out=tmp_path, set=overrides)
    assert bundle.verdict is not None
    assert bundle.verdict.passed
    assert bundle.manifest.simplify == "none"
    assert any("the simplified graph did worse" in note for note in bundle.verdict.notes)


def moved(proto: onnx.ModelProto, factor: float) -> onnx.ModelProto:
    """A copy whose first convolution has other weights."""
    changed = onnx.ModelProto()
    changed.CopyFrom(proto)
    weight = next(tensor for tensor in changed.graph.initializer if len(tensor.dims) == 4)
    values = onnx.numpy_helper.to_array(weight) * factor
    weight.CopyFrom(onnx.numpy_helper.from_array(values.astype("float32"), weight.name))
    return changed


BELOW_NOISE = 1 + 1e-6
"""A factor that no comparison in float32 shows."""


def exported_with_a_fault(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: Any, name: str, fault: Any
) -> onnxproof.Bundle:
    monkeypatch.setattr(place, name, fault)
    return onnxproof.export(
        CONFIGS / "digits-yolox.toml", out=tmp_path, set=(*FAST, "export.exporter=torchscript")
    )


@pytest.mark.slow
def test_a_simplifier_that_changes_the_function_below_float32s_noise_is_dropped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fault(proto: onnx.ModelProto, **_: Any) -> tuple[onnx.ModelProto, bool]:
        return moved(proto, BELOW_NOISE), True

    bundle = exported_with_a_fault(monkeypatch, tmp_path, onnxsim, "simplify", fault)
    assert bundle.verdict is not None
    assert bundle.verdict.passed
    assert any("the simplified graph did worse (function" in note for note in bundle.verdict.notes)


@pytest.mark.slow
def test_an_exporter_that_changes_the_function_below_float32s_noise_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    capture = Ladder._capture

    def fault(ladder: Ladder, *arguments: Any) -> tuple[onnx.ModelProto, tuple[Any, ...]]:
        proto, frozen = capture(ladder, *arguments)
        return moved(proto, BELOW_NOISE), frozen

    bundle = exported_with_a_fault(monkeypatch, tmp_path, Ladder, "_capture", fault)
    verdict = bundle.verdict
    assert verdict is not None
    assert [(link.link, link.status) for link in verdict.links][:2] == [
        ("function", "fail"),
        ("runtime", "pass"),
    ]
    assert any("fails the function link before it is simplified" in note for note in verdict.notes)


@pytest.mark.slow
def test_barracuda_job_is_documented_operators_only_and_decoding_is_not(tmp_path: Path) -> None:
    config = CONFIGS / "digits-yolox-barracuda.toml"
    small = FAST[:3]
    bundle = onnxproof.export(config, out=tmp_path, set=(*small, "validate.effort=quick"))
    assert bundle.verdict is not None
    assert bundle.verdict.passed
    assert bundle.manifest.exporter == "torchscript"
    assert opset_of(onnx.load(bundle.path / "model.onnx")) == 11
    decoded = onnxproof.export(
        config, out=tmp_path, set=(*small, "validate.effort=quick", "wrapper.decode=packed")
    )
    assert decoded.verdict is not None
    assert decoded.verdict.status == "fail"
    (failed,) = (check for check in decoded.verdict.checks if check.status == "fail")
    assert failed.name == "operators"
    assert "outside the documentation of barracuda" in failed.reason
