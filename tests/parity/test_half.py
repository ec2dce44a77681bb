"""Models in half precision: exported in their own dtype or widened, and judged by the error of that dtype."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torchvision.models import squeezenet1_1

import onnxproof
from onnxproof.contract import Contract
from onnxproof.errors import JobError, OnnxproofError
from onnxproof.export.alike import answer_alike
from onnxproof.export.model import build_model
from onnxproof.job import Job
from onnxproof.pipeline import Bundle
from onnxproof.runtime.session import SessionSettings
from onnxproof.runtime.tasks.raw import Unread
from onnxproof.seeded import draw
from onnxproof.tensors import TensorSpec
from onnxproof.validate.exact.graph import ExactGraph
from onnxproof.validate.kernels import ask_nodes
from onnxproof.validate.legs.onnx_runtime import OrtLeg
from onnxproof.validate.verdict import Verdict
from onnxproof.wrappers.weights import held_in, notes_on

HALVES = pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
EXPORTERS = pytest.mark.parametrize("exporter", ["torch.export", "torchscript"])
EITHER_EXPORTER = pytest.mark.parametrize(
    "exporter", [pytest.param("torch.export", marks=pytest.mark.slow), "torchscript"]
)
"""For what both exporters are given alike; torchscript takes a third of the time."""
STEPS = "[batch, time, 32] in -2..2"
DIMS = {"batch": "1..2", "time": "2..5"}


class Rms(nn.Module):
    """A norm that computes in float32 and casts back, as those of language models do."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(32) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        scaled: Tensor = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)
        return self.weight * scaled.to(x.dtype)


class Block(nn.Module):
    """Attention with a scale that is not a power of two, and a perceptron."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm
        self.qkv = nn.Linear(32, 96)
        self.rest = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32))

    def forward(self, x: Tensor) -> Tensor:
        batch, time, _ = x.shape
        q, k, v = self.qkv(self.norm(x)).view(batch, time, 3, 4, 8).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        answer: Tensor = x + mixed
        total: Tensor = answer + self.rest(self.norm(answer))
        return total


def block(norm: Callable[[], nn.Module], dtype: str) -> nn.Module:
    torch.manual_seed(0)
    return Block(norm()).to(getattr(torch, dtype)).eval()


def convolutions(*, trained: bool) -> nn.Module:
    """Batch norms with statistics; as they are built, they change next to nothing."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.SiLU(), nn.Conv2d(8, 4, 3))
    if trained:
        network.train()(torch.rand(4, 3, 16, 16))
    return network.eval().half()


def exported(module: nn.Module, folder: Path, exporter: str, **given: Any) -> Bundle:
    return onnxproof.export_module(
        module,
        inputs=given.pop("inputs"),
        dims=given.pop("dims", DIMS),
        out=folder / "bundle",
        set=(
            *("validate.effort=quick", "validate.threads=1", f"export.exporter={exporter}"),
            *given.pop("set", ()),
        ),
    )


def verdict_of(bundle: Bundle) -> Verdict:
    assert bundle.verdict is not None
    return bundle.verdict


def function_ratio(verdict: Verdict) -> float:
    return max(float(check.value or 0) for check in verdict.checks if check.name == "function")


@pytest.mark.first_case
@EXPORTERS
@pytest.mark.parametrize(
    "norm", [pytest.param(lambda: nn.LayerNorm(32), id="layer-norm"), pytest.param(Rms, id="casts")]
)
def test_a_block_in_float16_is_exact_and_passes(norm: Any, exporter: str, tmp_path: Path) -> None:
    bundle = exported(block(norm, "float16"), tmp_path, exporter, inputs={"x": f"float16{STEPS}"})
    verdict = verdict_of(bundle)
    assert verdict.passed, [check for check in verdict.checks if check.status != "pass"]
    assert function_ratio(verdict) < 1e-9
    weights = onnx.load(bundle.path / "model.onnx").graph.initializer
    assert {one.data_type for one in weights if len(one.dims) == 2} == {TensorProto.FLOAT16}
    assert verdict.facts[0].reference == "torch-float16"


@pytest.mark.first_case
@pytest.mark.parametrize(
    ("exporter", "trained"),
    [
        pytest.param("torch.export", True, id="torch.export-trained"),
        pytest.param("torch.export", False, id="torch.export-as-built"),
        pytest.param("torchscript", True, id="torchscript-trained"),
    ],
)
def test_batch_norms_in_half_are_not_folded(trained: bool, exporter: str, tmp_path: Path) -> None:
    inputs, dims = {"x": "float16[batch, 3, side, side] in 0..1"}, {"batch": "1..2", "side": "8..12"}
    network = convolutions(trained=trained)
    verdict = verdict_of(exported(network, tmp_path, exporter, inputs=inputs, dims=dims))
    assert verdict.passed, [check for check in verdict.checks if check.status != "pass"]
    assert not [check for check in verdict.checks if check.name == "folding" and check.value]
    assert function_ratio(verdict) < 1e-9


@EITHER_EXPORTER
def test_a_file_in_bfloat16_states_the_function_and_has_no_runtime(exporter: str, tmp_path: Path) -> None:
    module = block(Rms, "bfloat16")
    bundle = exported(module, tmp_path, exporter, inputs={"x": f"bfloat16{STEPS}"})
    verdict = verdict_of(bundle)
    assert verdict.status == "error"
    assert {link.link: link.status for link in verdict.links}["function"] == "pass"
    assert {link.link: link.status for link in verdict.links}["runtime"] == "error"
    assert function_ratio(verdict) < 1e-9
    (runs,) = [check for check in verdict.checks if check.status == "error"]
    assert "few are for bfloat16" in runs.reason
    assert Verdict.from_json(verdict.to_json()).status == "error"
    again = onnxproof.validate(bundle.path, model=module)
    assert {link.link: link.status for link in again.links}["function"] == "pass"
    weights = onnx.load(bundle.path / "model.onnx").graph.initializer
    assert {one.data_type for one in weights if len(one.dims) == 2} == {TensorProto.BFLOAT16}


def plus_units(values: Any) -> Any:
    """One weight of a thousand, moved by four units in its last place."""
    changed = values.copy()
    changed.flat[7] = changed.flat[7] * np.float16(1 + 4 * 2.0**-10)
    assert changed.flat[7] != values.flat[7]
    return changed


def as_bfloat16(values: Any) -> Any:
    return values.astype(np.float32).astype(ml_dtypes.bfloat16).astype(np.float16)


@pytest.mark.parametrize("change", [plus_units, as_bfloat16])
def test_a_wrong_weight_in_half_fails(change: Any, tmp_path: Path) -> None:
    module = block(lambda: nn.LayerNorm(32), "float16")
    bundle = exported(module, tmp_path, "torchscript", inputs={"x": f"float16{STEPS}"})
    model = onnx.load(bundle.path / "model.onnx")
    weight = next(one for one in model.graph.initializer if list(one.dims) == [32, 96])
    weight.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(weight)), weight.name))
    assert_fails(module, bundle, model, tmp_path)


def test_a_bias_that_is_dropped_in_half_fails(tmp_path: Path) -> None:
    module = block(lambda: nn.LayerNorm(32), "float16")
    bundle = exported(
        module, tmp_path, "torchscript", inputs={"x": f"float16{STEPS}"}, set=("export.simplify=none",)
    )
    model = onnx.load(bundle.path / "model.onnx")
    held = {one.name: one for one in model.graph.initializer}
    node = next(node for node in model.graph.node if node.op_type == "Add" and {*node.input} & {*held})
    left = next(name for name in node.input if name not in held)
    node.CopyFrom(helper.make_node("Identity", [left], list(node.output), name=node.name))
    assert_fails(module, bundle, model, tmp_path)


def test_a_cast_to_half_that_a_float32_model_has_not_fails(tmp_path: Path) -> None:
    module = block(lambda: nn.LayerNorm(32), "float32")
    bundle = exported(module, tmp_path, "torchscript", inputs={"x": f"float32{STEPS}"})
    model = onnx.load(bundle.path / "model.onnx")
    for node in model.graph.node:
        node.input[:] = ["cast" if name == "x" else name for name in node.input]
    casts = [
        helper.make_node("Cast", ["x"], ["narrow"], to=TensorProto.FLOAT16),
        helper.make_node("Cast", ["narrow"], ["cast"], to=TensorProto.FLOAT),
    ]
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    assert_fails(module, bundle, model, tmp_path)


def assert_fails(module: nn.Module, bundle: Bundle, model: onnx.ModelProto, folder: Path) -> None:
    assert verdict_of(bundle).passed
    onnx.save(model, folder / "damaged.onnx")
    verdict = onnxproof.validate(bundle.path, model=module, onnx=folder / "damaged.onnx")
    assert verdict.status == "fail"
    assert {link.link: link.status for link in verdict.links}["function"] == "fail"


BUILDER = """
import torch
from torch import nn

def make():
    return nn.Sequential(nn.Linear(8, 4))
"""


def job(folder: Path, saved: torch.dtype, dtype: str, declared: str) -> Job:
    torch.manual_seed(0)
    (folder / "maker.py").write_text(BUILDER)
    torch.save(nn.Sequential(nn.Linear(8, 4)).to(saved).state_dict(), folder / "weights.pth")
    document = {
        "name": "half",
        "model": {"family": "module", "builder": "maker.py:make", "checkpoint": "weights.pth"},
        "inputs": {"x": f"{declared}[batch, 8] in -1..1"},
        "dims": {"batch": "1..3"},
        "export": {"dtype": dtype, "exporter": "torchscript"},
        "validate": {"effort": "quick", "threads": 1},
    }
    return Job.from_document(document, folder=folder, source="test")


@pytest.mark.parametrize(
    ("saved", "dtype", "held", "note"),
    [
        pytest.param(torch.float16, "auto", "float32", "float32 holds the same numbers", id="widened"),
        pytest.param(torch.float16, "float32", "float32", "float32 holds the same numbers", id="asked-wide"),
        pytest.param(torch.float16, "float16", "float16", "", id="its-own"),
        pytest.param(torch.float32, "float16", "float16", "as float32 and rounded to float16", id="narrowed"),
        pytest.param(torch.bfloat16, "float16", "float16", "", id="from-another-half"),
    ],
)
def test_a_checkpoint_is_held_as_the_job_says(
    saved: torch.dtype, dtype: str, held: str, note: str, tmp_path: Path
) -> None:
    asked = job(tmp_path, saved, dtype, held)
    model, _ = build_model(asked)
    assert held_in(model.module) == held
    assert [spec.dtype for spec in model.contract.outputs] == [held]
    assert any(note in one for one in model.notes) if note else not model.notes
    bundle = onnxproof.export(asked, out=tmp_path)
    assert verdict_of(bundle).passed
    assert bundle.manifest.job is not None
    assert bundle.manifest.job["export"]["dtype"] == dtype


def test_weights_that_a_half_cannot_hold_are_noted() -> None:
    state = {"big.weight": torch.full((2, 2), 1e6), "small.weight": torch.full((2, 2), 0.5)}
    assert notes_on(state) == ()
    notes = notes_on(state, "float16")
    assert notes == (
        "big.weight is in the checkpoint as float32 and rounded to float16",
        "big.weight is not finite in float16 (NaN or infinity)",
    )


def test_a_module_of_the_users_stays_as_it_is(tmp_path: Path) -> None:
    module = nn.Linear(8, 4).half().eval()
    bundle = exported(
        module,
        tmp_path,
        "torchscript",
        inputs={"x": "float32[batch, 8]"},
        dims={"batch": "1..3"},
        set=("export.dtype=float32",),
    )
    assert verdict_of(bundle).passed
    assert module.weight.dtype == torch.float16


@pytest.mark.parametrize(
    ("module", "words"),
    [
        pytest.param(
            nn.Linear(8, 8), ["weights are float16", "declare its float inputs as float16"], id="inputs"
        ),
        pytest.param(nn.Softmax2d(), ["does not run"], id="another-fault"),
    ],
)
def test_what_half_precision_asks_for_is_told(module: nn.Module, words: list[str], tmp_path: Path) -> None:
    with pytest.raises(JobError) as caught:
        exported(module.half(), tmp_path, "auto", inputs={"x": "float32[batch, 8]"}, dims={"batch": "1..3"})
    for word in words:
        assert word in str(caught.value)


class Inverse(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        inverse: Tensor = torch.linalg.inv(x)
        return inverse


@HALVES
def test_an_operator_without_a_kernel_in_half_is_told(dtype: str, tmp_path: Path) -> None:
    with pytest.raises(OnnxproofError, match=r'no kernel in half precision.*export\.dtype = "float32"'):
        exported(Inverse(), tmp_path, "auto", inputs={"x": f"{dtype}[batch, 4, 4]"}, dims={"batch": "1..3"})


@HALVES
def test_a_rounding_of_a_half_is_no_other_way_through_the_code(dtype: str) -> None:
    outputs = (TensorSpec("y", dtype, (9,)),)
    contract = Contract("n", "raw", (), outputs, (), (), None, (), Unread())
    values = torch.rand(9).to(getattr(torch, dtype))
    beside = values + torch.finfo(values.dtype).eps
    assert answer_alike(contract, (), (values,), (beside,), dtype)
    assert not answer_alike(contract, (), (values,), (-values,), dtype)


def test_a_classifier_in_half_decides_in_float32(tmp_path: Path) -> None:
    torch.manual_seed(0)
    last = nn.Linear(16, 3)
    nn.init.normal_(last.weight)
    network = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), last).half().eval()
    bundle = onnxproof.export_module(
        network,
        inputs={"x": "float16[batch, 8] in -1..1"},
        dims={"batch": "1..3"},
        task="classification",
        classes=("a", "b", "c"),
        out=tmp_path / "bundle",
        set=("validate.effort=quick", "export.exporter=torchscript"),
    )
    verdict = verdict_of(bundle)
    assert verdict.passed, [check for check in verdict.checks if check.status != "pass"]
    assert function_ratio(verdict) < 1e-9
    assert {spec.dtype for spec in bundle.manifest.contract.outputs} == {"float32"}
    x = np.linspace(-1, 1, 8).astype(np.float16)
    prediction = onnxproof.load(bundle.path).predict(inputs={"x": x})
    with torch.no_grad():
        wanted = torch.softmax(network(torch.from_numpy(x)[None]).float()[0], 0)
    assert sorted(prediction.to_json()["probs"]) == pytest.approx(sorted(wanted.tolist()), abs=2e-3)


def test_the_nodes_of_a_file_in_half_are_within_their_bounds(tmp_path: Path) -> None:
    module = block(Rms, "float16")
    bundle = exported(module, tmp_path, "torchscript", inputs={"x": f"float16{STEPS}"})
    file, contract = bundle.path / "model.onnx", bundle.manifest.contract
    leg = OrtLeg(file, ["CPUExecutionProvider"], 1)
    graph = ExactGraph(file, own=["float16"])
    floor = verdict_of(bundle).facts[0].fields[0].floor_max
    arrays = {"x": draw(contract.inputs[0], {"batch": 2, "time": 5}, np.random.default_rng(0))}
    settings = SessionSettings(threads=1, in_turn=True)
    asked = ask_nodes(leg, file, arrays, graph, settings, [(contract.fields[0], 5 * floor)])
    assert asked.within, asked.reason
    assert asked.nodes > 20


def test_bisect_names_the_wrong_weight_of_a_file_in_half(tmp_path: Path) -> None:
    module = block(lambda: nn.LayerNorm(32), "float16")
    bundle = exported(module, tmp_path, "torchscript", inputs={"x": f"float16{STEPS}"})
    model = onnx.load(bundle.path / "model.onnx")
    weight = next(one for one in model.graph.initializer if list(one.dims) == [32, 96])
    weight.CopyFrom(numpy_helper.from_array(plus_units(numpy_helper.to_array(weight)), weight.name))
    onnx.save(model, tmp_path / "damaged.onnx")
    found = onnxproof.bisect(
        bundle.path, model=module, onnx=tmp_path / "damaged.onnx", out=tmp_path / "bisect"
    )
    (told,) = found.to_json()["constants"]
    assert "qkv.weight" in told
    assert "1 of 3072 numbers" in told


def test_a_family_that_is_exported_in_float32_says_so(tmp_path: Path) -> None:
    torch.save(squeezenet1_1(weights=None).half().state_dict(), tmp_path / "weights.pth")
    table = {"family": "torchvision_classifier", "variant": "squeezenet1_1", "checkpoint": "weights.pth"}
    pictures = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
    document = {"name": "half", "model": table, "wrapper": pictures, "export": {"dtype": "float16"}}
    asked = Job.from_document(document, folder=tmp_path, source="test")
    with pytest.raises(JobError, match=r'dtype = "float16": the family torchvision_classifier is exported'):
        build_model(asked)
    wide = asked.model_copy(update={"export": asked.export.model_copy(update={"dtype": "float32"})})
    assert held_in(build_model(wide)[0].module) == "float32"
