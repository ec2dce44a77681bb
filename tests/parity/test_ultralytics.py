"""Ultralytics' networks from ``best.pt``: exported, verified, and predicted as Ultralytics predicts."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from PIL import Image

import onnxproof
from onnxproof.errors import CheckpointError, JobError
from onnxproof.export.checkpoint import load_checkpoint
from onnxproof.export.model import build_model, model_with
from onnxproof.finding.draft import draft
from onnxproof.job import load_job
from onnxproof.pipeline import Bundle
from onnxproof.runtime.tasks import get_task
from onnxproof.validate.compare.turned import corner_distances
from onnxproof.validate.legs.pytorch import TorchLeg
from onnxproof.validate.sight.facts import Sight
from onnxproof.validate.sight.link import see
from onnxproof.wrappers.identify import identify
from onnxproof.wrappers.registry import get_family

SIZES = ("dims.batch=1..2", "dims.height=64..128 step 32", "dims.width=64..128 step 32")


@pytest.fixture(scope="module", autouse=True)
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The helper that makes checkpoints. What importing Ultralytics replaces is put back afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("YOLO_CONFIG_DIR", str(tmp_path_factory.mktemp("settings")))
        patch.setenv("YOLO_OFFLINE", "true")
        for owner, name in ((torch, "save"), (Image, "open")):
            patch.setattr(owner, name, getattr(owner, name))
        with np.printoptions():
            pytest.importorskip("ultralytics.nn.tasks")
        import yolos

        yield yolos


def exported(yolos: Any, folder: Path, kind: str, variant: str, *more: str, **changes: Any) -> Bundle:
    """The bundle of a checkpoint. It passed, and the function link is exact."""
    size = 160 if kind == "rtdetr" else 96
    file = yolos.save_best(folder, yolos.network_of(kind, variant, **changes), kind, size)
    sizes = () if kind in ("classify", "rtdetr") else SIZES
    bundle = onnxproof.export(yolos.job_of(file), out=folder / "out", set=yolos.settings(*sizes, *more))
    assert bundle.verdict is not None
    assert bundle.verdict.passed, [check for check in bundle.verdict.checks if check.status != "pass"]
    assert any(check.name == "function" for check in bundle.verdict.checks)
    assert bundle.verdict.to_json()["decisions"]["matched"] > 0
    return bundle


def assert_same_pipeline(bundle: Bundle) -> None:
    """The link ``pipeline`` was asked, and no decision differs."""
    assert bundle.verdict is not None
    sight = bundle.verdict.pipeline
    assert sight is not None
    assert (sight.own, sight.differences) == ("YOLO.predict", 0), sight.causes
    assert sight.matched > 3


def predicted(yolos: Any, bundle: Bundle) -> tuple[Any, Any]:
    """What the bundle and Ultralytics itself find on the scene."""
    import ultralytics

    yolo: Any = getattr(ultralytics, "YOLO")  # noqa: B009 - mypy sees no export
    found = onnxproof.load(bundle.path).predict(yolos.SCENE)
    assert found.draw(yolos.SCENE).size == (found.width, found.height)
    cuts = getattr(bundle.manifest.contract.reading, "cuts", None)
    (wanted,) = yolo(str(bundle.path.parents[1] / "best.pt")).predict(
        str(yolos.SCENE), verbose=False, nms=False if cuts and cuts.iou_threshold is None else None
    )
    return found.decisions, wanted


def assert_same_boxes(found: Any, wanted: Any) -> None:
    """Each detection of either side is one of the other's. Ultralytics folds its norms in float32, so boxes
    of an untrained network differ by hundredths of a pixel, and one in thirty may be a coin toss."""
    ours = np.column_stack((found.boxes, 100 * found.scores, 100 * found.labels))
    theirs = wanted.boxes.data.numpy() * (1, 1, 1, 1, 100, 100)
    apart = np.abs(ours[:, None] - theirs[None]).max(axis=-1)
    for axis in (0, 1):
        assert np.count_nonzero(apart.min(axis=axis) > 0.1) <= apart.shape[1 - axis] / 30


def variants(in_ci: Sequence[str], long: Sequence[str]) -> pytest.MarkDecorator:
    """A row for each variant. Those in CI are of different heads or blocks."""
    rows = [*in_ci, *(pytest.param(variant, marks=pytest.mark.long) for variant in long)]
    return pytest.mark.parametrize("variant", rows)


SMALL = {"scales": {"n": [0.5, 0.125, 256]}}
"""Half as wide as the smallest YOLO11."""


@pytest.mark.slow
@variants(["yolo26n"], long=["yolov5n", "yolov8n", "yolov9t", "yolov10n", "yolo11n", "yolo12n"])
def test_a_detector_finds_what_ultralytics_finds(library: Any, tmp_path: Path, variant: str) -> None:
    bundle = exported(library, tmp_path, "detect", variant)
    found, wanted = predicted(library, bundle)
    assert len(found) > 3
    assert_same_boxes(found, wanted)
    assert bundle.verdict is not None
    sight = bundle.verdict.pipeline
    assert sight is not None
    assert (sight.own, sight.matched, sight.causes) == ("YOLO.predict", len(wanted.boxes), ())


@pytest.mark.slow
def test_the_output_of_ultralytics_own_export_passes_too(library: Any, tmp_path: Path) -> None:
    bundle = exported(library, tmp_path, "detect", "yolo11n", "wrapper.decode=channels")
    found, wanted = predicted(library, bundle)
    assert len(found) > 3
    assert_same_boxes(found, wanted)


@pytest.mark.parametrize(
    ("change", "stage", "words"),
    [
        pytest.param(
            {"filter": "pillow-bilinear"},
            "preprocessing",
            "the picture was resized with Pillow bilinear; in YOLO.predict it is resized with OpenCV linear",
            id="another-filter",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"channels": "bgr"},
            "preprocessing",
            "given as BGR",
            id="swapped-channels",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"place": "top-left"},
            "preprocessing",
            "placed at the top-left",
            id="padding-elsewhere",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_difference_from_ultralytics_is_traced_to_its_stage(
    library: Any, tmp_path: Path, change: dict[str, Any], stage: str, words: str
) -> None:
    file = library.save_best(tmp_path, library.network_of("detect", "yolo11n", **SMALL), "detect")
    model, _ = build_model(load_job(library.job_of(file), library.settings(*SIZES)))
    contract, leg = model.contract, TorchLeg(model, 1)
    assert contract.preprocess is not None
    assert not isinstance(model.own, str)
    own, bounds = model.own(), {"box": 1e-3, "score": 5e-6}
    pictures = [library.SCENE, library.SCENE.with_name("scene-02.png")]
    healthy = see(contract, leg, leg, own, pictures, bounds, sound=True)
    assert (healthy.causes, healthy.matched) == ((), healthy.decisions)
    planted = replace(contract, preprocess=replace(contract.preprocess, **change))
    found = see(planted, leg, leg, own, pictures, bounds, sound=True)
    assert {cause.stages for cause in found.causes} == {(stage,)}
    assert words in found.causes[0].why
    assert found.differences > 0


@pytest.mark.slow
def test_pictures_of_a_file_of_one_size_are_compared_at_that_size(library: Any, tmp_path: Path) -> None:
    """Ultralytics gives an exported file pictures of the file's own size, whatever it is asked for."""
    file = library.save_best(tmp_path, library.network_of("detect", "yolo11n", **SMALL), "detect", 64)

    def seen(*more: str) -> Sight:
        sizes = ("dims.batch=1", "dims.height=96", "dims.width=96", *more)
        model, _ = build_model(load_job(library.job_of(file), library.settings(*sizes)))
        leg = TorchLeg(model, 1)
        assert not isinstance(model.own, str)
        bounds = {"box": 1e-3, "score": 5e-6}
        return see(model.contract, leg, leg, model.own(), [library.SCENE], bounds, sound=True)

    whole = seen()
    assert (whole.pictures, whole.causes, whole.matched) == (1, (), whole.decisions)
    assert whole.matched > 3
    less = seen("predict.size=64")
    assert less.pictures == 1
    assert less.differences > 0
    assert {cause.stages for cause in less.causes} == {("preprocessing",)}
    assert "was resized to 64 px; in YOLO.predict it is resized to 96 px" in less.causes[0].why


@pytest.mark.long(
    "test_a_detector_finds_what_ultralytics_finds",
    "tests/parity/test_hugging_face.py::test_a_saved_model_is_exported_proved_and_predicted",
)
def test_rt_detr_needs_no_nms(library: Any, tmp_path: Path) -> None:
    bundle = exported(library, tmp_path, "rtdetr", "rtdetr-l", "predict.size=160", "dims.batch=1..2")
    found, wanted = predicted(library, bundle)
    assert bundle.manifest.contract.reading.to_json()["decode"] == "queries"
    assert len(found) > 3
    assert_same_boxes(found, wanted)


@pytest.mark.slow
@variants(["yolo11n-seg"], long=["yolov8n-seg", "yolo26n-seg"])
def test_masks_are_those_of_ultralytics(library: Any, tmp_path: Path, variant: str) -> None:
    bundle = exported(library, tmp_path, "segment", variant)
    assert_same_pipeline(bundle)
    found, wanted = predicted(library, bundle)
    assert len(found) == len(wanted.boxes) > 3
    np.testing.assert_allclose(found.detections.boxes, wanted.boxes.xyxy.numpy(), atol=0.05)
    predictor, task = onnxproof.load(bundle.path), get_task("instance_segmentation")
    reading = predictor.contract.reading
    (evidence,) = task.evidence(predictor.run(library.SCENE), {}, reading, {})
    overlaps = []
    for region, mask in zip(
        task.decide(evidence, reading).regions(), wanted.masks.data.numpy() > 0, strict=True
    ):
        ours = np.zeros(mask.shape, bool)
        height, width = region.pixels.shape
        ours[region.top : region.top + height, region.left : region.left + width] = region.pixels
        overlaps.append((ours & mask).sum() / max((ours | mask).sum(), 1))
    assert min(overlaps) > 0.99  # in the input's pixels, where both decide


@pytest.mark.slow
@variants(["yolo11n-pose"], long=["yolov8n-pose", "yolo26n-pose"])
def test_keypoints_are_those_of_ultralytics(library: Any, tmp_path: Path, variant: str) -> None:
    bundle = exported(library, tmp_path, "pose", variant, kpt_shape=[5, 3])
    assert_same_pipeline(bundle)
    found, wanted = predicted(library, bundle)
    assert len(found) == len(wanted.boxes) > 3
    assert found.points.shape[1:] == (5, 3)
    np.testing.assert_allclose(found.points, wanted.keypoints.data.numpy(), atol=0.05)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "variant", "decode"),
    [
        pytest.param("pose", "yolo11n-pose", "nms-padded", id="keypoints"),
        pytest.param("segment", "yolo11n-seg", "nms-padded", id="masks", marks=pytest.mark.long),
        pytest.param("obb", "yolo11n-obb", "nms", id="oriented-boxes-in-a-list"),
        pytest.param("obb", "yolo11n-obb", "nms-padded", id="oriented-boxes", marks=pytest.mark.long),
        pytest.param("detect", "yolo11n", "nms-padded", id="boxes", marks=pytest.mark.long),
    ],
)
def test_nms_in_the_graph_leaves_what_ultralytics_leaves(
    library: Any, tmp_path: Path, kind: str, variant: str, decode: str
) -> None:
    asked = (f"wrapper.decode={decode}", "validate.max_detections=20", "validate.iou_threshold=0.4")
    bundle = exported(library, tmp_path, kind, variant, *asked, **SMALL)
    assert_same_pipeline(bundle)


@pytest.mark.slow
@variants(["yolo26n-obb"], long=["yolov8n-obb", "yolo11n-obb"])
def test_oriented_boxes_are_those_of_ultralytics(library: Any, tmp_path: Path, variant: str) -> None:
    bundle = exported(library, tmp_path, "obb", variant)
    assert_same_pipeline(bundle)
    found, wanted = predicted(library, bundle)
    assert len(found) == len(wanted.obb) > 3
    distances = corner_distances(found.boxes, wanted.obb.xywhr.numpy())
    assert np.diag(distances).max() < 0.1


@pytest.mark.slow
@variants(["yolo11n-cls"], long=["yolov8n-cls", "yolo26n-cls"])
def test_a_classifier_ranks_as_ultralytics_does(library: Any, tmp_path: Path, variant: str) -> None:
    bundle = exported(library, tmp_path, "classify", variant)
    found, wanted = predicted(library, bundle)
    assert int(found.labels[0]) == wanted.probs.top1
    assert found.probabilities[found.labels[0]] == pytest.approx(float(wanted.probs.top1conf), abs=1e-3)


@pytest.mark.long("tests/parity/test_check_ultralytics.py::test_a_damaged_file_fails")
def test_an_angle_that_is_wrong_fails(library: Any, tmp_path: Path) -> None:
    file = library.save_best(tmp_path, library.network_of("obb", "yolo11n-obb", **SMALL), "obb")
    asked = library.settings(*SIZES)
    bundle = onnxproof.export(library.job_of(file), out=tmp_path / "out", set=asked, validate=False)
    model, boxes = onnx.load(bundle.path / "model.onnx"), bundle.manifest.contract.reading.outputs[0]
    (maker,) = (node for node in model.graph.node if boxes in node.output)
    maker.output[list(maker.output).index(boxes)] = "straight"
    turn = numpy_helper.from_array(np.array([0, 0, 0, 0, 0.01], np.float32), "turn")
    model.graph.initializer.append(turn)
    model.graph.node.append(helper.make_node("Add", ["straight", "turn"], [boxes]))
    damaged = tmp_path / "damaged.onnx"
    onnx.save(model, damaged)
    verdict = onnxproof.validate(bundle.path, onnx=damaged)
    assert not verdict.passed


@pytest.mark.slow
def test_the_package_prints_nothing_and_leaves_other_libraries_alone(tmp_path: Path) -> None:
    """Standard output may carry a JSON document."""
    code = """
import PIL.Image, numpy, torch
before = PIL.Image.open, torch.save, numpy.get_printoptions()
from onnxproof.wrappers.registry import get_family
get_family("ultralytics")
assert (PIL.Image.open, torch.save, numpy.get_printoptions()) == before
from ultralytics.utils import AUTOINSTALL
assert not AUTOINSTALL
"""
    environment = {**os.environ, "YOLO_CONFIG_DIR": str(tmp_path), "YOLO_OFFLINE": "true"}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout) == (0, ""), ran.stderr


def test_what_a_checkpoint_is_is_read_without_the_package_building_it(library: Any, tmp_path: Path) -> None:
    file = library.save_best(
        tmp_path, library.network_of("pose", "yolo11n-pose", kpt_shape=[5, 3]), "pose", 160
    )
    found = identify(load_checkpoint(file))
    assert (found.family, found.task, found.variant) == ("ultralytics", "keypoints", None)
    assert "PoseModel of Ultralytics with 3 classes" in found.why
    assert found.values()["predict.size"] == 160


def test_a_state_dict_without_a_job_is_told_by_its_name_or_asked_for_it(library: Any, tmp_path: Path) -> None:
    whole = library.network_of("detect", "yolo11n").state_dict()
    halves = {name: one.half() if one.is_floating_point() else one for name, one in whole.items()}
    for content in (whole, halves):
        for name in ("weights.pth", "yolo11n.pt"):
            torch.save(content, tmp_path / name)
        with pytest.raises(CheckpointError, match=r"name its yaml with --set model\.variant=yolo11n"):
            draft(tmp_path / "weights.pth")
        for name, overrides in (("weights.pth", ["model.variant=yolo11n"]), ("yolo11n.pt", [])):
            made = draft(tmp_path / name, set=overrides)
            assert (made.job.model.family, made.job.model.variant) == ("ultralytics", "yolo11n")
            assert model_with(made.job, made.checkpoint).contract.task == "detection"


def test_a_state_dict_needs_the_name_of_its_yaml(library: Any, tmp_path: Path) -> None:
    network = library.network_of("classify", "yolo11n-cls")
    file = tmp_path / "weights.pth"
    torch.save(network.state_dict(), file)
    job = library.job_of(file)
    family, checkpoint = get_family("ultralytics"), load_checkpoint(file)
    with pytest.raises(JobError, match=r"only tensors: give model\.variant"):
        family.build(load_job(job), checkpoint)
    with pytest.raises(JobError, match="names no yaml of ultralytics"):
        family.build(load_job(job, ["model.variant=yolo99z"]), checkpoint)
    model = family.build(load_job(job, ["model.variant=yolo11n-cls"]), checkpoint)
    assert model.contract.task == "classification"
    assert [entry.name for entry in model.contract.classes] == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param(
            {"backbone": [[-1, 1, "torch_safe_load", ["x.pt"]]]}, "no layer of ultralytics", id="function"
        ),
        pytest.param({"activation": "print('x')"}, "expected one of torch.nn", id="activation"),
        pytest.param(
            {"backbone": [[-1, 1, "TorchVision", [9, "x"]]]}, "no layer of ultralytics", id="download"
        ),
    ],
)
def test_a_yaml_that_would_run_something_is_refused(
    library: Any, tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    network = library.network_of("classify", "yolo11n-cls")
    network.yaml = {**network.yaml, **change}
    file = library.save_best(tmp_path, network, "classify")
    with pytest.raises(CheckpointError, match=says):
        get_family("ultralytics").build(load_job(library.job_of(file)), load_checkpoint(file))
