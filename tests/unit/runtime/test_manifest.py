"""The manifest: what a bundle and a model file say of themselves, and what is refused as no manifest."""

import json
from dataclasses import replace
from typing import Any

import pytest

from onnxproof.errors import ModelFileError
from onnxproof.runtime.manifest import FORMAT, ClassInfo, Manifest, Preprocess
from onnxproof.tensors import Dim, Field, TensorSpec

HEIGHT, WIDTH = Dim("height", 64, 640, 32), Dim("width", 64, 640, 32)
MANIFEST = Manifest(
    name="mine",
    task="detection",
    family="yolox",
    inputs=(TensorSpec("input", "float32", ("batch", 3, "height", "width"), (0, 1)),),
    outputs=(TensorSpec("output", "float32", ("batch", "anchors", 6)),),
    dims=(Dim("batch", 1, 8), HEIGHT, WIDTH),
    preprocess=Preprocess("input", "NCHW", "float32", 255, "crop", 256, HEIGHT, WIDTH),
    classes=(ClassInfo("zero", (255, 0, 7)), ClassInfo("Größe", (0, 0, 0))),
    postprocess={"decode": "packed", "outputs": ["output"], "score_threshold": 0.45},
    opset=20,
    exporter="torch.export",
    simplify="onnxsim",
    checkpoint_sha256="c0ffee",
    model_sha256="beef",
    versions={"torch": "2.9"},
    job={"name": "mine", "model": {"checkpoint": "../secret/path.pth"}},
    fields=(
        Field("output", "box", "px", 0, 4),
        Field("output", "label", "class", 4, 5, kind="label", ranks="score"),
        Field("output", "score", "probability", 5),
    ),
)
BARE = replace(
    MANIFEST, preprocess=None, classes=(), checkpoint_sha256=None, model_sha256=None, job=None, fields=()
)


@pytest.mark.parametrize("manifest", [MANIFEST, BARE], ids=["everything", "nothing-optional"])
def test_survives_a_file(manifest: Manifest) -> None:
    assert Manifest.from_json(json.loads(json.dumps(manifest.to_json()))) == manifest


def test_metadata_leaves_out_its_own_checksum_and_the_paths() -> None:
    text = MANIFEST.to_metadata()
    assert set(MANIFEST.to_json()) - set(json.loads(text)) == {"model_sha256", "job"}
    assert "beef" not in text
    assert "secret" not in text


def test_metadata_reads_back_as_the_manifest_without_them() -> None:
    read = Manifest.from_json(json.loads(MANIFEST.to_metadata()))
    assert read == replace(MANIFEST, model_sha256=None, job=None)


def test_metadata_does_not_depend_on_the_order_of_keys() -> None:
    backwards = replace(MANIFEST, postprocess=dict(reversed([*MANIFEST.postprocess.items()])))
    assert backwards.to_metadata() == MANIFEST.to_metadata()


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in MANIFEST.to_json().items() if name != key}


@pytest.mark.parametrize("key", sorted(set(MANIFEST.to_json()) - {"model_sha256", "job", "format", "fields"}))
def test_missing_key_is_refused_by_name(key: str) -> None:
    with pytest.raises(ModelFileError, match=f"'{key}'"):
        Manifest.from_json(without(key))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({"format": FORMAT + 1}, [f"format {FORMAT + 1} is not {FORMAT}"], id="a-newer-format"),
        pytest.param({"format": str(FORMAT)}, ["is not"], id="a-format-of-another-type"),
        pytest.param({"inputs": 3}, ["not one that onnxproof wrote"], id="no-list-of-inputs"),
        pytest.param({"dims": [{"name": "n"}]}, ["not one that onnxproof wrote"], id="half-a-dim"),
        pytest.param({"preprocess": {}}, ["not one that onnxproof wrote"], id="an-empty-preprocess"),
        pytest.param({"postprocess": "packed"}, ["not one that onnxproof wrote"], id="text-for-a-table"),
        pytest.param({"fields": [{"name": "n"}]}, ["not one that onnxproof wrote"], id="half-a-field"),
    ],
)
def test_another_form_is_refused(change: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ModelFileError) as caught:
        Manifest.from_json({**MANIFEST.to_json(), **change})
    for word in (*words, "export"):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "document",
    [
        pytest.param({}, id="empty"),
        pytest.param([], id="a-list"),
        pytest.param("manifest", id="a-string"),
        pytest.param(None, id="null"),
    ],
)
def test_any_other_json_is_refused(document: Any) -> None:
    with pytest.raises(ModelFileError, match="format None"):
        Manifest.from_json(document)


def test_a_file_of_before_fields_were_written_has_one_an_output() -> None:
    labels = TensorSpec("labels", "int64", ("batch",))
    document = replace(MANIFEST, outputs=(*MANIFEST.outputs, labels)).to_json()
    del document["fields"]
    assert Manifest.from_json(document).fields == (
        Field("output", "output", ""),
        Field("labels", "labels", "", kind="label"),
    )
