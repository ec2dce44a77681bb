"""What the file itself shows: its metadata."""

import json
from typing import Any

import onnx
import pytest

from onnxproof.runtime.manifest import METADATA_KEY
from onnxproof.validate.hazards import metadata_check

POST: dict[str, Any] = {"decode": "none", "strides": [8, 16, 32], "score_threshold": 0.45, "first_label": 1}


def file_with(text: str | None) -> onnx.ModelProto:
    model = onnx.ModelProto()
    if text is not None:
        onnx.helper.set_model_props(model, {METADATA_KEY: text})
    return model


def told(**changes: Any) -> str:
    return json.dumps({"postprocess": {**POST, **changes}})


@pytest.mark.parametrize(
    ("text", "status"),
    [
        pytest.param(told(), "pass", id="the-models"),
        pytest.param(told(score_threshold=0.6), "pass", id="a-setting-that-users-replace"),
        pytest.param(told(strides=[8, 32, 16]), "fail", id="other-strides"),
        pytest.param(told(anchors=[]), "fail", id="a-key-too-many"),
        pytest.param(json.dumps({"postprocess": {"decode": "none"}}), "fail", id="keys-missing"),
        pytest.param(json.dumps({"postprocess": []}), "fail", id="no-table"),
        pytest.param("[]", "fail", id="no-manifest"),
        pytest.param("{", "fail", id="no-json"),
        pytest.param(None, "skipped", id="none"),
    ],
)
def test_metadata_of_another_model_is_told(text: str | None, status: str) -> None:
    check = metadata_check(file_with(text), POST)
    assert check.status == status
    assert bool(check.reason) == (status != "pass")


def test_the_keys_that_differ_are_named() -> None:
    check = metadata_check(file_with(told(strides=[4, 8, 16], first_label=0)), POST)
    assert "another first_label, strides than the model" in check.reason
