"""Faster R-CNN and Mask R-CNN of torchvision: rows, proposals and masks; what is damaged fails."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from damaged import Damage, behind, scaled, verdicts_on, without_the_best
from exports import bundle_of
from numpy.typing import NDArray
from once import Once
from PIL import Image
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import FrozenBatchNorm2d
from two_stage import CLASSES, SETTINGS, faster_rcnn, mask_rcnn

import onnxproof
from onnxproof.errors import JobError
from onnxproof.export.model import build_model
from onnxproof.job import Job, load_job
from onnxproof.job.document import override
from onnxproof.pipeline import Bundle
from onnxproof.validate.verdict import Verdict

ROOT = Path(__file__).parents[2]
PICTURES = sorted((ROOT / "examples" / "digits" / "images").glob("*.png"))
Array = NDArray[Any]

SMALL = (
    "dims.height=96..224",
    "dims.width=96..224",
    "validate.effort=quick",
    "validate.threads=1",
    "validate.images=../examples/digits/images/scene-0[12].png",
    "predict.size=224",
    *(f"model.kwargs.{name}={value}" for name, value in SETTINGS.items()),
)


FEW = ("model.kwargs.box_detections_per_img=12",)


def checkpoint(network: Any, folder: Path, variant: str) -> Path:
    """The network's weights and the names of its classes, as a user keeps them."""
    folder.mkdir(parents=True)
    torch.save(network.state_dict(), folder / f"{variant}.pth")
    names = [f"thing {number}" for number in range(1, CLASSES)]
    (folder / "my-classes.json").write_text(json.dumps(names))
    return folder


def job_of(kind: str, backbone: str, folder: Path, *more: str) -> Job:
    overrides = (f"model.checkpoint={folder}", f"model.variant={kind}_{backbone}_fpn", *SMALL, *more)
    return load_job(ROOT / "configs" / f"torchvision-{kind}.toml", overrides)


def exported(
    once: Once, kind: str, network: Any, *more: str, validate: bool = True
) -> tuple[Job, Bundle, Any]:
    def save(folder: Path) -> None:
        checkpoint(network, folder / "weights", f"{kind}_resnet18_fpn")

    job = job_of(kind, "resnet18", once(f"weights of {kind}", save) / "weights", *more)
    return job, bundle_of(once, job, validate=validate), network


@pytest.fixture(scope="module")
def faster(once: Once) -> tuple[Job, Bundle, Any]:
    return exported(once, "fasterrcnn", faster_rcnn())


@pytest.fixture(scope="module")
def masked(once: Once) -> tuple[Job, Bundle, Any]:
    network = mask_rcnn(box_detections_per_img=12)
    return exported(once, "maskrcnn", network, *FEW, validate=False)


def passed(bundle: Bundle, *, least: int) -> None:
    verdict = bundle.verdict
    assert verdict is not None
    assert verdict.status == "pass", [check for check in verdict.checks if check.status != "pass"]
    (facts,) = verdict.facts
    assert facts.decisions is not None
    assert facts.decisions.matched >= least
    assert not facts.decisions.defects
    assert facts.held_back <= facts.rows / 50


@pytest.mark.slow
def test_faster_rcnn_passes_with_dozens_of_detections(faster: tuple[Job, Bundle, Any]) -> None:
    _, bundle, _ = faster
    passed(bundle, least=100)
    assert bundle.manifest.exporter == "torchscript"
    assert [spec.name for spec in bundle.manifest.contract.outputs] == ["boxes", "labels", "scores"]
    assert [axis for spec in bundle.manifest.contract.outputs for axis in spec.shape[:1]] == [
        "detections"
    ] * 3


@pytest.mark.long("tests/parity/test_digits_maskrcnn.py::test_the_trained_network_passes")
def test_mask_rcnn_passes_and_its_masks_are_measured(once: Once) -> None:
    _, bundle, _ = exported(once, "maskrcnn", mask_rcnn(box_detections_per_img=12), *FEW)
    passed(bundle, least=100)
    assert bundle.verdict is not None
    (facts,) = bundle.verdict.facts
    masks = next(field for field in facts.fields if field.name == "mask")
    assert masks.count > 100 * 96 * 96


@pytest.mark.slow
@pytest.mark.parametrize("picture", PICTURES[:2], ids=lambda path: path.stem)
def test_predict_gives_what_torchvision_gives(faster: tuple[Job, Bundle, Any], picture: Path) -> None:
    _, bundle, network = faster
    image = Image.open(picture).convert("RGB")
    resized = np.asarray(image.resize((224, 224)), np.float32) / 255
    with torch.no_grad():
        (wanted,) = network([torch.from_numpy(resized).permute(2, 0, 1)])
    found = onnxproof.load(bundle.path).predict(picture)
    keep = wanted["scores"] > 0.5
    scale = np.array([image.width / 224, image.height / 224] * 2)
    assert len(found.decisions) == int(keep.sum()) > 0
    np.testing.assert_allclose(found.decisions.boxes, wanted["boxes"][keep].numpy() * scale, atol=0.05)
    np.testing.assert_allclose(found.decisions.scores, wanted["scores"][keep].numpy(), atol=1e-4)
    assert found.decisions.labels.tolist() == (wanted["labels"][keep] - 1).tolist()
    (first, *_) = found.to_json()["boxes"]
    assert first["label"].startswith("thing ")
    assert 0 <= first["box"]["topX"] <= first["box"]["bottomX"] <= 1


@pytest.mark.slow
def test_predicted_masks_are_torchvisions(masked: tuple[Job, Bundle, Any]) -> None:
    _, bundle, network = masked
    resized = Image.open(PICTURES[0]).convert("RGB").resize((224, 224))
    with torch.no_grad():
        pixels = np.asarray(resized, np.float32) / 255
        (wanted,) = network([torch.from_numpy(pixels).permute(2, 0, 1)])
    found = onnxproof.load(bundle.path).predict(resized)
    keep = wanted["scores"] > 0.5
    assert len(found.decisions) == int(keep.sum()) > 0
    for region, mask in zip(found.decisions.regions(), wanted["masks"][keep, 0].numpy() > 0.5, strict=True):
        canvas = np.zeros((224, 224), bool)
        height, width = region.pixels.shape
        canvas[region.top : region.top + height, region.left : region.left + width] = region.pixels
        assert (canvas != mask).mean() < 1e-3
    entries = found.to_json()["boxes"]
    assert all(entry["polygon"] for entry in entries)


@pytest.mark.slow
def test_a_batch_is_refused_before_anything_is_built(faster: tuple[Job, Bundle, Any]) -> None:
    job, _, _ = faster
    batched = Job.from_document(
        {**job.to_json(), "dims": {"batch": "1..4"}}, folder=job.folder, source="test"
    )
    with pytest.raises(JobError, match=r'dims.batch = "1..4": with NMS in the graph .* at batch 1 only'):
        build_model(batched)


@pytest.mark.slow
def test_the_thresholds_in_the_graph_are_no_settings_of_the_job(faster: tuple[Job, Bundle, Any]) -> None:
    job, _, _ = faster
    document = {**job.to_json(), "validate": {"iou_threshold": 0.4}}
    with pytest.raises(JobError, match="box_nms_thresh"):
        build_model(Job.from_document(document, folder=job.folder, source="test"))


def half_weights(model: onnx.ModelProto) -> None:
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.ndim > 1:
            rounded = values.astype(np.float16).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(rounded, tensor.name))


def failing(verdict: Verdict) -> set[str]:
    return {f"{check.name} {check.field or ''}".strip() for check in verdict.checks if check.status == "fail"}


DAMAGES: Mapping[str, tuple[Damage, str]] = {
    "box-head-scaled": (scaled("box_head.fc7.weight", 1.001), "ratio_rms score"),
    "float16-weights": (half_weights, "ratio_rms score"),
    "labels-off-by-one": (behind("labels", "Add", planted=np.array(1)), "ratio_max score"),
    "boxes-scaled": (behind("boxes", "Mul", planted=np.array(1.0001, np.float32)), "ratio_rms box_xyxy"),
    "the-best-row-is-dropped": (without_the_best, "decisions"),
}
"""What is done to the file, and a check that fails by it."""

LATER = ("float16-weights", "boxes-scaled")
"""Damages of a kind that another one shows, too."""


@pytest.mark.slow
@pytest.mark.parametrize("damage", [name for name in DAMAGES if name not in LATER])
def test_damage_fails_for_its_reason(faster: tuple[Job, Bundle, Any], once: Once, damage: str) -> None:
    fails_for_its_reason(faster, once, damage)


@pytest.mark.long("test_damage_fails_for_its_reason")
@pytest.mark.parametrize("damage", LATER)
def test_more_damage_fails_for_its_reason(faster: tuple[Job, Bundle, Any], once: Once, damage: str) -> None:
    fails_for_its_reason(faster, once, damage)


def fails_for_its_reason(faster: tuple[Job, Bundle, Any], once: Once, damage: str) -> None:
    job, bundle, _ = faster
    changes = {name: change for name, (change, _) in DAMAGES.items() if (name in LATER) == (damage in LATER)}
    verdict = verdicts_on(once, job, bundle, changes)[damage]
    assert verdict.status == "fail"
    assert DAMAGES[damage][1] in failing(verdict)


@pytest.mark.long(
    "tests/parity/test_digits_maskrcnn.py::test_a_weight_of_the_mask_head_moved_fails_in_the_masks_alone"
)
def test_masks_that_are_too_wide_fail(masked: tuple[Job, Bundle, Any], once: Once) -> None:
    job, bundle, _ = masked
    wider = {"wider": behind("masks", "Mul", planted=np.array(1.001, np.float32))}
    verdict = verdicts_on(once, job, bundle, wider)["wider"]
    assert {"ratio_rms mask"} <= failing(verdict)
    assert not {name for name in failing(verdict) if "score" in name or "box" in name}


@pytest.mark.long("tests/parity/test_digits_maskrcnn.py::test_the_trained_network_passes")
@pytest.mark.parametrize("backbone", ["resnet34", "resnet50", "resnet101", "resnet152"])
def test_mask_rcnn_on_every_resnet(tmp_path: Path, backbone: str) -> None:
    """At one size and with few masks: the other sizes and many masks are those of the ResNet-18."""
    weights = checkpoint(mask_rcnn(backbone), tmp_path / "weights", f"maskrcnn_{backbone}_fpn")
    few = ("dims.height=128", "dims.width=160", "model.kwargs.box_detections_per_img=10")
    passed(onnxproof.export(job_of("maskrcnn", backbone, weights, *few), out=tmp_path), least=50)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        pytest.param(("model.variant=maskrcnn_resnet19_fpn",), "did you mean maskrcnn_resnet1", id="close"),
        pytest.param(("model.variant=yolo",), "no detector of torchvision; there are", id="far"),
        pytest.param(("model.kwargs.min_sizes=3",), 'did you mean "min_size"', id="kwargs"),
    ],
)
def test_what_names_no_network_is_refused(
    faster: tuple[Job, Bundle, Any], overrides: tuple[str, ...], says: str
) -> None:
    job, _, _ = faster
    document = override(job.to_json(), overrides)
    with pytest.raises(JobError, match=says):
        build_model(Job.from_document(document, folder=job.folder, source="test"))


@pytest.mark.slow
def test_the_files_name_tells_the_variant(faster: tuple[Job, Bundle, Any], tmp_path: Path) -> None:
    job, _, network = faster
    torch.save(network.state_dict(), tmp_path / "fasterrcnn_resnet18_fpn-258fb6c6.pth")
    document = {**job.to_json(), "model": {**job.to_json()["model"], "checkpoint": str(tmp_path)}}
    del document["model"]["variant"]
    model, _ = build_model(Job.from_document(document, folder=job.folder, source="test"))
    assert len(model.contract.classes) == CLASSES
    (tmp_path / "fasterrcnn_resnet18_fpn-258fb6c6.pth").rename(tmp_path / "best.pth")
    with pytest.raises(JobError, match=r"the file name best.pth names no detector: give model.variant"):
        build_model(Job.from_document(document, folder=job.folder, source="test"))


def test_a_checkpoint_without_running_counts_has_frozen_norms(tmp_path: Path) -> None:
    network = FasterRCNN(resnet_fpn_backbone(backbone_name="resnet18", weights=None), num_classes=CLASSES)
    file = tmp_path / "fasterrcnn_resnet18_fpn.pth"
    torch.save({"model": network.state_dict()}, file)
    job = load_job(
        ROOT / "configs" / "torchvision-fasterrcnn.toml",
        (
            f"model.checkpoint={file}",
            "model.variant=fasterrcnn_resnet18_fpn",
            "model.kwargs.frozen_norm_eps=0.0",
        ),
    )
    model, _ = build_model(job)
    norms = [layer for layer in model.module.modules() if isinstance(layer, FrozenBatchNorm2d)]
    assert {norm.eps for norm in norms} == {0.0}
    assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in model.module.modules())
