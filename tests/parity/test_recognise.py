"""What a checkpoint is, found out without a job: from its names and shapes, and what lies beside it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision import models

import onnxproof
from onnxproof.errors import CheckpointError, RequestError
from onnxproof.export.checkpoint import load_checkpoint
from onnxproof.wrappers import registry
from onnxproof.wrappers.families import torchvision_detector, yolox
from onnxproof.wrappers.fingerprints import near_variants, variants_of
from onnxproof.wrappers.held import class_of
from onnxproof.wrappers.identify import families_to_ask, identify
from onnxproof.wrappers.recognise import Recognised

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
OTHER_CLASSES = 13


def identified(file: Path) -> Recognised:
    return identify(load_checkpoint(file))


def saved(content: object, file: Path) -> Path:
    torch.save(content, file)
    return file


def timm_model(name: str) -> nn.Module:
    timm = pytest.importorskip("timm")
    network: nn.Module = timm.create_model(name, pretrained=False, num_classes=OTHER_CLASSES)
    return network


@pytest.mark.parametrize(
    ("make", "family", "task", "variant"),
    [
        pytest.param(
            lambda: models.resnet18(num_classes=OTHER_CLASSES),
            "torchvision_classifier",
            "classification",
            "resnet18",
            id="a-name-that-two-libraries-have",
        ),
        pytest.param(
            lambda: models.squeezenet1_1(num_classes=OTHER_CLASSES),
            "torchvision_classifier",
            "classification",
            "squeezenet1_1",
            id="a-convolution-as-the-head",
        ),
        pytest.param(
            lambda: models.segmentation.deeplabv3_mobilenet_v3_large(
                weights=None, weights_backbone=None, num_classes=OTHER_CLASSES
            ),
            "torchvision_segmenter",
            "segmentation",
            "deeplabv3_mobilenet_v3_large",
            id="a-segmenter-on-a-mobilenet",
        ),
        pytest.param(
            lambda: models.segmentation.lraspp_mobilenet_v3_large(
                weights=None, weights_backbone=None, num_classes=OTHER_CLASSES
            ),
            "torchvision_segmenter",
            "segmentation",
            "lraspp_mobilenet_v3_large",
            id="a-light-segmenter",
        ),
        pytest.param(
            lambda: timm_model("resnet10t"), "timm_classifier", "classification", "resnet10t", id="timm"
        ),
        pytest.param(
            lambda: yolox.build_network("tiny", OTHER_CLASSES), "yolox", "detection", "tiny", id="yolox"
        ),
        pytest.param(
            lambda: torchvision_detector.make("maskrcnn_resnet18_fpn", OTHER_CLASSES, {}),
            "torchvision_detector",
            "instance_segmentation",
            "maskrcnn_resnet18_fpn",
            id="a-detector-with-masks",
        ),
        pytest.param(
            lambda: torchvision_detector.make("ssdlite320_mobilenet_v3_large", OTHER_CLASSES, {}),
            "torchvision_detector",
            "detection",
            "ssdlite320_mobilenet_v3_large",
            id="a-detector-with-many-heads",
        ),
    ],
)
def test_a_network_is_recognised_whatever_its_file_is_called(
    make: Callable[[], nn.Module], family: str, task: str, variant: str, tmp_path: Path
) -> None:
    found = identified(saved(make().state_dict(), tmp_path / "best.pt"))
    assert (found.family, found.task, found.variant, found.others) == (family, task, variant, ())
    assert found.why


def test_a_network_is_recognised_in_an_envelope_and_behind_a_prefix(tmp_path: Path) -> None:
    state = {f"module.{name}": one for name, one in models.resnet18().state_dict().items()}
    found = identified(saved({"epoch": 3, "model": state}, tmp_path / "best.pt"))
    assert (found.family, found.variant) == ("torchvision_classifier", "resnet18")


def test_a_prefix_of_several_parts_is_taken_off(tmp_path: Path) -> None:
    state = {f"backbone.net.{name}": one for name, one in models.resnet18().state_dict().items()}
    found = identified(saved(state, tmp_path / "best.pt"))
    assert (found.family, found.variant) == ("torchvision_classifier", "resnet18")
    onnxproof.init(tmp_path / "best.pt", out=tmp_path / "job.toml")  # builds the network, too
    state["head.weight"] = state["backbone.net.fc.weight"]
    with pytest.raises(CheckpointError, match="family=torchvision_classifier --set model"):
        identified(saved(state, tmp_path / "more.pt"))


def test_networks_that_only_their_settings_tell_apart_are_all_told(tmp_path: Path) -> None:
    state = timm_model("tf_efficientnet_b0").state_dict()
    found = identified(saved(state, tmp_path / "best.pt"))
    assert {found.variant, *found.others} >= {"efficientnet_b0", "tf_efficientnet_b0"}
    named = identified(saved({"arch": "tf_efficientnet_b0", "state_dict": state}, tmp_path / "last.pth"))
    assert (named.variant, named.others) == ("tf_efficientnet_b0", ())
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "efficientnet_b0"}), encoding="utf-8")
    beside = identified(tmp_path / "best.pt")
    assert (beside.variant, beside.others) == ("efficientnet_b0", ())


def test_a_normalisation_beside_the_checkpoint_is_not_written_again(tmp_path: Path) -> None:
    assert "wrapper.normalize" not in identified(DIGITS / "yolox").values()
    shutil.copy(DIGITS / "yolox" / "yolox_nano.pth", tmp_path)
    assert identified(tmp_path).values()["wrapper.normalize"] == "imagenet"


def test_the_normalisation_that_timm_saved_beside_its_weights_is_stated(tmp_path: Path) -> None:
    network = timm_model("resnet10t")
    saved(network.state_dict(), tmp_path / "best.pt")
    usual = identified(tmp_path / "best.pt")
    half = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    document = {"architecture": "resnet10t", "pretrained_cfg": half}
    (tmp_path / "config.json").write_text(json.dumps(document), encoding="utf-8")
    beside = identified(tmp_path / "best.pt")
    (setting,) = (one for one in beside.settings if one.key == "wrapper.normalize")
    assert (setting.value, setting.stated) == ("inception", "config.json")
    assert [one.stated for one in usual.settings if one.key == "wrapper.normalize"] == [""]
    half["std"] = [0, 0, 0]
    (tmp_path / "config.json").write_text(json.dumps(document), encoding="utf-8")
    assert identified(tmp_path / "best.pt").values()["wrapper.normalize"] == "imagenet"


def test_what_no_family_knows_is_told(tmp_path: Path) -> None:
    file = saved(nn.Linear(3, 2).state_dict(), tmp_path / "net.pth")
    with pytest.raises(
        CheckpointError, match=r"holds 2 tensors \(weight \[2, 3\], bias \[2\]\), and no family knows it"
    ):
        identified(file)


def test_a_family_without_its_library_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> object:
        raise RequestError(f"the family {name} needs it: pip install 'onnxproof[torchvision]'")

    monkeypatch.setattr("onnxproof.wrappers.identify.get_family", missing)
    file = saved(models.resnet18().state_dict(), tmp_path / "net.pth")
    with pytest.raises(RequestError, match=r"by their names a ResNet .*; the family torchvision_classifier"):
        identified(file)


def test_only_families_that_may_know_it_are_asked(tmp_path: Path) -> None:
    checkpoint = load_checkpoint(saved(yolox.build_network("nano", 2).state_dict(), tmp_path / "net.pth"))
    assert families_to_ask(checkpoint) == ("yolox",)


def test_a_family_without_the_method_knows_nothing() -> None:
    checkpoint = load_checkpoint(DIGITS / "yolox")
    assert registry.recognise_with(registry.get_family("module"), checkpoint) is None


class _Trained(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.yaml = {"nc": 3}


def test_what_was_pickled_is_there_without_its_tensors(tmp_path: Path) -> None:
    checkpoint = load_checkpoint(saved({"model": _Trained(), "epoch": 3}, tmp_path / "net.pth"))
    model = checkpoint.held["model"]
    assert (class_of(model) or "").endswith("._Trained")
    assert (checkpoint.held["epoch"], vars(model)["yaml"]) == (3, {"nc": 3})
    layer = vars(model)["_modules"]["layer"]
    assert (class_of(layer), vars(layer)["_parameters"]) == ("torch.nn.modules.linear.Linear", {})


@pytest.mark.slow
@pytest.mark.parametrize("family", ["torchvision_classifier", "torchvision_detector", "timm_classifier"])
def test_the_table_is_that_of_the_libraries(family: str) -> None:
    import fingerprints

    of = {name: (variants, make) for name, variants, make in fingerprints.makers()}
    variants, make = of[family]
    for variant in variants[:: max(1, len(variants) // 12)]:
        network = fingerprints.made(make, variant)
        assert variant in variants_of(family, network.state_dict()), variant


def test_a_network_that_lacks_or_has_a_tensor_is_told_by_name(tmp_path: Path) -> None:
    state = models.resnet18(num_classes=OTHER_CLASSES).state_dict()
    lacking = {name: one for name, one in state.items() if name != "layer4.1.bn2.weight"}
    assert told(lacking, tmp_path) == (
        "holds 121 tensors, nearly those of torchvision's resnet18: it lacks layer4.1.bn2.weight [512]"
    )
    grey = state | {"conv1.weight": torch.zeros(64, 1, 7, 7), "more.weight": torch.zeros(2)}
    assert told(grey, tmp_path) == (
        "holds 123 tensors, nearly those of torchvision's resnet18: it has more.weight [2] besides; "
        "conv1.weight is [64, 1, 7, 7], there [64, 3, 7, 7]"
    )


def told(state: dict[str, torch.Tensor], folder: Path) -> str:
    """What is said of a checkpoint, up to the advice."""
    with pytest.raises(CheckpointError) as caught:
        identified(saved(state, folder / "best.pt"))
    return str(caught.value).removeprefix(f"{folder / 'best.pt'} ").partition(". ")[0]


def test_a_backbone_under_a_prefix_is_told(tmp_path: Path) -> None:
    network = models.squeezenet1_1(num_classes=OTHER_CLASSES).state_dict()
    state = {f"net.body.{name}": one for name, one in network.items() if not name.startswith("classifier")}
    state["net.head.weight"] = torch.zeros(3, 512)
    with pytest.raises(CheckpointError, match="torchvision's squeezenet1_1") as caught:
        identified(saved(state, tmp_path / "best.pt"))
    for part in (
        'its names begin with "net.body."',
        "it lacks 2 tensors (classifier.1.weight [2, 512, 1, 1], classifier.1.bias [2])",
        "it has net.head.weight [3, 512] besides",
        "docs/any-model.md",
    ):
        assert part in str(caught.value)


def test_a_detector_that_lacks_a_tensor_is_told_by_name(tmp_path: Path) -> None:
    state = torchvision_detector.make("ssdlite320_mobilenet_v3_large", OTHER_CLASSES, {}).state_dict()
    lost = [*state][10]
    del state[lost]
    with pytest.raises(CheckpointError, match=f"it lacks {lost} "):
        identified(saved(state, tmp_path / "best.pt"))


def test_a_network_of_nobody_is_not_likened() -> None:
    assert near_variants(nn.Linear(3, 2).state_dict()) == ()
    assert near_variants({}) == ()
