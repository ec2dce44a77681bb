"""Any module: inputs by position and by name, nested outputs, several dtypes, models not written for this."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import onnxproof
from onnxproof.errors import JobError, RequestError
from onnxproof.job import Job
from onnxproof.pipeline import Bundle
from onnxproof.tensors import Dim, TensorSpec
from onnxproof.wrappers.module import FAMILY, flatten, wrap_module


class Pair(NamedTuple):
    first: Tensor
    second: Tensor


@dataclasses.dataclass
class Answer:
    logits: Tensor
    hidden: tuple[Tensor, ...]
    loss: None = None


ONE = torch.zeros(1)


@pytest.mark.parametrize(
    ("value", "names"),
    [
        pytest.param(ONE, ["output"], id="lone-tensor"),
        pytest.param((ONE,), ["output"], id="tuple-of-one"),
        pytest.param((ONE, ONE), ["output_0", "output_1"], id="tuple"),
        pytest.param({"out": ONE, "aux": [ONE, ONE]}, ["out", "aux_0", "aux_1"], id="dict-of-lists"),
        pytest.param(Answer(ONE, (ONE, ONE)), ["logits", "hidden_0", "hidden_1"], id="dataclass"),
        pytest.param(Pair(ONE, ONE), ["first", "second"], id="namedtuple"),
        pytest.param({"a": {"b": ONE}, "n": 3}, ["a_b"], id="nested-and-not-a-tensor"),
        pytest.param([], [], id="nothing"),
    ],
)
def test_outputs_get_stable_names(value: Any, names: list[str]) -> None:
    assert [name for name, _ in flatten(value)] == names


class TwoInputs(nn.Module):
    """A picture and a vector, and a keyword that turns the answer round: float, bool, int64 out."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.image = nn.Conv2d(3, 4, 3, padding=1)
        self.meta = nn.Linear(5, 4)

    def forward(self, image: Tensor, meta: Tensor, *, flag: Tensor | None = None) -> dict[str, Tensor]:
        logits: Tensor = self.image(image) + self.meta(meta)[:, :, None, None]
        if flag is not None:
            logits = torch.where(flag[:, None, None, None], logits, -logits)
        return {"logits": logits, "mask": logits[:, 0] > 100, "half": logits[:, :, ::2].mean(dim=1)}


TWO_INPUTS = {
    "image": "float32[batch, 3, height, width]",
    "meta": "float32[batch, 5] in -1..1",
    "flag": "bool[batch]",
}
TWO_DIMS: dict[str, str | int] = {"batch": "1..3", "height": "8..32", "width": "8..16"}


def specs(inputs: Mapping[str, str]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec.parse(name, text) for name, text in inputs.items())


def dims(sizes: Mapping[str, str | int]) -> tuple[Dim, ...]:
    return tuple(Dim.parse(name, text) for name, text in sizes.items())


def test_axes_are_named_after_what_they_follow() -> None:
    model = wrap_module(TwoInputs(), specs(TWO_INPUTS), dims(TWO_DIMS))
    assert {spec.name: str(spec) for spec in model.outputs} == {
        "logits": "float32[batch, 4, height, width]",
        "mask": "bool[batch, height, width]",
        "half": "float32[batch, half_axis_1, width]",
    }


def test_several_inputs_outputs_and_dtypes_pass(tmp_path: Path) -> None:
    bundle = onnxproof.export_module(TwoInputs(), inputs=TWO_INPUTS, dims=TWO_DIMS, out=tmp_path / "two")
    assert_passed(bundle)
    assert bundle.path == tmp_path / "two"
    assert onnxproof.validate(bundle.path, model=TwoInputs()).passed


def test_another_model_than_the_bundles_fails(tmp_path: Path) -> None:
    bundle = onnxproof.export_module(
        TwoInputs(), inputs=TWO_INPUTS, dims=TWO_DIMS, out=tmp_path / "two", validate=False
    )
    other = TwoInputs()
    with torch.no_grad():
        assert other.image.bias is not None
        other.image.bias += 0.01
    verdict = onnxproof.validate(bundle.path, model=other)
    assert verdict.status == "fail"
    assert {check.field for check in verdict.checks if check.status == "fail"} == {"logits", "half"}


def assert_passed(bundle: Bundle) -> None:
    assert bundle.verdict is not None
    assert bundle.verdict.passed, [check for check in bundle.verdict.checks if check.status != "pass"]


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.cells = kind(8, 16, batch_first=True)
        self.head = nn.Linear(16, 5)

    def forward(self, steps: Tensor) -> tuple[Tensor, Any]:
        answers, state = self.cells(steps)
        return self.head(answers), state


SEQUENCE: dict[str, str | int] = {"batch": "1..3", "time": "1..24"}


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_a_recurrent_network_reads_from_one_step_to_the_most(kind: Any, tmp_path: Path) -> None:
    inputs = {"steps": "float32[batch, time, 8] in -1..1"}
    bundle = onnxproof.export_module(Recurrent(kind), inputs=inputs, dims=SEQUENCE, out=tmp_path / "rnn")
    assert_passed(bundle)
    assert bundle.verdict is not None
    assert {1, 24} <= {case.sizes["time"] for case in bundle.verdict.cases}


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, steps: Tensor, attended: Tensor) -> Tensor:
        answer: Tensor = self.layers(steps, src_key_padding_mask=attended == 0)
        return answer * attended[..., None]


def test_a_transformer_with_a_padding_mask_passes(tmp_path: Path) -> None:
    inputs = {"steps": "float32[batch, time, 16] in -1..1", "attended": "int64[batch, time] as mask"}
    bundle = onnxproof.export_module(Encoder(), inputs=inputs, dims=SEQUENCE, out=tmp_path / "encoder")
    assert_passed(bundle)


def test_a_bert_from_a_config_passes(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128, vocab_size=1000
    )
    inputs = {"input_ids": "int64[batch, time] in 0..999", "attention_mask": "int64[batch, time] as mask"}
    bundle = onnxproof.export_module(
        transformers.BertModel(config),
        inputs=inputs,
        dims={"batch": "1..8", "time": "1..64"},
        out=tmp_path / "bert",
        overrides=["validate.effort=quick"],
    )
    assert_passed(bundle)
    assert [str(spec) for spec in bundle.manifest.outputs] == [
        "float32[batch, time, 64]",
        "float32[batch, 64]",
    ]


def test_torchvisions_segmenter_with_its_dict_passes(tmp_path: Path) -> None:
    import torchvision

    torch.manual_seed(0)
    network = torchvision.models.segmentation.lraspp_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=5
    )
    bundle = onnxproof.export_module(
        network,
        inputs={"input": "float32[batch, 3, height, width]"},
        dims={"batch": "1..2", "height": "64..128 step 32", "width": "64..128 step 32"},
        out=tmp_path / "segmenter",
        overrides=["validate.effort=quick"],
    )
    assert_passed(bundle)
    assert [(spec.name, str(spec)) for spec in bundle.manifest.outputs] == [
        ("out", "float32[batch, 5, height, width]")
    ]


BUILDER = """
import torch
from torch import nn

def build(width):
    return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 2))

number = 3
"""


def job(folder: Path, **model: Any) -> Job:
    (folder / "models.py").write_text(BUILDER)
    document = {
        "name": "mine",
        "model": {"family": "module", "builder": "models.py:build", "kwargs": {"width": 6}, **model},
        "inputs": {"x": "float32[batch, 4]"},
        "dims": {"batch": "1..4"},
    }
    return Job.from_document(document, folder=folder, source="test")


def test_a_job_names_a_builder_in_a_file_and_its_bundle_is_proved_again(tmp_path: Path) -> None:
    torch.manual_seed(0)
    request = job(tmp_path)
    trained = FAMILY.build(request, None).module
    torch.save(trained.module.state_dict(), tmp_path / "trained.pth")  # type: ignore[union-attr]
    bundle = onnxproof.export(job(tmp_path, checkpoint="trained.pth"), out=tmp_path / "dist")
    assert_passed(bundle)
    assert onnxproof.validate(bundle.path).passed


@pytest.mark.parametrize(
    ("builder", "says"),
    [
        pytest.param("models.py", 'expected "package.module:callable"', id="no-colon"),
        pytest.param("nowhere.py:build", "does not exist", id="no-file"),
        pytest.param("no_such_package:build", "No module named", id="no-package"),
        pytest.param("models.py:make", "has no make", id="no-attribute"),
        pytest.param("models.py:number", "is a int, not a callable", id="no-callable"),
        pytest.param(None, "model.builder is missing", id="none"),
    ],
)
def test_a_builder_that_is_none_is_refused(tmp_path: Path, builder: str | None, says: str) -> None:
    with pytest.raises(JobError, match=says):
        FAMILY.build(job(tmp_path, builder=builder), None)


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        pytest.param({}, "is empty", id="no-inputs"),
        pytest.param(
            {"x": "float32[rows, 4]"}, "the axis rows of input x has no size", id="axis-without-dim"
        ),
        pytest.param({"x": "float32[batch, 5]"}, "does not run on the declared inputs", id="wrong-shape"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(inputs: dict[str, str], says: str) -> None:
    with pytest.raises(RequestError, match=says):
        wrap_module(nn.Linear(4, 2), specs(inputs), dims({"batch": "1..4"}))


def test_pictures_for_a_model_without_one_are_refused_before_capture(tmp_path: Path) -> None:
    (tmp_path / "one.png").write_bytes(b"")
    request = job(tmp_path).model_copy()
    document = {**request.to_json(), "validate": {"images": "*.png"}}
    with pytest.raises(JobError, match="no picture among its inputs"):
        onnxproof.export(Job.from_document(document, folder=tmp_path, source="test"), out=tmp_path / "dist")


class TwoInputSegmenter(TwoInputs):
    """Logits of four classes, spread widely enough that pixels have a class, and something beside them."""

    def forward(self, image: Tensor, meta: Tensor, *, flag: Tensor | None = None) -> dict[str, Tensor]:
        logits = super().forward(image, meta)["logits"] * 4
        return {"logits": logits, "pooled": logits.mean(dim=(2, 3))}


SEGMENTER_INPUTS = {name: TWO_INPUTS[name] for name in ("image", "meta")}


def test_a_segmenter_with_two_inputs_gives_a_mask_and_a_confidence_map(tmp_path: Path) -> None:
    bundle = onnxproof.export_module(
        TwoInputSegmenter(),
        inputs=SEGMENTER_INPUTS,
        dims=TWO_DIMS,
        task="segmentation",
        out=tmp_path / "segmenter",
    )
    assert_passed(bundle)
    assert bundle.verdict is not None
    assert {spec.name: str(spec) for spec in bundle.manifest.outputs} == {
        "mask": "int64[batch, height, width]",
        "confidence": "float32[batch, height, width]",
    }
    assert bundle.verdict.to_json()["decisions"]["matched"] > 1000


def test_a_segmenter_whose_classes_are_swapped_fails_by_its_decisions(tmp_path: Path) -> None:
    bundle = onnxproof.export_module(
        TwoInputSegmenter(),
        inputs=SEGMENTER_INPUTS,
        dims=TWO_DIMS,
        task="segmentation",
        out=tmp_path / "segmenter",
        validate=False,
    )
    other = TwoInputSegmenter()
    with torch.no_grad():
        for tensor in (other.image.weight, other.image.bias, other.meta.weight, other.meta.bias):
            assert tensor is not None
            tensor.copy_(tensor[[1, 0, 2, 3]])
    verdict = onnxproof.validate(bundle.path, model=other)
    failed = {(check.name, check.field) for check in verdict.checks if check.status == "fail"}
    assert failed == {("flips", "mask"), ("decisions", None)}


@pytest.mark.parametrize(
    ("module", "says"),
    [
        pytest.param(nn.Conv2d(3, 4, 3), None, id="logits-alone"),
        pytest.param(nn.Flatten(), "needs one output of logits", id="no-logits"),
    ],
)
def test_the_task_segmentation_looks_for_logits(module: nn.Module, says: str | None) -> None:
    inputs = specs({"image": "float32[batch, 3, height, width]"})
    if says is None:
        assert wrap_module(module, inputs, dims(TWO_DIMS), task="segmentation").outputs[0].name == "mask"
    else:
        with pytest.raises(JobError, match=says):
            wrap_module(module, inputs, dims(TWO_DIMS), task="segmentation")
