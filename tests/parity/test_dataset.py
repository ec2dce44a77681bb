"""The demo's labelled scenes: both legs have one mAP, which another library confirms; damage fails."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from exports import bundle_of
from once import Once
from onnx import numpy_helper

import onnxproof
from onnxproof.cli import main
from onnxproof.pipeline import Bundle
from onnxproof.validate.dataset.run import SCORE_THRESHOLD
from onnxproof.validate.verdict import Check, Verdict

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"
SCENES = ROOT / "examples" / "digits" / "images"
FAST = ("validate.effort=quick", "validate.threads=1")
SMALL = ("dims.batch=1..3", 'dims.height="64..320 step 32"', 'dims.width="64..320 step 32"')


COCO = np.linspace(0, 1, 101).tolist(), np.linspace(0.5, 0.95, 10).tolist()
"""COCO's thresholds of recall and of IoU. torchmetrics rounds its own to float32, so that a recall of exactly
0.1 does not reach 0.1."""


def labelled(name: str) -> tuple[str, ...]:
    return (*FAST, f"validate.annotations=../examples/digits/{name}")


def exported(once: Once, job: str, annotations: str, *sizes: str) -> Bundle:
    return bundle_of(once, CONFIGS / job, (*labelled(annotations), *sizes))


@pytest.fixture(scope="module")
def yolox(once: Once) -> Bundle:
    return exported(once, "digits-yolox.toml", "images/scenes.json", *SMALL)


@pytest.fixture(scope="module")
def classifier(once: Once) -> Bundle:
    return exported(once, "digits-classifier.toml", "classifier/images/labels.json")


def verdict_of(bundle: Bundle) -> Verdict:
    assert bundle.verdict is not None
    return bundle.verdict


def dataset_check(verdict: Verdict) -> Check:
    (check,) = [check for check in verdict.checks if check.name == "dataset"]
    return check


@pytest.mark.slow
def test_the_detectors_map_is_the_same_in_both_legs(yolox: Bundle) -> None:
    verdict = verdict_of(yolox)
    assert verdict.passed, [check for check in verdict.checks if check.status != "pass"]
    (found,) = verdict.dataset
    assert (found.pictures, found.annotations, found.decisions.defects) == (12, 59, ())
    assert found.decisions.matched >= 59
    figures = {figure.name: figure for figure in found.figures}
    assert figures["mAP"].reference > 0.6
    assert figures["mAP at IoU 0.5"].reference > 0.8
    for figure in found.figures:
        assert figure.difference == pytest.approx(0, abs=1e-6)
    assert dataset_check(verdict).status == "pass"


def by_torchmetrics(
    bundle: Path,
    recalls: list[float] | None,
    ious: list[float] | None,
    threshold: float = SCORE_THRESHOLD,
) -> tuple[float, float]:
    """mAP, and mAP at IoU 0.5, of the file's predictions. None stands for torchmetrics's own thresholds."""
    from torchmetrics.detection import MeanAveragePrecision  # 2 s that no other test needs

    predictor = onnxproof.load(bundle, settings={"score_threshold": threshold})
    metric = MeanAveragePrecision("xyxy", "bbox", iou_thresholds=ious, rec_thresholds=recalls)
    truth = json.loads((SCENES / "scenes.json").read_text(encoding="utf-8"))
    for image in truth["images"]:
        digits = [entry for entry in truth["annotations"] if entry["image_id"] == image["id"]]
        boxes = np.array([entry["bbox"] for entry in digits], np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        found = predictor.predict(SCENES / image["file_name"]).decisions
        metric.update(
            [
                {
                    "boxes": torch.from_numpy(found.boxes),
                    "scores": torch.from_numpy(found.scores),
                    "labels": torch.from_numpy(found.labels),
                }
            ],
            [
                {
                    "boxes": torch.from_numpy(boxes),
                    "labels": torch.tensor([entry["category_id"] for entry in digits], dtype=torch.int64),
                }
            ],
        )
    computed = metric.compute()
    return computed["map"].item(), computed["map_50"].item()


@pytest.mark.slow
def test_it_is_the_map_that_torchmetrics_computes_of_the_files_predictions(yolox: Bundle) -> None:
    """As examples/digits/evaluate.py measures, on these scenes and through ``predict``."""
    figures = {figure.name: figure.candidate for figure in verdict_of(yolox).dataset[0].figures}
    wanted = by_torchmetrics(yolox.path, *COCO)
    assert (figures["mAP"], figures["mAP at IoU 0.5"]) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.slow
def test_the_figures_of_the_page(once: Once) -> None:
    """docs/dataset.md: of the demo's scenes, as torchmetrics rounds, and with a threshold for use."""
    bundle = bundle_of(once, CONFIGS / "digits-yolox.toml", validate=False).path
    assert by_torchmetrics(bundle, *COCO)[0] == pytest.approx(0.7152, abs=5e-5)
    assert by_torchmetrics(bundle, None, None)[0] == pytest.approx(0.7132, abs=5e-5)
    assert by_torchmetrics(bundle, *COCO, threshold=0.45)[0] == pytest.approx(0.7119, abs=5e-5)


@pytest.mark.slow
def test_the_bundle_tells_it_and_finds_the_labels_again(yolox: Bundle) -> None:
    written = json.loads((yolox.path / "parity.json").read_text(encoding="utf-8"))
    (told,) = written["dataset"]
    assert (told["leg"], told["pictures"], told["score_threshold"]) == ("ort-cpu", 12, SCORE_THRESHOLD)
    assert [figure["name"] for figure in told["figures"]] == ["mAP", "mAP at IoU 0.5"]
    again = onnxproof.validate(yolox.path)
    assert again.passed
    assert again.dataset == verdict_of(yolox).dataset


def test_a_job_without_labels_has_no_such_check(demo_bundle: Path) -> None:
    written = json.loads((demo_bundle / "parity.json").read_text(encoding="utf-8"))
    assert written["dataset"] is None
    assert "dataset" not in {check["name"] for check in written["checks"]}


def classes_permuted(graph: onnx.GraphProto) -> None:
    """Every bias and weight of the ten class outputs moves on by one class."""
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.ndim in (1, 4) and len(values) == 10:
            tensor.CopyFrom(numpy_helper.from_array(np.roll(values, 1, axis=0), tensor.name))


def biases_moved(graph: onnx.GraphProto) -> None:
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.shape == (10,):
            tensor.CopyFrom(numpy_helper.from_array(values - np.float32(1), tensor.name))


@pytest.mark.slow
@pytest.mark.parametrize("damage", [pytest.param(classes_permuted, marks=pytest.mark.long), biases_moved])
def test_a_damaged_file_has_another_map_and_fails(
    yolox: Bundle, damage: Callable[[onnx.GraphProto], None], tmp_path: Path
) -> None:
    proto = onnx.load(yolox.path / "model.onnx")
    damage(proto.graph)
    file = tmp_path / "model.onnx"
    onnx.save(proto, file)
    verdict = onnxproof.validate(yolox.path, onnx=file)
    check = dataset_check(verdict)
    (found,) = verdict.dataset
    assert check.status == "fail"
    assert found.decisions.defects
    assert found.figures[0].reference > 0.6
    assert check.value is not None
    assert check.value > 0.005
    if damage is classes_permuted:
        assert found.figures[0].candidate < 0.1


@pytest.mark.slow
def test_a_classifiers_accuracy(classifier: Bundle, tmp_path: Path) -> None:
    verdict = verdict_of(classifier)
    assert verdict.passed
    (figure,) = verdict.dataset[0].figures
    assert (figure.name, figure.difference) == ("accuracy, top 1", 0)
    assert figure.reference > 0.8
    predictor = onnxproof.load(classifier.path)
    folder = ROOT / "examples" / "digits" / "classifier" / "images"
    right = [
        int(predictor.predict(file).decisions.labels[0]) == int(file.stem[-1])
        for file in folder.glob("*.png")
    ]
    assert figure.candidate == pytest.approx(np.mean(right))
    proto = onnx.load(classifier.path / "model.onnx")
    classes_permuted(proto.graph)
    rolled = tmp_path / "model.onnx"
    for tensor in proto.graph.initializer:  # the last layer's weights may be laid out the other way round
        values = numpy_helper.to_array(tensor)
        if values.ndim == 2 and 10 in values.shape:
            axis = values.shape.index(10)
            tensor.CopyFrom(numpy_helper.from_array(np.roll(values, 1, axis=axis), tensor.name))
    onnx.save(proto, rolled)
    damaged = onnxproof.validate(classifier.path, onnx=rolled)
    assert dataset_check(damaged).status == "fail"
    assert damaged.dataset[0].figures[0].difference < -0.5


@pytest.mark.slow
def test_masks_and_boxes_of_the_mask_rcnn(once: Once) -> None:
    verdict = verdict_of(exported(once, "digits-maskrcnn.toml", "images/scenes.json"))
    assert verdict.passed, [check for check in verdict.checks if check.status != "pass"]
    figures = {figure.name: figure for figure in verdict.dataset[0].figures}
    assert list(figures) == ["mask mAP", "mask mAP at IoU 0.5", "box mAP", "box mAP at IoU 0.5"]
    assert figures["mask mAP"].reference > 0.5
    assert figures["box mAP"].reference > 0.6
    assert all(abs(figure.untied_difference) <= 0.001 for figure in figures.values())


def without_pictures(document: Any) -> Any:
    document["images"][3]["file_name"] = "scene-99.png"
    return document


def with_a_strange_category(document: Any) -> Any:
    document["categories"][4]["name"] = "four"
    return document


def without_annotations(document: Any) -> Any:
    return {**document, "annotations": []}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(None, ("labels.json does not exist", "COCO JSON"), id="missing"),
        pytest.param(lambda document: document["annotations"], ("is a list",), id="not-coco"),
        pytest.param(without_annotations, ("labels nothing on its 12 pictures",), id="no-annotation"),
        pytest.param(
            with_a_strange_category, ('"four" is annotated', "0, 1, 2", "Rename"), id="a-category-of-no-class"
        ),
        pytest.param(without_pictures, ("scene-99.png is missing", "looked for in"), id="no-picture"),
    ],
)
def test_a_wrong_json_is_refused_before_the_export(
    change: Callable[[Any], Any] | None,
    words: tuple[str, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "labels"
    folder.mkdir()
    if change is not None:
        shutil.copytree(SCENES, folder, dirs_exist_ok=True)
        document = change(json.loads((SCENES / "scenes.json").read_text(encoding="utf-8")))
        (folder / "labels.json").write_text(json.dumps(document), encoding="utf-8")
    key = f"validate.annotations={folder / 'labels.json'}"
    job, out = str(CONFIGS / "digits-yolox.toml"), str(tmp_path / "dist")
    monkeypatch.setattr(sys, "argv", ["onnxproof", "export", job, "--out", out, "--set", key])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    said = " ".join(capsys.readouterr().err.split())
    for word in ("validate.annotations", *words):
        assert word in said
    assert not (tmp_path / "dist" / "digits-yolox").exists()
