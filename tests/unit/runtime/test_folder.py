"""A bundle's folder: what to give in place of one that holds no model, and whose manifest it holds."""

import json
from pathlib import Path
from typing import Any

import pytest
from contracts import changed
from contracts import manifest as made
from PIL import Image

from onnxproof.errors import ModelFileError, PictureError
from onnxproof.runtime.archive import read_file, sha256_of
from onnxproof.runtime.beside import require_data
from onnxproof.runtime.folder import model_file, note_on_checksums, note_on_manifest, require_checksums
from onnxproof.runtime.look import Look, look_at
from onnxproof.runtime.manifest import Manifest
from onnxproof.runtime.preprocess import read_picture

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
        pytest.param(b'{"format": 7}', "format is 7, expected 1", id="of-the-future"),
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


def test_a_manifest_may_begin_with_a_mark_of_its_encoding(tmp_path: Path) -> None:
    write(tmp_path, CARRIED)
    file = tmp_path / "manifest.json"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert note_on_manifest(tmp_path, CARRIED) is None


def test_weights_that_no_checksum_holds_are_told(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"x")
    said = note_on_checksums(tmp_path)
    assert said is not None
    assert said.endswith("holds no manifest.json, so the weights were not checked")
    assert note_on_checksums(tmp_path / "model.onnx") is None
    write(tmp_path, changed(CARRIED, model_sha256=None))
    assert note_on_checksums(tmp_path) == (
        "manifest.json has no SHA-256 of model.onnx, so the weights were not checked"
    )
    write(tmp_path, changed(CARRIED, model_sha256="beef"))
    assert note_on_checksums(tmp_path) is None
    (tmp_path / "model.onnx.data").write_bytes(b"y")
    assert "no SHA-256 of model.onnx.data" in str(note_on_checksums(tmp_path))


def test_another_model_is_refused_with_what_else_can_be_done(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"x")
    write(tmp_path, changed(CARRIED, model_sha256="beef"))
    with pytest.raises(ModelFileError, match="--no-checksums"):
        require_checksums(tmp_path)
    with pytest.raises(ModelFileError, match="copy the whole bundle again; export it anew") as refused:
        require_checksums(tmp_path, otherwise="export it anew")
    assert "--no-checksums" not in str(refused.value)


def test_a_file_that_may_not_be_read_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbid(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    file = tmp_path / "model.onnx"
    file.write_bytes(b"x")
    Image.new("RGB", (2, 2)).save(tmp_path / "a.png")
    monkeypatch.setattr(Path, "open", forbid)
    monkeypatch.setattr(Path, "read_bytes", forbid)
    for read in (read_file, sha256_of, look_at):
        with pytest.raises(ModelFileError, match=r"model\.onnx cannot be read \(Permission denied\): give"):
            read(file)
    with pytest.raises(PictureError, match=r"a\.png cannot be read \(Permission denied\): give"):
        read_picture(tmp_path / "a.png")


@pytest.mark.parametrize("location", ["../../etc/passwd", "/etc/passwd", "a/../../b", "..\\b", "C:\\b"])
def test_weights_outside_of_the_folder_are_refused_whether_or_not_they_are_there(location: str) -> None:
    with pytest.raises(ModelFileError, match="outside of its folder"):
        require_data(Path("model.onnx"), Look(data={location: 0}))


def test_weights_are_followed_by_a_link_only_to_where_the_model_lies(tmp_path: Path) -> None:
    """Hugging Face's cache has links to both. ONNX Runtime refuses a link of the weights alone."""
    kept, shown, mixed = (tmp_path / name for name in ("blobs", "snapshot", "mixed"))
    for folder in (kept, shown, mixed):
        folder.mkdir()
    look = Look(data={"model.onnx.data": 4})
    for name in ("model.onnx", "model.onnx.data"):
        (kept / name).write_bytes(b"1234")
        (shown / name).symlink_to(kept / name)
    require_data(shown / "model.onnx", look)
    (mixed / "model.onnx").write_bytes(b"1234")
    (mixed / "model.onnx.data").symlink_to(kept / "model.onnx.data")
    with pytest.raises(ModelFileError, match="outside of its folder: save the model again"):
        require_data(mixed / "model.onnx", look)
