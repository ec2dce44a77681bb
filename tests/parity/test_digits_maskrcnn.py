"""The trained Mask R-CNN of the demo: its job passes, it finds the digits, damage fails."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from exports import bundle_of
from once import Once
from onnx import numpy_helper

import onnxproof
from onnxproof.pipeline import Bundle
from onnxproof.runtime import answer, parse_request
from onnxproof.runtime.nms import pairwise_iou

ROOT = Path(__file__).parents[2]
JOB = ROOT / "configs" / "digits-maskrcnn.toml"
SCENES = ROOT / "examples" / "digits" / "images"
LABELLED = (
    "validate.effort=quick",
    "validate.threads=1",
    "validate.annotations=../examples/digits/images/scenes.json",
)
"""As test_dataset.py asks for it, so that one export serves both."""


@pytest.fixture(scope="module")
def bundle(once: Once) -> Bundle:
    return bundle_of(once, JOB, LABELLED)


@pytest.mark.slow
def test_the_trained_network_passes(bundle: Bundle) -> None:
    assert bundle.verdict is not None
    assert bundle.verdict.passed, [check for check in bundle.verdict.checks if check.status != "pass"]
    (facts,) = bundle.verdict.facts
    assert facts.decisions is not None
    assert facts.decisions.matched >= 20
    assert {field.name for field in facts.fields if field.count} == {"box_xyxy", "score", "mask"}
    assert facts.held_back == 0


@pytest.mark.slow
def test_it_finds_the_digits(bundle: Bundle) -> None:
    predictor = onnxproof.load(bundle.path)
    truth = json.loads((SCENES / "scenes.json").read_text(encoding="utf-8"))
    found = total = 0
    for image in truth["images"]:
        decisions = predictor.predict(SCENES / image["file_name"]).decisions
        digits = [entry for entry in truth["annotations"] if entry["image_id"] == image["id"]]
        for digit in digits:
            x, y, width, height = digit["bbox"]
            wanted = np.array([[x, y, x + width, y + height]], np.float32)
            ious = pairwise_iou(wanted, decisions.detections.boxes)[0]
            right = decisions.detections.labels == digit["category_id"]
            found += bool((ious[right] > 0.5).any())
            total += 1
    assert found > 0.8 * total


@pytest.mark.slow
def test_a_request_is_answered_with_polygons(bundle: Bundle) -> None:
    request = {"input_data": {"columns": ["image"], "data": [str(SCENES / "scene-03.png"), "no picture"]}}
    good, bad = answer(onnxproof.load(bundle.path), parse_request(json.dumps(request)))
    boxes = good.to_json()["boxes"]
    assert boxes
    for entry in boxes:
        box = entry["box"]
        corners = np.concatenate([np.reshape(ring, (-1, 2)) for ring in entry["polygon"]])
        assert entry["label"] in "0123456789"
        assert (corners >= 0).all()
        assert (corners <= 1).all()
        # The mask lies in its box, but for the pixel that pasting adds.
        slack = 3 / 96
        assert corners.min(axis=0) == pytest.approx([box["topX"], box["topY"]], abs=0.1)
        assert (corners.max(axis=0) <= np.array([box["bottomX"], box["bottomY"]]) + slack).all()
    assert bad.error


@pytest.mark.slow
def test_a_weight_of_the_mask_head_moved_fails_in_the_masks_alone(bundle: Bundle, tmp_path: Path) -> None:
    proto = onnx.load(bundle.path / "model.onnx")
    tensor = next(
        entry for entry in proto.graph.initializer if "mask_predictor.mask_fcn_logits.weight" in entry.name
    )
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.0001), tensor.name))
    file = tmp_path / "model.onnx"
    onnx.save(proto, file)
    verdict = onnxproof.validate(bundle.path, onnx=file, trust=True)
    assert verdict.status == "fail"
    assert {check.field for check in verdict.checks if check.status == "fail" and check.field} == {"mask"}
