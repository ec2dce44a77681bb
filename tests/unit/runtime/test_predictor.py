"""The predictor: what it takes, what it answers, and an answer without a single detection."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from PIL import Image

from onnxproof.errors import ModelFileError, RequestError
from onnxproof.runtime import load
from onnxproof.runtime.manifest import METADATA_KEY, Manifest

WHITE = np.full((32, 32, 3), 255, np.uint8)
BLACK = np.zeros((32, 32, 3), np.uint8)


def edited(file: Path, folder: Path, **changes: Any) -> Path:
    """A copy of a model with another manifest."""
    model = onnx.load(file)
    manifest = Manifest.from_json(json.loads(model.metadata_props[0].value))
    helper.set_model_props(model, {METADATA_KEY: replace(manifest, **changes).to_metadata()})
    onnx.save(model, folder / "edited.onnx")
    return folder / "edited.onnx"


def test_every_form_of_a_picture_gives_the_same(bright: Path, tmp_path: Path) -> None:
    predictor = load(bright, threads=1)
    file = tmp_path / "white.png"
    Image.fromarray(WHITE).save(file)
    expected = predictor.predict(WHITE).to_json()
    assert len(expected["boxes"]) == 1
    for picture in (file, str(file), file.read_bytes(), Image.open(file)):
        assert predictor.predict(picture).to_json() == expected


def test_boxes_come_in_the_pictures_own_pixels(bright: Path) -> None:
    (box,) = load(bright, threads=1).predict(WHITE).to_json()["boxes"]
    assert box["box_xyxy"] == [8, 4, 24, 20]
    assert (box["label"], box["score"]) == ("bright", 1.0)


def test_a_picture_without_detections_flows_through(bright: Path) -> None:
    prediction = load(bright, threads=1).predict(BLACK)
    assert prediction.decisions.boxes.shape == (0, 4)
    assert prediction.to_json() == {"boxes": []}
    assert prediction.lines() == ("0 detections",)
    np.testing.assert_array_equal(np.asarray(prediction.draw(BLACK)), BLACK)


def test_lines_are_a_summary_and_a_line_for_each(bright: Path) -> None:
    summary, row = load(bright, threads=1).predict(WHITE).lines()
    assert summary == "1 detection"
    assert row.startswith("bright")


def test_overrides_replace_the_files_settings(bright: Path) -> None:
    grey = np.full((32, 32, 3), 102, np.uint8)
    assert load(bright, threads=1).predict(grey).to_json()["boxes"] == []
    predictor = load(bright, threads=1, overrides={"score_threshold": 0.3})
    assert len(predictor.predict(grey).to_json()["boxes"]) == 1


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        pytest.param({"top_k": 0.5}, "top_k is not a setting of task detection", id="no-such-setting"),
        pytest.param({"score_threshold": 1.5}, "expected a number from 0 to 1", id="above-1"),
    ],
)
def test_overrides_that_cannot_be(bright: Path, overrides: dict[str, float], says: str) -> None:
    with pytest.raises(RequestError, match=says):
        load(bright, threads=1, overrides=overrides)


def test_another_tools_file_says_how_to_run_it(plain: Path) -> None:
    with pytest.raises(ModelFileError, match=r"no onnxproof metadata.*--input NAME=FILE.*load_plain"):
        load(plain, threads=1)


def test_a_model_without_pictures_says_how_to_run_it(bright: Path, tmp_path: Path) -> None:
    predictor = load(edited(bright, tmp_path, preprocess=None), threads=1)
    with pytest.raises(RequestError, match=r"float32\[1, 3, height, width\].*none a picture.*load_plain"):
        predictor.predict(WHITE)


def test_a_model_that_does_not_run_is_a_message(bright: Path, tmp_path: Path) -> None:
    manifest = load(bright, threads=1).manifest
    assert manifest.preprocess is not None
    renamed = edited(bright, tmp_path, preprocess=replace(manifest.preprocess, input="picture"))
    with pytest.raises(
        ModelFileError, match=r"does not run on picture float32\[1, 3, 16, 16\].*Export it again"
    ):
        load(renamed, threads=1).predict(WHITE)
