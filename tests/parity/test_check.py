"""Somebody else's export is judged against the checkpoint alone: what the exporter chose is found out."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx import numpy_helper
from PIL import Image
from torch import Tensor, nn
from torchvision import models

import onnxproof
from onnxproof.check import FITTED, FoundOut, find_out
from onnxproof.errors import RequestError
from onnxproof.normalizations import NORMALIZATIONS
from onnxproof.source import sha256_of
from onnxproof.validate.sight import check as sight_check
from onnxproof.validate.verdict import Check, Verdict
from onnxproof.wrappers.families import yolox

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
QUICK = ("validate.effort=quick", "validate.threads=1")
SIDE = 64
MEAN, STD = (torch.tensor(one).view(1, 3, 1, 1) for one in NORMALIZATIONS["imagenet"])
PICTURES = torch.rand(1, 3, SIDE, SIDE)


def export(network: nn.Module, example: Tensor, file: Path, **options: object) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch is about to give this exporter up
        settings = {"dynamo": False, "opset_version": 17, "input_names": ["images"], **options}
        torch.onnx.export(network.eval(), (example,), str(file), **settings)  # type: ignore[arg-type]
    return file


@pytest.fixture(scope="module")
def classifier() -> nn.Module:
    """A seeded network that answers otherwise to other pictures, as a trained one does."""
    torch.manual_seed(0)
    network: nn.Module = models.mobilenet_v3_small(num_classes=5)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
    with torch.no_grad():
        network.train()(torch.randn(16, 3, SIDE, SIDE))
    return network.eval()


@pytest.fixture(scope="module")
def place(classifier: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("check")
    torch.save(classifier.state_dict(), folder / "best.pt")
    return folder


class Around(nn.Module):
    """The network as somebody deploys it."""

    def __init__(self, network: nn.Module, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.network = network
        self.change = change

    def forward(self, pictures: Tensor) -> Tensor:
        logits: Tensor = self.network(self.change(pictures))
        return logits


def failed(verdict: Verdict) -> set[str]:
    return {check.name for check in verdict.checks if check.status in ("fail", "error")}


def found(file: Path, place: Path) -> FoundOut:
    return find_out(file, against=place / "best.pt", set=QUICK)


@pytest.mark.parametrize(
    ("change", "example", "said"),
    [
        pytest.param(lambda one: one, PICTURES, "that the host has normalised (imagenet)", id="normalised"),
        pytest.param(
            lambda one: (one - MEAN) / STD, PICTURES, "in 0..1, normalised in the graph", id="in-the-graph"
        ),
        pytest.param(
            lambda one: (one / 255 - MEAN) / STD, PICTURES * 255, "in 0..255, normalised in", id="in-bytes"
        ),
        pytest.param(
            lambda one: one / 127.5 - 1,
            PICTURES * 255,
            "in 0..255, normalised in the graph as inception is",
            id="another-normalisation",
        ),
        pytest.param(
            lambda one: one / 255, PICTURES * 255, "in 0..255, scaled to 0..1 in the graph and not", id="none"
        ),
        pytest.param(
            lambda one: (one.permute(0, 3, 1, 2).float() / 255 - MEAN) / STD,
            (PICTURES * 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous(),
            "in 0..255, normalised in the graph",
            id="uint8-channels-last",
        ),
        pytest.param(
            lambda one: (one[None] - MEAN) / STD, PICTURES[0], "one picture without a batch", id="no-batch"
        ),
    ],
)
def test_how_a_file_takes_pictures_is_found_out(
    change: Callable[[Tensor], Tensor],
    example: Tensor,
    said: str,
    classifier: nn.Module,
    place: Path,
    tmp_path: Path,
) -> None:
    file = export(Around(classifier, change), example, tmp_path / "theirs.onnx")
    told = found(file, place)
    assert said in "; ".join(told.notes)
    assert told.error < 1e-4


@pytest.mark.slow
def test_a_normalisation_that_nobody_knows_is_told_where_the_file_fails(
    classifier: nn.Module, place: Path, tmp_path: Path
) -> None:
    odd = export(Around(classifier, lambda one: (one - 0.41) / 0.27), PICTURES, tmp_path / "odd.onnx")
    verdict = onnxproof.check(odd, against=place / "best.pt", set=QUICK)
    assert verdict.status == "fail"
    assert verdict.notes[-1].startswith("of the normalisations that were tried")
    assert '--set "wrapper.mean=[…]"' in verdict.notes[-1]


@pytest.fixture(scope="module")
def stated(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint beside a norm_stats.json that has ImageNet's figures as float32 holds them."""
    folder = tmp_path_factory.mktemp("stated")
    (folder / "best.pt").write_bytes((place / "best.pt").read_bytes())
    figures = {"mean": MEAN.flatten().tolist(), "std_dev": STD.flatten().tolist()}
    (folder / "norm_stats.json").write_text(json.dumps(figures), encoding="utf-8")
    return folder


def one_check(verdict: Verdict, name: str) -> Check:
    (check,) = (check for check in verdict.checks if check.name == name)
    return check


IMAGENETS = "mean [0.485, 0.456, 0.406], std [0.229, 0.224, 0.225] (imagenet)"


@pytest.mark.first_case
@pytest.mark.parametrize(
    ("change", "scale", "said"),
    [
        pytest.param(
            lambda one: (one - 0.5) / 0.5,
            1,
            "normalises pictures with mean [0.5, 0.5, 0.5], std [0.5, 0.5, 0.5] (inception)",
            id="another",
        ),
        pytest.param(lambda one: one / 255, 255, "does not normalise pictures", id="none"),
    ],
)
def test_a_file_that_normalises_otherwise_than_is_stated_fails(
    change: Callable[[Tensor], Tensor],
    scale: int,
    said: str,
    classifier: nn.Module,
    stated: Path,
    tmp_path: Path,
) -> None:
    file = export(Around(classifier, change), PICTURES * scale, tmp_path / "theirs.onnx")
    images = str(DIGITS / "images" / "scene-0[12].png")
    verdict = onnxproof.check(
        file, against=stated / "best.pt", images=images, set=(*QUICK, f"predict.size={SIDE}")
    )
    assert (verdict.status, failed(verdict)) == ("fail", {"pipeline"})
    reason = one_check(verdict, "pipeline").reason
    assert reason.startswith(f"the file {said}; expected {IMAGENETS}, which norm_stats.json states: ")
    assert verdict.pipeline is not None
    assert verdict.pipeline.differences > 0  # the framework normalises as is stated
    assert not [note for note in verdict.notes if "takes the file's word" in note or "were tried" in note]


@pytest.mark.slow
def test_a_normalisation_otherwise_than_is_stated_fails_without_pictures(
    classifier: nn.Module, stated: Path, tmp_path: Path
) -> None:
    wrong = export(Around(classifier, lambda one: (one - 0.5) / 0.5), PICTURES, tmp_path / "theirs.onnx")
    verdict = onnxproof.check(wrong, against=stated / "best.pt", set=QUICK)
    assert failed(verdict) == {"pipeline"}
    assert one_check(verdict, "pipeline").reason.endswith("which norm_stats.json states")


@pytest.mark.first_case
@pytest.mark.parametrize(
    ("change", "scale"),
    [
        pytest.param(lambda one: one, 1, id="by-the-host"),
        pytest.param(lambda one: (one - MEAN) / STD, 1, id="in-the-graph"),
        pytest.param(lambda one: (one / 255 - MEAN) / STD, 255, id="in-bytes"),
        pytest.param(lambda one: (one - 255 * MEAN) / (255 * STD), 255, id="constants-of-bytes"),
    ],
)
def test_a_file_that_normalises_as_is_stated_is_no_false_alarm(
    change: Callable[[Tensor], Tensor], scale: int, classifier: nn.Module, stated: Path, tmp_path: Path
) -> None:
    file = export(Around(classifier, change), PICTURES * scale, tmp_path / "theirs.onnx")
    told = found(file, stated)
    assert told.otherwise is None
    assert told.error < 1e-4
    assert not [note for note in told.notes if "takes the file's word" in note]


@pytest.mark.parametrize(("normalised", "told"), [(True, True), (False, False)], ids=["graph", "host"])
def test_where_nothing_states_the_normalisation_the_note_says_so(
    normalised: bool, told: bool, classifier: nn.Module, place: Path, tmp_path: Path
) -> None:
    change = (lambda one: (one - 0.5) / 0.5) if normalised else (lambda one: one)
    file = export(Around(classifier, change), PICTURES, tmp_path / "theirs.onnx")
    out = found(file, place)
    assert out.otherwise is None
    assert any("nothing states the normalisation" in note for note in out.notes) is told


def test_a_file_of_a_fixed_batch_ends_in_the_frameworks_decisions(
    classifier: nn.Module, stated: Path, tmp_path: Path
) -> None:
    """The picture is repeated to the batch that the file takes, and the first answer counts."""
    file = export(classifier, PICTURES.repeat(2, 1, 1, 1), tmp_path / "two.onnx")
    images = str(DIGITS / "images" / "scene-0[12].png")
    verdict = onnxproof.check(
        file, against=stated / "best.pt", images=images, set=(*QUICK, f"predict.size={SIDE}")
    )
    assert verdict.passed, failed(verdict)
    assert verdict.pipeline is not None
    assert verdict.pipeline.pictures == 2
    assert (verdict.pipeline.differences, verdict.pipeline.matched > 0) == (0, True)


@pytest.mark.slow
def test_other_constants_are_suggested_only_where_numbers_differ(
    classifier: nn.Module, stated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not where the framework's own pipeline raises."""

    def raises(*_: object, **__: object) -> None:
        raise ValueError("no\nway")

    monkeypatch.setattr(sight_check, "see", raises)
    file = export(classifier, PICTURES, tmp_path / "theirs.onnx")
    images = str(DIGITS / "images" / "scene-01.png")
    verdict = onnxproof.check(
        file, against=stated / "best.pt", images=images, set=(*QUICK, f"predict.size={SIDE}")
    )
    assert verdict.status == "error"
    assert one_check(verdict, "pipeline").reason == "it could not be run: ValueError: no way"
    assert not [note for note in verdict.notes if "were tried" in note]


@pytest.mark.slow
def test_a_network_that_hardly_looks_at_its_pictures_is_told_by_float64(tmp_path: Path) -> None:
    """Nor do the roundings of folded batch norms hide it."""
    torch.manual_seed(0)
    network = models.mobilenet_v3_small(num_classes=5)
    for name, values in network.state_dict().items():
        if name.endswith("running_var"):
            values.uniform_(0.4, 2)
        elif name.endswith("running_mean"):
            values.normal_(0, 0.3)
    torch.save(network.state_dict(), tmp_path / "best.pt")
    for number, change in enumerate((lambda one: one, lambda one: (one / 255 - MEAN) / STD)):
        file = export(Around(network, change), PICTURES * 255, tmp_path / "theirs.onnx")
        said = ("has normalised (imagenet)", "in 0..255, normalised in the graph")[number]
        assert said in "; ".join(found(file, tmp_path).notes)


@pytest.mark.slow
@pytest.mark.parametrize("dynamic", [False, True], ids=["fixed-batch", "dynamic-batch"])
def test_a_plain_export_passes_and_what_the_exporter_chose_is_noted(
    dynamic: bool, classifier: nn.Module, place: Path, tmp_path: Path
) -> None:
    axes = {"images": {0: "n"}, "preds": {0: "n"}} if dynamic else None
    file = export(classifier, PICTURES, tmp_path / "theirs.onnx", output_names=["preds"], dynamic_axes=axes)
    content = file.read_bytes()
    verdict = onnxproof.check(file, against=place / "best.pt", set=QUICK)
    assert verdict.passed, failed(verdict)
    notes = "; ".join(verdict.notes)
    assert "family torchvision_classifier, task classification, variant mobilenet_v3_small" in notes
    assert "the file's output preds is the model's logits" in notes
    assert "the file has opset 17" in notes
    assert ("batch 1, " in notes) is not dynamic
    assert verdict.model_sha256 == sha256_of(file)
    assert file.read_bytes() == content


def test_a_wrong_file_fails_and_names_its_link(classifier: nn.Module, place: Path, tmp_path: Path) -> None:
    file = export(classifier, PICTURES, tmp_path / "theirs.onnx")
    proto = onnx.load(file)
    largest = max(proto.graph.initializer, key=lambda one: len(one.raw_data))
    values = numpy_helper.to_array(largest).copy()
    values.flat[0] += 0.01
    largest.CopyFrom(numpy_helper.from_array(values, largest.name))
    onnx.save(proto, file)
    verdict = onnxproof.check(file, against=place / "best.pt", set=QUICK)
    assert verdict.status == "fail"
    assert "function" in failed(verdict)


@pytest.mark.slow
def test_other_weights_of_the_same_network_fail(classifier: nn.Module, place: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    file = export(models.mobilenet_v3_small(num_classes=5), PICTURES, tmp_path / "theirs.onnx")
    verdict = onnxproof.check(file, against=place / "best.pt", set=QUICK)
    assert verdict.status == "fail"
    assert "function" in failed(verdict)
    assert "no arrangement of inputs and outputs that was tried makes the file agree" in "; ".join(
        verdict.notes
    )


@pytest.mark.parametrize(
    ("make", "says"),
    [
        pytest.param(
            lambda: models.squeezenet1_1(num_classes=5),
            "is another model's file than .*best.pt .*mobilenet_v3_small.*: it holds 26 weights",
            id="another-network",
        ),
    ],
)
def test_another_models_file_is_refused_in_words(
    make: Callable[[], nn.Module], says: str, place: Path, tmp_path: Path
) -> None:
    file = export(make(), PICTURES, tmp_path / "theirs.onnx")
    with pytest.raises(RequestError, match=says):
        found(file, place)


@pytest.mark.slow
def test_a_head_for_other_classes_fails(place: Path, tmp_path: Path) -> None:
    file = export(models.mobilenet_v3_small(num_classes=6), PICTURES, tmp_path / "theirs.onnx")
    verdict = onnxproof.check(file, against=place / "best.pt", set=QUICK)
    assert verdict.status == "fail"
    (wrong,) = [check for check in verdict.checks if check.name == "interface"]
    assert wrong.status == "fail"
    assert "an axis of output logits is 6; expected 5" in wrong.reason
    assert "the file's outputs have other sizes than the checkpoint's" in "; ".join(verdict.notes)


def packed(both: tuple[Tensor, Tensor]) -> Tensor:
    """[b, n, 4 + C]: centre, width and height, then the scores."""
    corners, scores = both
    low, high = corners[..., :2], corners[..., 2:]
    return torch.cat(((low + high) / 2, high - low, scores), dim=-1)


class Detector(nn.Module):
    """The demo's detector as somebody else may lay it out."""

    def __init__(self, decode: str, change: Callable[[Any], Any]) -> None:
        super().__init__()
        network = yolox.build_network("nano", 10)
        network.load_state_dict(torch.load(DIGITS / "yolox" / "yolox_nano.pth"))
        self.inference = yolox.YoloxInference(network, nn.Identity(), decode)  # type: ignore[arg-type]
        self.change = change

    def forward(self, pictures: Tensor) -> object:
        return self.change(self.inference(pictures))


@pytest.mark.first_case
@pytest.mark.parametrize(
    ("decode", "change", "said"),
    [
        pytest.param("none", lambda one: one, 'wrapper.decode = "none"', id="raw"),
        pytest.param(
            "none", lambda one: one.permute(0, 2, 1), "output with its last two axes exchanged", id="turned"
        ),
        pytest.param(
            "split", lambda both: (both[1], both[0]), "output out_1 is the model's boxes", id="exchanged"
        ),
        pytest.param(
            "split",
            lambda both: (both[0], both[1].max(-1).values, both[1]),
            "also returns out_1, which the model does not",
            id="one-more",
        ),
        pytest.param(
            "split", packed, "packs the model's boxes, scores into its output out_0", id="packed-by-cells"
        ),
        pytest.param(
            "split", lambda both: packed(both).transpose(1, 2), "packs the model's boxes", id="as-ultralytics"
        ),
    ],
)
def test_how_a_file_returns_boxes_is_found_out(
    decode: str, change: Callable[[Any], Any], said: str, tmp_path: Path
) -> None:
    made = Detector(decode, change).eval()
    returned = made(PICTURES)
    count = len(returned) if isinstance(returned, tuple) else 1
    names = [f"out_{at}" for at in range(count)]
    file = export(made, PICTURES, tmp_path / "theirs.onnx", output_names=names)
    told = find_out(file, against=DIGITS / "yolox", set=QUICK)
    assert said in "; ".join(told.notes)
    assert told.error < 1e-4


@pytest.mark.slow
def test_an_arranged_file_passes_with_its_pictures(tmp_path: Path) -> None:
    """Two outputs in another order, one more besides, normalised outside: all of it at once."""
    made = Detector("split", lambda both: (both[1], both[1].max(-1).values, both[0].permute(0, 2, 1)))
    file = export(
        made, torch.rand(1, 3, 96, 128), tmp_path / "theirs.onnx", output_names=["boxes", "best", "where"]
    )
    verdict = onnxproof.check(
        file, against=DIGITS / "yolox", images=str(DIGITS / "images" / "scene-0[12].png"), set=QUICK
    )
    assert verdict.passed, failed(verdict)
    assert verdict.to_json()["decisions"]["matched"] > 0


@pytest.mark.slow
def test_a_packed_file_passes_with_its_pictures(tmp_path: Path) -> None:
    made = Detector("split", lambda both: packed(both).transpose(1, 2))
    axes = {"images": {0: "batch"}, "output0": {0: "batch"}}
    file = export(
        made,
        torch.rand(1, 3, 96, 128),
        tmp_path / "theirs.onnx",
        output_names=["output0"],
        dynamic_axes=axes,
    )
    verdict = onnxproof.check(
        file, against=DIGITS / "yolox", images=str(DIGITS / "images" / "scene-01.png"), set=QUICK
    )
    assert verdict.passed, failed(verdict)
    assert verdict.to_json()["decisions"]["matched"] > 0


@pytest.mark.slow
def test_the_head_that_a_network_with_two_was_exported_with_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ultralytics")
    from ultralytics.models import YOLO

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("YOLO_AUTOINSTALL", "false")
    torch.manual_seed(0)
    network: Any = YOLO("yolo26n.yaml")
    with torch.no_grad():
        for weight in network.model.model[-1].one2one_cv3.parameters():
            weight += 0.1 * torch.randn_like(weight)  # an untrained network has one head twice
    network.save("best.pt")

    def exported(nms: bool | None) -> Path:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made: Any = YOLO("best.pt")
            return Path(made.export(format="onnx", imgsz=64, simplify=False, opset=17, nms=nms))

    told = find_out(exported(None), against="best.pt", set=QUICK)
    assert "another head of the checkpoint: model.kwargs.end2end=false" in "; ".join(told.notes)
    assert told.error < 1e-2
    told = find_out(exported(False), against="best.pt", set=QUICK)
    assert 'are those of wrapper.decode = "rows"' in "; ".join(told.notes)
    assert told.error < 1e-2


@pytest.mark.slow
def test_ultralytics_own_export_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ultralytics")
    from ultralytics.models import YOLO

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("YOLO_AUTOINSTALL", "false")
    torch.manual_seed(0)
    model: Any = YOLO("yolo11n.yaml")
    model.save("best.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = YOLO("best.pt").export(format="onnx", imgsz=64, simplify=False, opset=17)
    verdict = onnxproof.check(file, against="best.pt", set=QUICK)
    assert verdict.passed, failed(verdict)
    assert "the file packs the model's boxes, scores into its output output0" in verdict.notes


def test_a_name_that_is_not_there_is_refused(classifier: nn.Module, place: Path, tmp_path: Path) -> None:
    file = export(classifier, PICTURES, tmp_path / "theirs.onnx")
    with pytest.raises(RequestError, match="--map picture=input: the file has no input or output picture"):
        onnxproof.check(file, against=place / "best.pt", map={"picture": "input"}, set=QUICK)
    with pytest.raises(RequestError, match="the model has no input or output image"):
        onnxproof.check(file, against=place / "best.pt", map={"images": "image"}, set=QUICK)


@pytest.mark.slow
def test_a_file_of_our_own_is_judged_at_the_sizes_that_it_declares(
    classifier: nn.Module, place: Path, tmp_path: Path
) -> None:
    bundle = onnxproof.export_module(
        classifier,
        inputs={"input": f"float32[batch, 3, {SIDE}, {SIDE}] in 0..1"},
        dims={"batch": "1..2"},
        out=tmp_path / "ours",
        validate=False,
    )
    found = find_out(bundle.path / "model.onnx", against=place / "best.pt", set=QUICK)
    assert str(found.job.dims["batch"]) == "1..2"
    wider = find_out(bundle.path / "model.onnx", against=place / "best.pt", set=(*QUICK, 'dims.batch="1..4"'))
    assert str(wider.job.dims["batch"]) == "1..4"


def test_a_job_is_judged_by_validate(tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text("", encoding="utf-8")
    (tmp_path / "m.onnx").write_bytes(b"")
    with pytest.raises(RequestError, match=r"is a job: onnxproof validate .*job\.toml --onnx .*m\.onnx"):
        onnxproof.check(tmp_path / "m.onnx", against=tmp_path / "job.toml")


def test_how_the_file_takes_pictures_can_be_said(classifier: nn.Module, place: Path, tmp_path: Path) -> None:
    file = export(Around(classifier, lambda one: (one - MEAN) / STD), PICTURES, tmp_path / "theirs.onnx")
    told = find_out(file, against=place / "best.pt", set=(*QUICK, "wrapper.normalize=imagenet"))
    assert told.error < 1e-4
    assert told.how.normalized is None
    wrong = find_out(file, against=place / "best.pt", set=(*QUICK, "wrapper.normalize=none"))
    assert wrong.error > 100 * told.error


def test_a_normalisation_that_only_the_family_knows_is_found_out(tmp_path: Path) -> None:
    """A folder of transformers: its image processor says how pictures are normalised."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.ViTConfig(**sizes, image_size=32, patch_size=8, num_labels=4, initializer_range=0.3)
    network = transformers.ViTForImageClassification(config).eval()
    network.save_pretrained(tmp_path / "vit")
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "vit")

    class Logits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, pixel_values: Tensor) -> Tensor:
            logits: Tensor = self.network(pixel_values=pixel_values).logits
            return logits

    file = export(Logits(), torch.randn(1, 3, 32, 32), tmp_path / "vit.onnx", input_names=["pixel_values"])
    told = find_out(file, against=tmp_path / "vit", set=QUICK)
    assert told.error < 1e-4
    assert told.otherwise is None
    around = Around(Logits(), lambda one: (one - MEAN) / STD)
    wrong = export(around, torch.rand(1, 3, 32, 32), tmp_path / "wrong.onnx", input_names=["pixel_values"])
    otherwise = find_out(wrong, against=tmp_path / "vit", set=QUICK).otherwise
    assert otherwise is not None
    assert otherwise.why.startswith(f"the file normalises pictures with {IMAGENETS}; expected mean [0.5, ")
    assert otherwise.why.endswith("(inception), which preprocessor_config.json states")
    assert "that the host has normalised (inception)" in "; ".join(told.notes)
    pictures = str(DIGITS / "images" / "scene-0[12].png")
    verdict = onnxproof.check(
        file, against=tmp_path / "vit", images=pictures, set=QUICK, draw=tmp_path / "drawn"
    )
    for name in ("scene-01.png", "scene-02.png"):
        with Image.open(tmp_path / "drawn" / name) as drawn, Image.open(DIGITS / "images" / name) as bare:
            assert drawn.size == bare.size
            assert drawn.convert("RGB").tobytes() != bare.convert("RGB").tobytes()
    assert verdict.pipeline is not None
    assert (verdict.pipeline.differences, verdict.pipeline.matched) == (0, 8), verdict.pipeline.causes
    assert FITTED in verdict.notes
    host = (*QUICK, "predict.filter=pillow-nearest", "predict.channels=bgr")
    other = onnxproof.check(file, against=tmp_path / "vit", images=pictures, set=host)
    assert failed(other) == {"pipeline"}
    assert other.pipeline is not None
    assert "resized with Pillow nearest" in other.pipeline.causes[0].why
    assert FITTED not in other.notes


def test_nothing_is_drawn_into_a_bundle(tmp_path: Path) -> None:
    for name in ("model.onnx", "manifest.json"):
        (tmp_path / name).touch()
    with pytest.raises(RequestError, match=r"--draw .* writes into the bundle"):
        onnxproof.check(
            tmp_path / "model.onnx", against="best.pt", images="*.png", draw=tmp_path / "drawn" / "here"
        )
