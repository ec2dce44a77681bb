"""Segmenters of torchvision and of segmentation-models-pytorch, from checkpoints as they are saved."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision import models

import onnxproof
from onnxproof.errors import CheckpointError, JobError
from onnxproof.export.model import build_model
from onnxproof.job import Job
from onnxproof.normalizations import NORMALIZATIONS
from onnxproof.wrappers.families import torchvision_segmenter
from onnxproof.wrappers.family import Checkpoint

CLASSES = 3
SLOW = pytest.mark.slow


def job_of(family: str, checkpoint: Path, **model: Any) -> Job:
    document = {
        "name": "segmenter",
        "model": {"family": family, "checkpoint": str(checkpoint), **model},
        "dims": {"batch": "1..2", "height": 64, "width": "64..96 step 32"},
        "validate": {"effort": "quick", "threads": 1},
    }
    return Job.from_document(document, folder=Path(), source="the test")


def seeded(network: nn.Module) -> nn.Module:
    """A network whose norms have seen something."""
    torch.manual_seed(0)
    with torch.no_grad():
        for part in network.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.uniform_(-0.2, 0.2)  # type: ignore[union-attr]
                part.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    return network.eval()


def torchvisions(variant: str, **more: Any) -> nn.Module:
    network: nn.Module = models.get_model(
        variant, weights=None, weights_backbone=None, num_classes=CLASSES, **more
    )
    return seeded(network)


@pytest.mark.slow
@pytest.mark.parametrize(
    "variant", ["lraspp_mobilenet_v3_large", pytest.param("fcn_resnet50", marks=pytest.mark.long)]
)
def test_torchvisions_segmenters_are_exported(variant: str, tmp_path: Path) -> None:
    more = {"aux_loss": True} if variant.startswith("fcn") else {}
    network = torchvisions(variant, **more)
    file = tmp_path / "model_29.pth"
    torch.save({"model": network.state_dict(), "epoch": 29}, file)
    bundle = onnxproof.export(job_of(torchvision_segmenter.FAMILY.name, file), out=tmp_path / "dist")
    assert bundle.verdict is not None
    assert bundle.verdict.status == "pass", [one for one in bundle.verdict.checks if one.status != "pass"]
    spec = bundle.manifest.contract.preprocess
    assert spec is not None
    assert (spec.resize, spec.size, spec.filter) == ("short-side", 520, "pillow-bilinear")
    assert [str(one) for one in bundle.manifest.contract.outputs] == [
        "int64[batch, 64, width]",
        "float32[batch, 64, width]",
    ]


@pytest.mark.slow
def test_a_head_for_training_alone_is_left_out(tmp_path: Path) -> None:
    torch.save(torchvisions("fcn_resnet50", aux_loss=True).state_dict(), tmp_path / "model.pth")
    model, _ = build_model(job_of(torchvision_segmenter.FAMILY.name, tmp_path / "model.pth"))
    assert [str(one) for one in model.contract.outputs] == [
        "int64[batch, 64, width]",
        "float32[batch, 64, width]",
    ]


@pytest.mark.parametrize("variant", models.list_models(module=models.segmentation))
def test_the_variant_follows_from_the_names(variant: str, tmp_path: Path) -> None:
    with torch.device("meta"):
        network = models.get_model(variant, weights=None, weights_backbone=None, num_classes=CLASSES)
    checkpoint = Checkpoint(tmp_path / "checkpoint.pth", "", network.state_dict())
    found = torchvision_segmenter.FAMILY.recognise(checkpoint)
    assert found is not None
    assert (found.variant, found.task) == (variant, "segmentation")


def test_another_network_is_told(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "checkpoint.pth")
    job = job_of(torchvision_segmenter.FAMILY.name, tmp_path / "checkpoint.pth")
    with pytest.raises(CheckpointError, match=r"none of the last layers of torchvision's segmenters"):
        build_model(job)


@pytest.fixture(scope="module")
def library() -> Any:
    return pytest.importorskip(
        "segmentation_models_pytorch", reason="segmentation-models-pytorch is not installed"
    )


class TestSmp:
    @pytest.mark.slow
    def test_a_saved_folder_names_its_network(self, library: Any, tmp_path: Path) -> None:
        """One channel stands for a class against the background."""
        network = seeded(library.Unet("resnet18", encoder_weights=None, classes=1, activation="sigmoid"))
        network.save_pretrained(tmp_path / "saved")  # type: ignore[operator]
        bundle = onnxproof.export(job_of("smp", tmp_path / "saved"), out=tmp_path / "dist")
        assert bundle.verdict is not None
        assert bundle.verdict.status == "pass", [one for one in bundle.verdict.checks if one.status != "pass"]
        assert [one.name for one in bundle.manifest.contract.classes] == ["background", "1"]
        model, _ = build_model(job_of("smp", tmp_path / "saved"))
        pictures = torch.rand(1, 3, 64, 96)
        mean, std = (torch.tensor(one).view(1, 3, 1, 1) for one in NORMALIZATIONS["imagenet"])
        with torch.no_grad():
            mask, confidence = model.module(pictures)
            wanted = network((pictures - mean) / std)[:, 0]
        assert torch.equal(mask, (wanted > 0.5).long())
        torch.testing.assert_close(confidence, torch.maximum(wanted, 1 - wanted))

    @pytest.mark.parametrize(
        "kind",
        [
            pytest.param("DeepLabV3Plus", marks=SLOW),
            *(pytest.param(kind, marks=pytest.mark.long) for kind in ("FPN", "UnetPlusPlus")),
        ],
    )
    def test_a_state_dict_needs_its_name(self, kind: str, library: Any, tmp_path: Path) -> None:
        network = seeded(getattr(library, kind)("resnet18", encoder_weights=None, classes=CLASSES))
        file = tmp_path / "best.pth"
        torch.save(network.state_dict(), file)
        with pytest.raises(JobError, match=r"model.variant is missing"):
            build_model(job_of("smp", file))
        with pytest.raises(JobError, match=r"model.kwargs.encoder_name is missing"):
            build_model(job_of("smp", file, variant=kind))
        job = job_of("smp", file, variant=kind.lower(), kwargs={"encoder_name": "resnet18"})
        bundle = onnxproof.export(job, out=tmp_path / "dist")
        assert bundle.verdict is not None
        assert bundle.verdict.status == "pass", [one for one in bundle.verdict.checks if one.status != "pass"]
