"""A bundle's folder: what to give in place of one that holds no model, and whose manifest it holds."""

import json
from pathlib import Path

import pytest
from contracts import changed
from contracts import manifest as made

from onnxproof.errors import ModelFileError
from onnxproof.runtime.folder import model_file, note_on_manifest
from onnxproof.runtime.manifest import Manifest

CARRIED = made(name="mine")


def write(folder: Path, manifest: Manifest) -> None:
    (folder / "manifest.json").write_text(json.dumps(manifest.to_json()), encoding="utf-8")


@pytest.mark.parametrize(
    ("files", "says"),
    [
        pytest.param(["a.txt"], "give a bundle (the folder that export wrote)", id="nothing-of-ours"),
        pytest.param(
            ["x/model.onnx", "y/z.txt"], "give one that is in it: {folder}/x", id="folder-of-bundles"
        ),
        pytest.param(
            ["b.onnx", "a.onnx"], "give one that is in it: {folder}/a.onnx, {folder}/b.onnx", id="models"
        ),
        pytest.param(
            [f"{name}.onnx" for name in "abcde"],
            "{folder}/c.onnx and 2 more",
            id="many-models",
        ),
        pytest.param(["manifest.json"], "only the manifest.json of one: export the job again", id="lost"),
    ],
)
def test_a_folder_without_a_model_says_what_to_give(files: list[str], says: str, tmp_path: Path) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(ModelFileError) as refused:
        model_file(tmp_path)
    assert says.format(folder=tmp_path) in str(refused.value)
    assert "holds no model.onnx" in str(refused.value)


def test_a_manifest_of_the_same_file_needs_no_note(tmp_path: Path) -> None:
    assert note_on_manifest(tmp_path, CARRIED) is None
    write(tmp_path, changed(CARRIED, model_sha256="beef", job={"name": "mine"}))
    assert note_on_manifest(tmp_path, CARRIED) is None
    assert note_on_manifest(tmp_path / "model.onnx", CARRIED) is None


def test_a_manifest_of_another_file_is_told_by_the_keys_that_differ(tmp_path: Path) -> None:
    other = changed(CARRIED, opset=17, checkpoint_sha256="c0ffee", family_package="acme 1.0")
    write(tmp_path, other)
    said = note_on_manifest(tmp_path, CARRIED)
    assert said is not None
    assert "they differ in family_package, opset, checkpoint_sha256" in said
    assert "the metadata in model.onnx is used" in said
    write(tmp_path, CARRIED)
    assert "differ in " in (note_on_manifest(tmp_path, other) or "")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(b"{", "is no JSON", id="cut-short"),
        pytest.param(b"\xff", "cannot be read", id="not-utf-8"),
        pytest.param(b'{"format": 7}', "format 7 is not 1", id="of-the-future"),
    ],
)
def test_a_broken_manifest_is_told(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    said = note_on_manifest(tmp_path, CARRIED)
    assert said is not None
    assert says in said
    assert "the metadata in model.onnx is used" in said


def test_a_manifest_beside_a_model_of_another_maker_is_told(tmp_path: Path) -> None:
    write(tmp_path, CARRIED)
    said = note_on_manifest(tmp_path, None)
    assert said is not None
    assert "carries no onnxproof metadata" in said
