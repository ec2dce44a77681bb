"""Sequences through the family module: a trained reader, padding, lengths, damage, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

import onnxproof
from onnxproof.errors import JobError
from onnxproof.export.model import build_model
from onnxproof.job import load_job
from onnxproof.pipeline import Bundle
from onnxproof.tensors import Dim, TensorSpec
from onnxproof.wrappers.builder import load_builder
from onnxproof.wrappers.wrap import wrap_module

ROOT = Path(__file__).parents[2]
READER = ROOT / "configs" / "digits-reader.toml"
STRIPS = sorted((ROOT / "examples" / "digits" / "reader" / "strips").glob("*.npy"))
FAST = ("validate.effort=quick", "validate.threads=1")
TRACED = "export.exporter=torchscript"

STEPS = {"steps": "float32[batch, time, 6] in -1..1"}
MASKED = {**STEPS, "attended": "int64[batch, time] as mask"}
DIMS: dict[str, str | int] = {"batch": "1..3", "time": "1..24"}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return onnxproof.export(READER, out=tmp_path_factory.mktemp("dist"), set=FAST)


def decisions(bundle: Bundle) -> dict[str, int]:
    assert bundle.verdict is not None
    assert bundle.verdict.passed, [check for check in bundle.verdict.checks if check.status != "pass"]
    counts: dict[str, int] = bundle.verdict.to_json()["decisions"]
    return counts


@pytest.mark.slow
def test_the_trained_reader_passes(bundle: Bundle) -> None:
    counts = decisions(bundle)
    assert bundle.verdict is not None
    counted = sum(case.sizes["batch"] * case.sizes["time"] for case in bundle.verdict.cases)
    assert counts["matched"] + counts["ties"] == counted
    assert counts["defects"] == 0
    assert {1, 128} <= {case.sizes["time"] for case in bundle.verdict.cases}
    assert bundle.manifest.contract.reading.to_json() == {
        "decode": "none",
        "outputs": ["logits"],
        "blank": 10,
    }
    assert [entry.name for entry in bundle.manifest.contract.classes] == [*"0123456789", "blank"]


@pytest.mark.slow
def test_a_recurrence_that_torch_export_cannot_follow_is_said(bundle: Bundle) -> None:
    assert bundle.manifest.exporter == "torchscript"
    assert any("torch.export could not capture" in note for note in bundle.notes)


@pytest.mark.slow
def test_held_out_strips_are_read(bundle: Bundle) -> None:
    predictor = onnxproof.load(bundle.path / "model.onnx")
    assert len(STRIPS) == 12
    right = 0
    for strip in STRIPS:
        answer = predictor.predict(inputs={"features": np.load(strip)}).to_json()
        wanted = strip.stem.partition("-reads-")[2]
        right += answer["text"] == wanted
        assert answer["labels"] == list(answer["text"])
        assert answer["steps"] == sorted(answer["steps"])
        assert all(0 < share <= 1 for share in answer["confidence"])
        assert answer["text"] == wanted or min(answer["confidence"]) < 0.9, "a mistake that it is sure of"
    assert right >= 9  # of 12


def rewritten(bundle: Bundle, folder: Path, name: str, change: Any) -> Path:
    """The bundle's model with the initializer that has ``name`` in its name changed."""
    proto = onnx.load(bundle.path / "model.onnx")
    (tensor,) = (entry for entry in proto.graph.initializer if name in entry.name)
    values = change(numpy_helper.to_array(tensor).copy())
    tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), tensor.name))
    file = folder / "model.onnx"
    onnx.save(proto, file)
    return file


def scale_one(values: Any) -> Any:
    """The largest weight times 1.01."""
    largest = np.unravel_index(np.abs(values).argmax(), values.shape)
    values[largest] *= np.float32(1.01)
    return values


@pytest.mark.slow
def test_one_weight_scaled_fails(bundle: Bundle, tmp_path: Path) -> None:
    verdict = onnxproof.validate(
        bundle.path, onnx=rewritten(bundle, tmp_path, "columns.weight", scale_one), trust=True
    )
    assert verdict.status == "fail"
    assert "function" in {check.name for check in verdict.checks if check.status == "fail"}


@pytest.mark.slow
def test_classes_in_another_order_are_defects(bundle: Bundle, tmp_path: Path) -> None:
    # The last layer's weights, [features, classes].
    file = rewritten(bundle, tmp_path, "onnx::MatMul", lambda values: np.roll(values, 1, -1))
    verdict = onnxproof.validate(bundle.path, onnx=file, trust=True)
    (check,) = (check for check in verdict.checks if check.name == "decisions")
    assert check.status == "fail"
    assert "now class" in check.reason
    assert "error bound" in check.reason


class Attending(nn.Module):
    """Each step beside the mean of those that the mask leaves. ``tell``: what comes beside the logits."""

    blank = 4

    def __init__(self, tell: str = "nothing") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tell = tell
        self.widen = nn.Linear(12, 16)
        self.head = nn.Linear(16, 5)

    def forward(self, steps: Tensor, attended: Tensor) -> dict[str, Tensor]:
        kept = attended[..., None].to(steps.dtype)
        mean = (steps * kept).sum(dim=1, keepdim=True) / kept.sum(dim=1, keepdim=True)
        read = torch.tanh(self.widen(torch.cat((steps, mean.expand_as(steps)), dim=2)))
        answer = {"hidden": read, "logits": 4 * self.head(read)}
        if self.tell == "lengths":
            answer["lengths"] = attended.sum(dim=1)
        if self.tell == "wrong lengths":
            answer["lengths"] = (attended.sum(dim=1) + 1) // 2
        return answer


@pytest.mark.parametrize("tell", ["nothing", "lengths"])
def test_only_what_the_mask_leaves_is_decided_on(tell: str, tmp_path: Path) -> None:
    bundle = onnxproof.export_module(
        Attending(tell),
        inputs=MASKED,
        dims=DIMS,
        task="sequence",
        out=tmp_path / "attending",
        set=(*FAST, TRACED),
    )
    counts = decisions(bundle)
    assert bundle.verdict is not None
    sizes = [case.sizes for case in bundle.verdict.cases]
    assert 0 < counts["matched"] + counts["ties"] < sum(size["batch"] * size["time"] for size in sizes)
    assert {spec.name: str(spec) for spec in bundle.manifest.contract.outputs} == {
        "logits": "float32[batch, time, 5]",
        "lengths": "int64[batch]",
    }
    verdict = onnxproof.validate(bundle.path, model=Attending("wrong lengths"))
    failed = {(check.name, check.field) for check in verdict.checks if check.status == "fail"}
    assert failed == {("flips", "length"), ("decisions", None)}


def test_predict_reads_as_far_as_the_mask(tmp_path: Path) -> None:
    bundle = onnxproof.export_module(
        Attending(),
        inputs=MASKED,
        dims=DIMS,
        task="sequence",
        out=tmp_path / "attending",
        set=(TRACED,),
        validate=False,
    )
    predictor = onnxproof.load(bundle.path)
    steps = np.random.default_rng(0).uniform(-1, 1, (1, 9, 6)).astype(np.float32)
    counted = np.array([[1, 1, 1, 1, 0, 0, 0, 0, 0]])
    short = predictor.predict(inputs={"steps": steps, "attended": counted})
    alone = predictor.predict(inputs={"steps": steps[:, :4], "attended": counted[:, :4]})
    assert len(short.decisions.steps) == 4
    np.testing.assert_array_equal(short.decisions.steps, alone.decisions.steps)


@pytest.mark.slow
def test_the_examples_encoder_passes_with_seeded_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = load_builder("examples/digits/reader.py:build_encoder", ROOT)()
    bundle = onnxproof.export_module(
        network,
        inputs={"features": "float32[batch, time, 8] in 0..1", "mask": "bool[batch, time] as mask"},
        dims={"batch": "1..4", "time": "1..64"},
        task="sequence",
        out=tmp_path / "encoder",
        set=FAST,
    )
    assert decisions(bundle)["matched"] > 0
    assert bundle.manifest.exporter == "torch.export"


class Labeller(nn.Module):
    """Any outputs for sequences [batch, time, 6], with an attribute ``blank`` of any kind."""

    def __init__(self, answer: Any, blank: Any = None) -> None:
        super().__init__()
        self.answer = answer
        self.blank = blank

    def forward(self, steps: Tensor) -> Any:
        return self.answer(steps)


def specs(inputs: dict[str, str]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec.parse(name, text) for name, text in inputs.items())


def wrap(module: nn.Module, inputs: dict[str, str] = STEPS, decode: str = "auto") -> Any:
    dims = tuple(Dim.parse(name, text) for name, text in DIMS.items())
    return wrap_module(module, specs(inputs), dims, task="sequence", decode=decode)


def test_a_module_without_a_blank_labels_each_step() -> None:
    model = wrap(nn.Linear(6, 3))
    assert model.contract.reading.to_json() == {"decode": "none", "outputs": ["logits"], "blank": None}
    assert [str(spec) for spec in model.contract.outputs] == ["float32[batch, time, 3]"]


class Strided(nn.Module):
    """Logits of half as many steps as the mask has."""

    def forward(self, steps: Tensor, attended: Tensor) -> Any:
        return steps[:, ::2]


@pytest.mark.parametrize(
    ("module", "inputs", "says"),
    [
        pytest.param(Labeller(lambda x: x.mean(dim=1)), STEPS, "needs one output of logits", id="no-time"),
        pytest.param(Labeller(lambda x: (x, x)), STEPS, "needs one output of logits", id="two-of-a-kind"),
        pytest.param(Labeller(lambda x: x.transpose(1, 2)), STEPS, "needs one output", id="classes-dynamic"),
        pytest.param(Labeller(lambda x: x, blank=6), STEPS, "blank is 6; expected", id="blank-too-large"),
        pytest.param(Labeller(lambda x: x, blank=True), STEPS, "blank is True", id="blank-no-index"),
        pytest.param(
            Labeller(lambda x: {"logits": x, "lengths": x.sum(dim=(1, 2))}),
            STEPS,
            r"lengths is float32\[batch\]; expected int64",
            id="lengths-not-whole",
        ),
        pytest.param(
            Strided(), MASKED, "the lengths of the sequences are not known", id="mask-of-another-length"
        ),
    ],
)
def test_what_does_not_fit_the_task_is_refused(module: nn.Module, inputs: dict[str, str], says: str) -> None:
    with pytest.raises(JobError, match=says):
        wrap(module, inputs)


def test_a_decoding_of_another_task_is_refused() -> None:
    with pytest.raises(JobError, match="not for the task sequence; there is: none"):
        wrap(nn.Linear(6, 3), decode="mask")


def test_as_many_names_as_classes_are_needed() -> None:
    job = load_job(READER, ('model.classes=["a", "b"]',))
    with pytest.raises(JobError, match="2 classes are named"):
        build_model(job)
