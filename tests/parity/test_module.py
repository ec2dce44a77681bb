"""Any module: inputs by position and by name, nested outputs, several dtypes, pictures beside arrays, models
not written for this."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import modules
import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from PIL import Image
from torch import Tensor, nn

import onnxproof
from onnxproof.errors import ExportError, JobError, RequestError
from onnxproof.job import Job
from onnxproof.pipeline import Bundle
from onnxproof.runtime import prepare
from onnxproof.tensors import Dim, TensorSpec
from onnxproof.wrappers.families.module import FAMILY
from onnxproof.wrappers.flat import flatten
from onnxproof.wrappers.folder import name_classes
from onnxproof.wrappers.wrap import wrap_for_job, wrap_module

CONFIGS = Path(__file__).parents[2] / "configs"
EITHER_EXPORTER = pytest.mark.parametrize(
    "exporter", [pytest.param("torch.export", marks=pytest.mark.slow), "torchscript"]
)
"""For what both exporters are given alike; torchscript takes a third of the time."""


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
    assert {spec.name: str(spec) for spec in model.contract.outputs} == {
        "logits": "float32[batch, 4, height, width]",
        "mask": "bool[batch, height, width]",
        "half": "float32[batch, half_axis_1, width]",
    }


def test_several_inputs_outputs_and_dtypes_pass(tmp_path: Path) -> None:
    bundle = onnxproof.export_module(TwoInputs(), inputs=TWO_INPUTS, dims=TWO_DIMS, out=tmp_path / "two")
    assert_passed(bundle)
    assert bundle.path == tmp_path / "two"
    assert onnxproof.validate(bundle.path, model=TwoInputs()).passed


def test_a_module_that_is_trained_goes_on_to_be(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.Dropout(), nn.BatchNorm1d(2).eval())
    onnxproof.export_module(
        module, inputs={"x": "float32[n, 2] in 0..1"}, dims={"n": "1..4"}, out=tmp_path / "b", validate=False
    )
    assert [part.training for part in module.modules()] == [True, True, True, False]


@pytest.mark.slow
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


@pytest.mark.first_case
@pytest.mark.parametrize("kind", [pytest.param(nn.LSTM, marks=pytest.mark.slow), nn.GRU])
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


@pytest.mark.slow
def test_a_transformer_with_a_padding_mask_passes(tmp_path: Path) -> None:
    inputs = {"steps": "float32[batch, time, 16] in -1..1", "attended": "int64[batch, time] as mask"}
    bundle = onnxproof.export_module(Encoder(), inputs=inputs, dims=SEQUENCE, out=tmp_path / "encoder")
    assert_passed(bundle)


@pytest.mark.slow
def test_a_bert_from_a_config_passes(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    bundle = onnxproof.export(CONFIGS / "module-bert.toml", out=tmp_path, set=["validate.effort=quick"])
    assert_passed(bundle)
    assert [str(spec) for spec in bundle.manifest.contract.outputs] == [
        "float32[batch, time, 64]",
        "float32[batch, 64]",
    ]


def test_a_bert_that_classifies_decides_on_token_ids(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        vocab_size=100,
        num_labels=3,
        initializer_range=0.5,
    )
    network = transformers.BertForSequenceClassification(config).eval()
    bundle = onnxproof.export_module(
        network,
        inputs={"input_ids": "int64[batch, time] in 0..99", "attention_mask": "int64[batch, time] as mask"},
        dims={"batch": "1..4", "time": "1..16"},
        task="classification",
        classes=("against", "neither", "for"),
        out=tmp_path / "bert",
        set=["validate.effort=quick", "export.exporter=torchscript"],
    )
    assert_passed(bundle)
    decided(bundle)
    assert onnxproof.selftest(bundle.path, threads=1).passed
    ids = np.array([5, 17, 3, 99])
    prediction = onnxproof.load(bundle.path).predict(
        inputs={"input_ids": ids, "attention_mask": np.ones_like(ids)}
    )
    with torch.no_grad():
        wanted = torch.softmax(network(torch.from_numpy(ids[None])).logits[0], dim=0)
    assert prediction.to_json() == {
        "labels": ["against", "neither", "for"],
        "probs": pytest.approx(wanted.tolist(), abs=1e-6),
    }


def decided(bundle: Bundle) -> int:
    """How many decisions of PyTorch's the file took too; there must be some."""
    assert bundle.verdict is not None
    matched: int = bundle.verdict.to_json()["decisions"]["matched"]
    assert matched > 0
    return matched


def calibrate(network: nn.Module, pictures: Tensor) -> None:
    """Give batch norms the statistics of pictures, without which an untrained network answers noise."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean over all batches
    with torch.no_grad():
        network.train()(pictures)
    network.eval()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of coloured noise, 96 by 64 pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    file = tmp_path_factory.mktemp("scene") / "scene.png"
    Image.fromarray(pixels).resize((96, 64)).save(file)
    return file


@pytest.mark.long("test_torchvisions_segmenter_with_its_dict_passes")
def test_torchvisions_deeplab_with_its_two_outputs_passes(scene: Path, tmp_path: Path) -> None:
    network = modules.deeplabv3(4)
    calibrate(network, torch.rand(4, 3, 64, 64))
    assert list(network(torch.rand(1, 3, 32, 32))) == ["out", "aux"]
    bundle = onnxproof.export(
        CONFIGS / "module-deeplabv3.toml", out=tmp_path, set=of_the_user(network, tmp_path)
    )
    assert_passed(bundle)
    assert decided(bundle) > 10_000
    prediction = onnxproof.load(bundle.path).predict(scene)
    assert prediction.decisions.labels.shape == (64, 96)
    assert set(prediction.to_json()["shares"]) <= {"sky", "sea", "land", "road"}


def of_the_user(network: nn.Module, folder: Path) -> list[str]:
    """The network's weights in a file, and what makes a job for them small."""
    torch.save(network.state_dict(), folder / "weights.pth")
    return [
        f"model.checkpoint={folder / 'weights.pth'}",
        "dims.batch=1..2",
        'dims.height="64..96 step 32"',
        'dims.width="64..96 step 32"',
        "validate.effort=quick",
        "export.exporter=torchscript",
        "export.simplify=none",
        "predict.size=64",
    ]


@pytest.mark.slow
def test_a_detector_of_ultralytics_from_its_yaml_passes(
    scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("YOLO_OFFLINE", "true")
    for owner, name in ((torch, "save"), (Image, "open")):
        monkeypatch.setattr(owner, name, getattr(owner, name))  # undoes what importing it replaces
    with np.printoptions():
        pytest.importorskip("ultralytics.nn.tasks")
    module = modules.ultralytics(num_classes=4)
    network: Any = module.network
    head = network.model[-1]
    for layers, spread, bias in ((head.cv2, 0.3, 0.0), (head.cv3, 0.1, -1.0)):
        for branch in layers:
            nn.init.normal_(branch[-1].weight, std=spread)
            nn.init.constant_(branch[-1].bias, bias)
    calibrate(network, torch.rand(8, 3, 64, 64))
    bundle = onnxproof.export(
        CONFIGS / "module-ultralytics.toml", out=tmp_path, set=of_the_user(module, tmp_path)
    )
    assert_passed(bundle)
    assert [str(spec) for spec in bundle.manifest.contract.outputs] == [
        "float32[batch, boxes_axis_1, 4]",
        "float32[batch, scores_axis_1, 4]",
    ]
    assert decided(bundle) > 50
    assert_detects_as(module, bundle, scene, {})


def assert_detects_as(
    module: nn.Module, bundle: Bundle, picture: Path, inputs: Mapping[str, np.ndarray[Any, Any]]
) -> None:
    """Each box of the bundle's prediction is one of PyTorch's above the threshold, of the same class."""
    preprocess = bundle.manifest.contract.preprocess
    assert preprocess is not None
    array, transform = prepare(picture, preprocess)
    prediction = onnxproof.load(bundle.path).predict(picture, inputs)
    with torch.no_grad():
        wanted = module(
            torch.from_numpy(array), *(torch.from_numpy(value[None]) for value in inputs.values())
        )
    scores, labels = (values.numpy() for values in wanted["scores"][0].max(dim=-1))
    boxes = transform.restore(wanted["boxes"][0].numpy())
    found = prediction.decisions
    assert len(found) > 0
    for box, score, label in zip(found.boxes, found.scores, found.labels, strict=True):
        near = (np.abs(boxes - box).max(axis=1) <= 1e-2) & (np.abs(scores - score) <= 1e-4)
        assert label in labels[near], (box, score, label)
    assert {entry["label"] for entry in prediction.to_json()["boxes"]} <= {
        entry.name for entry in bundle.manifest.contract.classes
    }


class Finder(nn.Module):
    """A detector that is told what to look for: one box of about 16 pixels a cell of 8, and of three
    classes the scores, from a picture [n, 3, lines, columns] in 0..1 and a query [n, 5]."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.look = nn.Conv2d(3, 16, 8, stride=8)
        self.ask = nn.Linear(5, 16)
        self.boxes = nn.Conv2d(16, 4, 1)
        self.scores = nn.Conv2d(16, 3, 1)
        nn.init.normal_(self.scores.weight)

    def forward(self, picture: Tensor, query: Tensor) -> dict[str, Tensor]:
        seen = torch.tanh(4 * self.look(picture) + self.ask(query)[:, :, None, None])
        scores = torch.sigmoid(self.scores(seen)).flatten(2).transpose(1, 2)
        rows = torch.arange(seen.shape[2], dtype=seen.dtype, device=seen.device) * 8 + 4
        columns = torch.arange(seen.shape[3], dtype=seen.dtype, device=seen.device) * 8 + 4
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        centres = torch.stack((x - 8, y - 8, x + 8, y + 8)).flatten(1).transpose(0, 1)
        boxes = centres + 4 * torch.tanh(self.boxes(seen)).flatten(2).transpose(1, 2)
        return {"scores": scores, "boxes": boxes, "seen": seen.mean(dim=(2, 3))}


FINDER_INPUTS = {"picture": "float32[n, 3, lines, columns] in 0..1", "query": "float32[n, 5] in -1..1"}
FINDER_DIMS: dict[str, str | int] = {"n": "1..3", "lines": "32..64 step 8", "columns": "32..96 step 8"}
QUERY = np.array([0.5, -1, 0.25, 1, 0], np.float32)


def test_a_detector_with_a_picture_and_a_vector_decides_on_both(scene: Path, tmp_path: Path) -> None:
    module = Finder().eval()
    bundle = onnxproof.export_module(
        module,
        inputs=FINDER_INPUTS,
        dims=FINDER_DIMS,
        task="detection",
        picture="picture",
        classes=("cat", "dog", "bird"),
        out=tmp_path / "finder",
        set=[f"validate.images={scene}", "validate.effort=quick", "predict.size=64"],
    )
    assert_passed(bundle)
    assert decided(bundle) > 50
    assert bundle.verdict is not None
    assert sum(case.picture is not None for case in bundle.verdict.cases) > 3
    assert not (bundle.path / "pictures").exists()  # what would stand in the query's place?
    assert_detects_as(module, bundle, scene, {"query": QUERY})
    predictor = onnxproof.load(bundle.path)
    other = predictor.predict(scene, {"query": -QUERY})
    assert other.to_json() != predictor.predict(scene, {"query": QUERY}).to_json()
    assert onnxproof.validate(bundle.path, model=Finder()).passed


STAGED = """
import torch
from torch import nn

class Middle(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.look = nn.Conv2d(3, 4, 4, stride=4)
        self.ask = nn.Linear(2, 4)

    def forward(self, query, image):
        return 8 * (self.look(image).mean(dim=(2, 3)) + self.ask(query))
"""


def staged_job(folder: Path, **tables: Any) -> Job:
    (folder / "staged.py").write_text(STAGED)
    document = {
        "name": "staged",
        "model": {
            "family": "module",
            "task": "classification",
            "builder": "staged.py:Middle",
            "classes": list("abcd"),
        },
        "inputs": {"query": "float32[batch, 2] in -1..1", "image": "float32[batch, 3, 16, width] in 0..1"},
        "dims": {"batch": "1..2", "width": "16..32 step 4"},
        "validate": {"effort": "quick"},
        "predict": {"input": "image", "resize": "stretch", "size": 24},
    }
    return Job.from_document({**document, **tables}, folder=folder, source="test")


@EITHER_EXPORTER
def test_the_wrapper_stands_before_the_input_that_takes_pictures(
    exporter: str, scene: Path, tmp_path: Path
) -> None:
    wrapper = {
        "scale_input": True,
        "channels_last": True,
        "input_dtype": "uint8",
        "mean": [0.5, 0.4, 0.3],
        "std": [0.2, 0.25, 0.3],
    }
    validate = {"effort": "quick", "images": str(scene)}
    request = staged_job(tmp_path, wrapper=wrapper, validate=validate, export={"exporter": exporter})
    bundle = onnxproof.export(request, out=tmp_path / "dist")
    assert_passed(bundle)
    decided(bundle)
    assert [str(spec) for spec in bundle.manifest.contract.inputs] == [
        "float32[batch, 2] in -1..1",
        "uint8[batch, 16, width, 3] in 0..255",
    ]
    assert onnxproof.validate(bundle.path, trust=True).passed
    prediction = onnxproof.load(bundle.path).predict(scene, {"query": np.array([0.5, -0.5], np.float32)})
    with Image.open(scene) as picture:
        pixels = torch.from_numpy(np.array(picture.convert("RGB").resize((24, 16)))).double() / 255
    wrapped: Any = FAMILY.build(staged_job(tmp_path), None).module
    network = wrapped.module.module.double()
    normal = (pixels - torch.tensor([0.5, 0.4, 0.3])) / torch.tensor([0.2, 0.25, 0.3])
    with torch.no_grad():
        logits = network(torch.tensor([[0.5, -0.5]]).double(), normal.permute(2, 0, 1)[None])[0]
    assert prediction.to_json() == {
        "labels": list("abcd"),
        "probs": pytest.approx(torch.softmax(logits, dim=0).tolist(), abs=1e-5),
    }


@pytest.mark.parametrize(
    ("image", "divide_by", "layout", "dtype"),
    [
        pytest.param("float32[batch, 3, 16, width] in 0..1", 255, "NCHW", "float32", id="unit"),
        pytest.param("float32[batch, 3, 16, width] in 0..255", 1, "NCHW", "float32", id="bytes-as-floats"),
        pytest.param("uint8[batch, 16, width, 3]", 1, "NHWC", "uint8", id="bytes-have-one-range"),
    ],
)
def test_preprocessing_follows_from_how_the_input_reads(
    tmp_path: Path, image: str, divide_by: int, layout: str, dtype: str
) -> None:
    class Sum(nn.Module):
        def forward(self, query: Tensor, image: Tensor) -> Tensor:
            return query.sum(dim=1) + image.float().mean(dim=(1, 2, 3))

    request = staged_job(
        tmp_path,
        model={"family": "module", "task": "raw"},
        inputs={"query": "float32[batch, 2]", "image": image},
    )
    spec = wrap_for_job(request, Sum()).contract.preprocess
    assert spec is not None
    assert (spec.input, spec.divide_by, spec.layout, spec.dtype) == ("image", divide_by, layout, dtype)
    assert (spec.resize, spec.size) == ("stretch", 24)
    assert (spec.height, spec.width) == (Dim("height", 16, 16), Dim("width", 16, 32, 4))


IMAGE = "float32[batch, 3, 16, width]"


@pytest.mark.parametrize(
    ("tables", "says"),
    [
        pytest.param(
            {"predict": {"input": "img"}}, "no such input; there are: query, image", id="no-such-input"
        ),
        pytest.param(
            {"predict": {"input": "query"}}, r"float32\[batch, 2\] in -1..1 is not a picture's", id="a-vector"
        ),
        pytest.param(
            {"inputs": {"image": IMAGE}}, 'expected the range of pixels, "in 0..1" or', id="no-range"
        ),
        pytest.param(
            {"inputs": {"image": f"{IMAGE} in -1..1"}}, "normalise inside the module", id="another-range"
        ),
        pytest.param(
            {"inputs": {"image": "float16[batch, 3, 16, width] in 0..1"}}, "is not a picture's", id="dtype"
        ),
        pytest.param(
            {"inputs": {"image": "float32[batch, 3, 16, depth] in 0..1"}},
            "the axis depth has no size",
            id="no-dim",
        ),
        pytest.param(
            {"dims": {"batch": "2..4", "width": 16}, "inputs": {"image": f"{IMAGE} in 0..1"}},
            "its first axis is batch = 2..4",
            id="never-one-picture",
        ),
        pytest.param(
            {
                "inputs": {"image": "float32[batch, 3, width, width] in 0..1"},
                "predict": {"input": "image", "resize": "crop"},
            },
            'is square.*resize = "stretch"',
            id="square",
        ),
        pytest.param(
            {"predict": {}, "wrapper": {"scale_input": True}},
            "wrapper.scale_input is for the input that takes pictures",
            id="a-wrapper-around-no-picture",
        ),
        pytest.param(
            {"inputs": {"image": f"{IMAGE} in 0..255"}, "wrapper": {"scale_input": True}},
            "expected what the module takes before normalisation",
            id="scaled-twice",
        ),
        pytest.param(
            {"wrapper": {"input_dtype": "uint8"}}, "needs wrapper.scale_input = true", id="uint8-in-0..1"
        ),
        pytest.param(
            {"wrapper": {"mean": [0.5, 0.5, 0.5]}}, "wrapper.mean comes without wrapper.std", id="half-a-norm"
        ),
    ],
)
def test_an_input_that_takes_no_pictures_is_refused(
    tmp_path: Path, tables: dict[str, Any], says: str
) -> None:
    with pytest.raises(JobError, match=says):
        FAMILY.build(staged_job(tmp_path, **tables), None)


def test_names_of_classes_come_with_colours_of_their_own() -> None:
    classes = name_classes([str(index) for index in range(20)])
    assert [entry.name for entry in classes] == [str(index) for index in range(20)]
    assert len({entry.color for entry in classes}) == 20


@pytest.mark.parametrize(
    ("task", "decode", "post"),
    [
        ("classification", "auto", {"decode": "none", "outputs": ["logits"], "top_k": 3}),
        (
            "multilabel",
            "probabilities",
            {"decode": "probabilities", "outputs": ["probabilities"], "score_threshold": 0.5},
        ),
    ],
)
def test_class_scores_come_as_logits_or_probabilities(task: str, decode: str, post: dict[str, Any]) -> None:
    linear = nn.Linear(4, 3)
    model = wrap_module(
        linear, specs({"x": "float32[batch, 4]"}), dims({"batch": "1..4"}), task=task, decode=decode
    )
    assert model.contract.reading.to_json() == post
    assert [str(spec) for spec in model.contract.outputs] == ["float32[batch, 3]"]
    x = torch.rand(2, 4)
    wanted = linear(x) if decode == "auto" else torch.sigmoid(linear(x))
    torch.testing.assert_close(model.module(x), wanted)


@pytest.mark.parametrize(
    ("task", "decode", "names", "says"),
    [
        pytest.param("multilabel", "packed", "abc", 'decode = "packed" is not for', id="decode"),
        pytest.param("classification", "auto", "ab", "2 classes are named, .* has 3", id="names"),
        pytest.param("detection", "auto", "abc", r"needs boxes \[batch, n, 4\]", id="no-boxes"),
        pytest.param(
            "detection",
            "packed",
            "abc",
            "there are: split, nms, nms-padded, softmax, sigmoid, rows",
            id="decode-of-detection",
        ),
        pytest.param("pose", "auto", "abc", 'model.task = "pose" is not for the family module', id="task"),
    ],
)
def test_a_task_that_does_not_fit_is_refused(task: str, decode: str, names: str, says: str) -> None:
    inputs = specs({"x": "float32[batch, 4]"})
    with pytest.raises(JobError, match=says):
        wrap_module(
            nn.Linear(4, 3),
            inputs,
            dims({"batch": "1..4"}),
            task=task,
            decode=decode,
            classes=name_classes(names),
        )


@pytest.mark.slow
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
        set=["validate.effort=quick"],
    )
    assert_passed(bundle)
    assert [(spec.name, str(spec)) for spec in bundle.manifest.contract.outputs] == [
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
    assert onnxproof.validate(bundle.path, trust=True).passed


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


def test_a_dim_of_no_input_is_refused(tmp_path: Path) -> None:
    dims, says = {"batch": "1..4", "btach": "1..2"}, 'no input has the axis btach.*did you mean "batch"'
    with pytest.raises(JobError, match=says):
        onnxproof.export_module(
            nn.Linear(4, 2), inputs={"x": "float32[batch, 4]"}, dims=dims, out=tmp_path / "b"
        )


@pytest.mark.parametrize(
    ("module", "says"),
    [
        pytest.param(lambda x: x, "the model is a function; expected a torch.nn.Module", id="function"),
        pytest.param("model.pt", "the model is a str", id="text"),
        pytest.param(nn.Identity, "the model is a class, Identity", id="class"),
    ],
)
def test_what_is_no_module_is_refused(tmp_path: Path, module: Any, says: str) -> None:
    with pytest.raises(RequestError, match=says):
        onnxproof.export_module(
            module, inputs={"x": "float32[batch, 4]"}, dims={"batch": "1..4"}, out=tmp_path / "b"
        )
    tiny = Path(__file__).parents[2] / "release" / "tiny"
    for judge in (onnxproof.validate, onnxproof.bisect):
        with pytest.raises(RequestError, match=says):
            judge(tiny, model=module)


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


@pytest.mark.slow
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
    assert {spec.name: str(spec) for spec in bundle.manifest.contract.outputs} == {
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
        assert (
            wrap_module(module, inputs, dims(TWO_DIMS), task="segmentation").contract.outputs[0].name
            == "mask"
        )
    else:
        with pytest.raises(JobError, match=says):
            wrap_module(module, inputs, dims(TWO_DIMS), task="segmentation")


class Annotated(nn.Module):
    """Saves a dict beside its tensors, as modules with extra state and some libraries' do."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return {**super().state_dict(*args, **kwargs), "_metadata": {"version": 1}}

    def get_extra_state(self) -> Any:
        return {"made": "today"}

    def set_extra_state(self, state: Any) -> None: ...

    def forward(self, x: Tensor) -> Any:
        return self.layer(x)


@EITHER_EXPORTER
def test_a_module_that_saves_more_than_tensors_passes(exporter: str, tmp_path: Path) -> None:
    bundle = onnxproof.export_module(
        Annotated().eval(),
        inputs={"x": "float32[batch, 4] in -1..1"},
        dims={"batch": "1..3"},
        out=tmp_path / "annotated",
        set=("validate.effort=quick", f"export.exporter={exporter}"),
    )
    assert bundle.verdict is not None
    assert bundle.verdict.passed


class Scripted(nn.Module):
    """A layer, and a scripted part behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.second = torch.jit.script(nn.Sequential(nn.ReLU(), nn.Linear(8, 3)))

    def forward(self, x: Tensor) -> Any:
        return self.second(self.first(x))


def never(*_: Any) -> Any:
    """A backend of ``torch.compile``: an export compiles nothing."""
    pytest.fail("torch.compile compiled the module")


@pytest.mark.filterwarnings("ignore:.torch.jit.*is deprecated")
@pytest.mark.parametrize(
    "made",
    [
        pytest.param(
            lambda: torch.jit.script(nn.Sequential(nn.Linear(4, 3), nn.ReLU())),
            id="scripted",
            marks=pytest.mark.slow,
        ),
        pytest.param(Scripted, id="with a scripted part", marks=pytest.mark.slow),
        pytest.param(
            lambda: torch.compile(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), backend=never), id="compiled"
        ),
    ],
)
def test_what_pytorchs_compilers_made_passes(made: Callable[[], nn.Module], tmp_path: Path) -> None:
    module = made().eval()
    bundle = onnxproof.export_module(
        module,
        inputs={"x": "float32[batch, 4] in -1..1"},
        dims={"batch": "1..3"},
        out=tmp_path / "compiled",
        set=("validate.effort=quick",),
    )
    assert bundle.verdict is not None
    assert bundle.verdict.passed


@pytest.mark.filterwarnings("ignore")
def test_a_module_quantised_as_it_runs_is_refused(tmp_path: Path) -> None:
    plain = nn.Sequential(nn.Linear(4, 3))
    module: nn.Module = torch.ao.quantization.quantize_dynamic(  # type: ignore[no-untyped-call]
        plain, dtype=torch.qint8
    )
    with pytest.raises(ExportError, match="quantized::linear_dynamic"):
        onnxproof.export_module(
            module,
            inputs={"x": "float32[batch, 4] in -1..1"},
            dims={"batch": "1..3"},
            out=tmp_path / "quantised",
        )
    assert not (tmp_path / "quantised").exists()


class Hooked(nn.Module):
    """Keeps what a layer returns by a hook, a function that is bound to the module, and returns it.

    It holds a lock,
    which nothing can copy."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.kept, self.lock = nn.Linear(4, 3), dict[str, Tensor](), Lock()

        def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
            self.kept["layer"] = output

        self.layer.register_forward_hook(keep)

    def forward(self, x: Tensor) -> Tensor:
        self.layer(x)
        return self.kept["layer"].relu()


@EITHER_EXPORTER
def test_a_hook_that_keeps_what_it_sees_passes(exporter: str, tmp_path: Path) -> None:
    module = Hooked().eval()
    bundle = onnxproof.export_module(
        module,
        inputs={"x": "float32[batch, 4] in -1..1"},
        dims={"batch": "1..3"},
        out=tmp_path / "hooked",
        set=("validate.effort=quick", f"export.exporter={exporter}"),
    )
    assert bundle.verdict is not None
    assert bundle.verdict.passed


class Scaled(nn.Module):
    """Its table is a buffer, which no optimizer moves."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 16)
        self.register_buffer("table", torch.linspace(0.3, 1.9, 16))

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.layer(x) * self.table
        return answer


def test_a_table_that_is_off_by_an_ulp_is_found(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Scaled().eval()
    asked = ("validate.effort=quick", "export.exporter=torchscript")
    target = tmp_path / "scaled"
    bundle = onnxproof.export_module(
        module, inputs={"x": "float32[batch, 4]"}, dims={"batch": "1..3"}, out=target, set=asked
    )
    assert bundle.verdict is not None
    assert bundle.verdict.passed
    proto = onnx.load(target / "model.onnx")
    (table,) = (one for one in proto.graph.initializer if one.name.endswith("table"))
    moved = np.array(numpy_helper.to_array(table))
    moved[1] = np.nextafter(moved[1], np.float32(9))
    table.CopyFrom(numpy_helper.from_array(moved, table.name))
    onnx.save(proto, tmp_path / "moved.onnx")
    verdict = onnxproof.validate(target, model=module, onnx=tmp_path / "moved.onnx")
    assert [(check.name, check.link) for check in verdict.checks if check.status == "fail"] == [
        ("function", "function")
    ]
