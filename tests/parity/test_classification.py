"""Classifiers: healthy exports pass down to ranks and label sets, planted damage fails, names come out."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torchvision
from onnx import numpy_helper
from PIL import Image

import onnxproof
from onnxproof.errors import CheckpointError, JobError, RequestError
from onnxproof.export.make import make_graph
from onnxproof.export.model import build_model
from onnxproof.job import Job, load_job
from onnxproof.runtime.tasks.classification import softmax
from onnxproof.runtime.tasks.multilabel import sigmoid
from onnxproof.steps.planning import plan_of
from onnxproof.validate.legs.onnx_runtime import OrtLeg
from onnxproof.validate.verdict import Check, Verdict
from onnxproof.validate.verify import validate_files
from onnxproof.wrappers.family import WrappedModel

CONFIGS = Path(__file__).parents[2] / "configs"
CLASSIFIER, MULTILABEL = CONFIGS / "digits-classifier.toml", CONFIGS / "digits-multilabel.toml"
PICTURES = {
    job: sorted((CONFIGS.parent / "examples" / "digits" / kind / "images").glob("*.png"))
    for job, kind in ((CLASSIFIER, "classifier"), (MULTILABEL, "multilabel"))
}
FAST = ("export.exporter=torchscript", "validate.effort=quick", "validate.threads=1")
LOGITS, PROBABILITIES = "wrapper.decode=none", "wrapper.decode=probabilities"
IMAGENET = "wrapper.mean=[0.485, 0.456, 0.406]", "wrapper.std=[0.229, 0.224, 0.225]"


def status(verdict: Verdict) -> list[tuple[str, str]]:
    return [(check.name, check.reason) for check in verdict.checks if check.status != "pass"]


@pytest.mark.parametrize(
    ("job", "exporter"),
    [
        pytest.param(CLASSIFIER, "torch.export", id="digits-classifier-torch.export"),
        pytest.param(MULTILABEL, "torchscript", id="digits-multilabel-torchscript", marks=pytest.mark.slow),
        pytest.param(CLASSIFIER, "torchscript", id="digits-classifier-torchscript", marks=pytest.mark.slow),
        pytest.param(MULTILABEL, "torch.export", id="digits-multilabel-torch.export", marks=pytest.mark.slow),
    ],
)
def test_the_example_exports_and_passes(job: Path, exporter: str, tmp_path: Path) -> None:
    bundle = onnxproof.export(job, out=tmp_path, set=(*FAST, f"export.exporter={exporter}"))
    assert bundle.verdict is not None
    assert bundle.verdict.passed, status(bundle.verdict)
    assert bundle.manifest.exporter == exporter
    decisions = bundle.verdict.to_json()["decisions"]
    assert decisions["matched"] > 5
    assert decisions["defects"] == 0
    assert len(list((bundle.path / "pictures").iterdir())) == 4


@dataclass(frozen=True)
class Export:
    """A healthy export: the job, the model, and the graph that damage is done to."""

    job: Job
    model: WrappedModel
    proto: onnx.ModelProto

    def verdict(self, proto: onnx.ModelProto, folder: Path) -> Verdict:
        file = folder / "model.onnx"
        onnx.save(proto, file)
        return validate_files(self.model, (file,), plan_of(self.job, self.model), opset=20)[0]

    def edited(self, edit: Callable[[onnx.GraphProto], None]) -> onnx.ModelProto:
        proto = onnx.ModelProto()
        proto.CopyFrom(self.proto)
        edit(proto.graph)
        return proto

    def run(self, folder: Path, pictures: Any) -> Any:
        file = folder / "run.onnx"
        onnx.save(self.proto, file)
        (answer,) = OrtLeg(file, self.job.validation.providers, 1).run({"input": pictures}).outputs.values()
        return answer


def make(job: Path, *overrides: str) -> Export:
    loaded = load_job(job, (*FAST, *overrides))
    model, _ = build_model(loaded)
    return Export(loaded, model, make_graph(loaded, model).proto)


@pytest.fixture(scope="module")
def ranked() -> Export:
    return make(CLASSIFIER)


@pytest.fixture(scope="module")
def softmaxed() -> Export:
    return make(CLASSIFIER, PROBABILITIES)


@pytest.fixture(scope="module")
def labelled() -> Export:
    return make(MULTILABEL, 'dims.height="96"', 'dims.width="96"')


def failed(verdict: Verdict) -> dict[str, Check]:
    assert verdict.status == "fail"
    return {check.name: check for check in verdict.checks if check.status == "fail"}


def head(graph: onnx.GraphProto) -> tuple[onnx.TensorProto, onnx.TensorProto]:
    """Weight and bias of the last layer."""
    gemm = [node for node in graph.node if node.op_type == "Gemm"][-1]
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    return tensors[gemm.input[1]], tensors[gemm.input[2]]


def rewrite(tensor: onnx.TensorProto, change: Callable[[Any], Any]) -> None:
    values = change(numpy_helper.to_array(tensor).copy())
    tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), tensor.name))


def moved_bias(graph: onnx.GraphProto) -> None:
    rewrite(head(graph)[1], lambda bias: bias + 40 * (np.arange(10) == 7))


def swapped_classes(graph: onnx.GraphProto) -> None:
    """As where the list of classes was sorted another way for export."""
    for tensor in head(graph):
        axis = list(tensor.dims).index(10)
        rewrite(tensor, partial(np.roll, shift=1, axis=axis))


@pytest.mark.first_case
@pytest.mark.parametrize("damage", [moved_bias, swapped_classes], ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("kind", ["ranked", "softmaxed", "labelled"])
def test_damage_that_changes_classes_is_a_defect(
    kind: str, damage: Callable[[onnx.GraphProto], None], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    export: Export = request.getfixturevalue(kind)
    found = failed(export.verdict(export.edited(damage), tmp_path))
    assert "defects on" in found["decisions"].reason
    assert "error bound" in found["decisions"].reason


@pytest.mark.slow
def test_a_bias_that_moves_no_class_fails_by_its_error(ranked: Export, tmp_path: Path) -> None:
    def nudge(graph: onnx.GraphProto) -> None:
        rewrite(head(graph)[1], lambda bias: bias + 1e-4 * (np.arange(10) == 7))

    found = failed(ranked.verdict(ranked.edited(nudge), tmp_path))
    assert "function" in found
    assert not any(name.startswith("ratio") for name in found)


@pytest.mark.slow
def test_a_softmax_over_the_batch_fails(softmaxed: Export, tmp_path: Path) -> None:
    def turn(graph: onnx.GraphProto) -> None:
        (node,) = (node for node in graph.node if node.op_type == "Softmax")
        node.attribute[0].i = 0

    assert {"function", "decisions"} <= set(failed(softmaxed.verdict(softmaxed.edited(turn), tmp_path)))


@pytest.mark.slow
def test_a_threshold_on_logits_fails(labelled: Export, tmp_path: Path) -> None:
    """The sigmoid is left out: 0.5 now cuts logits."""

    def leave_out(graph: onnx.GraphProto) -> None:
        (node,) = (node for node in graph.node if node.op_type == "Sigmoid")
        node.op_type = "Identity"

    found = failed(labelled.verdict(labelled.edited(leave_out), tmp_path))
    assert "ratio_max" in found


def test_what_the_graph_computes_is_what_numpy_computes(
    ranked: Export, softmaxed: Export, labelled: Export, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    pictures = random.uniform(0, 255, (3, 64, 64, 3)).astype(np.float32)
    logits, shares = ranked.run(tmp_path, pictures), softmaxed.run(tmp_path, pictures)
    np.testing.assert_allclose(softmax(logits), shares, rtol=1e-5, atol=1e-7)
    plain = make(MULTILABEL, LOGITS, 'dims.height="96"', 'dims.width="96"')
    pictures = random.uniform(0, 1, (3, 3, 96, 96)).astype(np.float32)
    np.testing.assert_allclose(
        sigmoid(plain.run(tmp_path, pictures)), labelled.run(tmp_path, pictures), rtol=1e-5, atol=1e-7
    )


@pytest.mark.first_case
@pytest.mark.parametrize("decode", ["none", "probabilities"])
@pytest.mark.parametrize("job", [CLASSIFIER, MULTILABEL], ids=lambda job: job.stem)
def test_predictions_tell_what_the_pictures_show(job: Path, decode: str, tmp_path: Path) -> None:
    overrides = (*FAST, f"wrapper.decode={decode}")
    bundle = onnxproof.export(job, out=tmp_path, set=overrides, validate=False)
    predictor = onnxproof.load(bundle.path)
    assert PICTURES[job]
    right = 0
    for picture in PICTURES[job]:
        answer = predictor.predict(picture).to_json()
        assert set(answer) == {"probs", "labels"}
        assert answer["labels"] == [str(digit) for digit in range(10)]
        shown = set(picture.stem.rpartition("-")[2].replace("none", ""))
        found = {name for name, share in zip(answer["labels"], answer["probs"], strict=True) if share > 0.5}
        right += shown == found
        if job is CLASSIFIER:
            assert sum(answer["probs"]) == pytest.approx(1, abs=1e-5)
    assert right >= 8  # of 12


@pytest.mark.slow
def test_a_lone_model_predicts_and_draws(tmp_path: Path) -> None:
    bundle = onnxproof.export(CLASSIFIER, out=tmp_path, set=FAST, validate=False)
    picture = PICTURES[CLASSIFIER][0]
    prediction = onnxproof.load(bundle.path / "model.onnx").predict(picture)
    drawn, original = prediction.draw(picture), Image.open(picture).convert("RGB")
    assert drawn.size == original.size
    assert (np.asarray(drawn) != np.asarray(original)).any()
    with pytest.raises(RequestError, match="score_threshold is not a setting of task classification"):
        onnxproof.load(bundle.path, settings={"score_threshold": 0.3})


def write_seeded(network: torch.nn.Module, folder: Path, name: str, classes: int) -> Path:
    """A checkpoint folder for a network that nobody trained, whose statistics fit its inputs."""
    folder.mkdir()
    with torch.no_grad():
        network.train()
        for _ in range(20):
            network(torch.randn(8, 3, 64, 64))
    torch.save(network.state_dict(), folder / f"{name}.pth")
    names = json.dumps([f"class {index}" for index in range(classes)])
    (folder / "seeded-classes.json").write_text(names, encoding="utf-8")
    return folder


def write_job(folder: Path, family: str, variant: str, *lines: str) -> Path:
    job = folder / "job.toml"
    job.write_text(
        f'name = "seeded"\n[model]\nfamily = "{family}"\nvariant = "{variant}"\ncheckpoint = "weights"\n'
        + "\n".join(lines),
        encoding="utf-8",
    )
    return job


SMALL = ("dims.height=64", "dims.width=64", "dims.batch=1..3", "predict.size=64")


@pytest.mark.slow
@pytest.mark.parametrize("task", ["classification", pytest.param("multilabel", marks=pytest.mark.long)])
def test_torchvisions_by_name(task: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = torchvision.models.resnet18(weights=None, num_classes=7)
    write_seeded(network, tmp_path / "weights", "resnet18-0123abcd", 7)
    job = write_job(tmp_path, "torchvision_classifier", "resnet18")
    overrides = (*FAST, *SMALL, *IMAGENET, f"model.task={task}")
    bundle = onnxproof.export(job, out=tmp_path / "dist", set=overrides)
    assert bundle.verdict is not None
    assert bundle.verdict.passed, status(bundle.verdict)
    assert bundle.verdict.to_json()["decisions"]["matched"] > 0
    assert bundle.manifest.contract.task == task
    assert [entry.name for entry in bundle.manifest.contract.classes] == [
        f"class {index}" for index in range(7)
    ]


@pytest.mark.slow
def test_timms_by_name(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    write_seeded(timm.create_model("resnet10t", num_classes=7), tmp_path / "weights", "resnet10t", 7)
    overrides = ("model.variant=resnet10t", f"model.checkpoint={tmp_path / 'weights'}", "predict.size=64")
    job = load_job(CONFIGS / "timm-classifier.toml", (*FAST, *SMALL, *overrides))
    bundle = onnxproof.export(job, out=tmp_path / "dist")
    assert bundle.verdict is not None
    assert bundle.verdict.passed, status(bundle.verdict)
    assert bundle.verdict.to_json()["decisions"]["matched"] > 0


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seeded")
    torch.manual_seed(0)
    write_seeded(torchvision.models.resnet18(weights=None, num_classes=3), folder / "weights", "resnet18", 3)
    return write_job(folder, "torchvision_classifier", "resnet18")


@pytest.mark.slow
def test_the_files_name_tells_the_variant_and_the_task_its_threshold(seeded: Path) -> None:
    job = load_job(seeded, (*IMAGENET, "model.task=multilabel"))
    table = job.model.model_copy(update={"variant": None})
    model, _ = build_model(job.model_copy(update={"model": table}))
    assert model.contract.reading.to_json() == {
        "decode": "none",
        "outputs": ["logits"],
        "score_threshold": 0.5,
    }
    assert [str(dim) for dim in model.contract.dims] == ["1..8", "224", "224"]


def test_the_order_of_a_checkpoints_tensors_says_nothing(tmp_path: Path) -> None:
    """safetensors sorts names, so that the last of a ResNet's is not its last layer's."""
    network = torchvision.models.resnet18(weights=None, num_classes=7)
    state = network.state_dict()
    (tmp_path / "weights").mkdir()
    torch.save({name: state[name] for name in sorted(state)}, tmp_path / "weights" / "resnet18.pth")
    job = write_job(tmp_path, "torchvision_classifier", "resnet18")
    for more in ((), ("model.kwargs.num_classes=7",)):
        model, _ = build_model(load_job(job, (*IMAGENET, *more)))
        assert len(model.contract.classes) == 7
    with pytest.raises(
        CheckpointError, match=r"has 7 classes \(fc.weight\), model.kwargs says num_classes = 8"
    ):
        build_model(load_job(job, (*IMAGENET, "model.kwargs.num_classes=8")))


def test_no_more_classes_are_ranked_than_there_are(seeded: Path) -> None:
    model, _ = build_model(load_job(seeded, IMAGENET))
    assert model.contract.reading.to_json() == {"decode": "none", "outputs": ["logits"], "top_k": 3}


@pytest.mark.parametrize(
    ("overrides", "error", "says"),
    [
        pytest.param(("model.variant=resnet81",), JobError, 'resnet81" is no classifier', id="no-such-name"),
        pytest.param(("model.task=detection",), JobError, "there are: classification, mult", id="task"),
        pytest.param(("wrapper.decode=packed",), JobError, "there are: none, probabilities", id="decode"),
        pytest.param(("dims.depth=3",), JobError, "dims.depth: the family", id="dims"),
        pytest.param(("model.variant=resnet34",), CheckpointError, "does not fit resnet34", id="weights"),
        pytest.param(("model.kwargs.wide=3",), JobError, "do not make a resnet18", id="kwargs"),
        pytest.param((), CheckpointError, "norm_stats.json", id="no-norm-stats"),
    ],
)
def test_what_does_not_fit_is_refused(
    seeded: Path, overrides: tuple[str, ...], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        build_model(load_job(seeded, overrides))


def test_a_checkpoint_is_needed(seeded: Path) -> None:
    job = load_job(seeded)
    without = job.model_copy(update={"model": job.model.model_copy(update={"checkpoint": None})})
    with pytest.raises(JobError, match=r"model\.checkpoint is missing"):
        build_model(without)


def test_as_many_names_as_classes(seeded: Path) -> None:
    names = seeded.parent / "weights" / "seeded-classes.json"
    text = names.read_text(encoding="utf-8")
    try:
        names.write_text('["cat", "dog"]', encoding="utf-8")
        with pytest.raises(CheckpointError, match="has 3 classes, the file of classes beside it names 2"):
            build_model(load_job(seeded, IMAGENET))
        names.write_text('{"cat": 1}', encoding="utf-8")
        with pytest.raises(CheckpointError, match="is no list of classes"):
            build_model(load_job(seeded, IMAGENET))
    finally:
        names.write_text(text, encoding="utf-8")
