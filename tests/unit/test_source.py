"""What a path is, told without torch and without running anything."""

import json
import zipfile
from pathlib import Path

import pytest

from onnxproof.errors import CheckpointError, ModelFileError, RequestError
from onnxproof.shards import parts_of
from onnxproof.source import (
    BundleFolder,
    CheckpointPath,
    JobFile,
    ModelFile,
    Nothing,
    OtherFile,
    OtherFolder,
    Source,
    bundle_at,
    checkpoints_at,
    find_checkpoint,
    hub_cache,
    look_at,
    model_at,
)


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


@pytest.mark.parametrize(
    ("holds", "asked", "kind"),
    [
        pytest.param("a.toml", "a.toml", JobFile, id="job"),
        pytest.param("a.ONNX", "a.ONNX", ModelFile, id="model-in-capitals"),
        pytest.param("a.safetensors", "a.safetensors", CheckpointPath, id="checkpoint"),
        pytest.param("a.bin", "a.bin", OtherFile, id="a-name-that-does-not-tell"),
        pytest.param("b/manifest.json", "b", BundleFolder, id="a-bundle-that-lost-its-model"),
        pytest.param("b/model.onnx", "b", BundleFolder, id="a-bundle-that-lost-its-manifest"),
        pytest.param("c/weights.pth", "c", CheckpointPath, id="a-folder-of-checkpoints"),
        pytest.param("d/notes.txt", "d", OtherFolder, id="a-folder-of-neither"),
        pytest.param("e.txt", "gone.toml", Nothing, id="nothing"),
    ],
)
def test_a_path_is_one_kind(tmp_path: Path, holds: str, asked: str, kind: type[Source]) -> None:
    touch(tmp_path / holds)
    assert look_at(tmp_path / asked) == kind(tmp_path / asked)


def test_a_bundle_with_checkpoints_beside_its_model_is_a_bundle(tmp_path: Path) -> None:
    touch(tmp_path / "model.onnx")
    touch(tmp_path / "a.pth")
    assert look_at(tmp_path) == BundleFolder(tmp_path)


def test_a_name_that_no_system_allows_is_nothing() -> None:
    assert isinstance(look_at("a\0b"), Nothing)


def test_a_bundle_and_a_file_name_their_model(tmp_path: Path) -> None:
    model = touch(tmp_path / "model.onnx")
    other = touch(tmp_path / "model.bin")
    assert model_at(tmp_path) == model_at(model) == model
    assert model_at(other) == other


@pytest.mark.parametrize(
    ("name", "error", "says"),
    [
        pytest.param("job.toml", RequestError, "is a job, not a model", id="job"),
        pytest.param("a.pth", RequestError, "is a checkpoint, not a model", id="checkpoint"),
        pytest.param("bundle/manifest.json", ModelFileError, "holds no model.onnx", id="half-a-bundle"),
        pytest.param("notes/a.txt", ModelFileError, "holds no model.onnx", id="a-folder"),
    ],
)
def test_what_holds_no_model_says_what_it_is(
    tmp_path: Path, name: str, error: type[RequestError], says: str
) -> None:
    file = touch(tmp_path / name)
    with pytest.raises(error, match=says):
        model_at(file if file.parent == tmp_path else file.parent)


def test_a_folder_of_several_checkpoints_needs_a_name(tmp_path: Path) -> None:
    one, two = touch(tmp_path / "one.pt"), touch(tmp_path / "two.pth")
    assert checkpoints_at(tmp_path) == (one, two)
    assert find_checkpoint(tmp_path, ["two"]) == two
    with pytest.raises(CheckpointError, match=r"holds 2 checkpoints \(one.pt, two.pth\)"):
        find_checkpoint(tmp_path)


def test_the_id_of_a_model_in_the_cache_of_the_hub_is_its_newest_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    kept = tmp_path / "hub" / "models--acme--cats"
    weights = touch(kept / "snapshots" / "0a1b" / "model.safetensors")
    touch(kept / "snapshots" / "older" / "model.safetensors")
    touch(kept / "refs" / "main").write_text("0a1b", encoding="utf-8")
    assert checkpoints_at(tmp_path / "jobs" / "acme" / "cats") == (weights,)
    with pytest.raises(CheckpointError, match=r"does not exist.*hub\), and nothing is downloaded"):
        checkpoints_at(tmp_path / "jobs" / "acme" / "dogs")
    with pytest.raises(CheckpointError, match=r"holds one$"):
        checkpoints_at(tmp_path / "jobs" / "best.pt")


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({"HF_HUB_CACHE": "/a"}, "/a"),
        ({"HF_HOME": "/b"}, "/b/hub"),
        ({"XDG_CACHE_HOME": "/c"}, "/c/huggingface/hub"),
    ],
)
def test_the_cache_of_the_hub_is_where_its_library_has_it(
    variables: dict[str, str], wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert hub_cache() == Path(wanted)


@pytest.mark.parametrize("asked", [".", "model-00002-of-00002.safetensors"], ids=["folder", "file"])
def test_a_part_of_a_checkpoint_is_told_from_a_whole_one(tmp_path: Path, asked: str) -> None:
    for at in (1, 2):
        touch(tmp_path / f"model-0000{at}-of-00002.safetensors")
    with pytest.raises(CheckpointError, match=r"one of the 2 files .*copy model\.safetensors\.index\.json"):
        find_checkpoint(tmp_path / asked)
    index = touch(tmp_path / "model.safetensors.index.json")
    index.write_text('{"weight_map": {}}', encoding="utf-8")
    with pytest.raises(CheckpointError, match="one of the 2 files of a checkpoint: give their folder"):
        find_checkpoint(tmp_path / "model-00001-of-00002.safetensors")


@pytest.mark.parametrize("name", ["", ".", "..", "../a.safetensors", "a\0b"])
def test_an_index_names_files_beside_it_alone(tmp_path: Path, name: str) -> None:
    index = touch(tmp_path / "model.safetensors.index.json")
    index.write_text(json.dumps({"weight_map": {"weight": name}}), encoding="utf-8")
    with pytest.raises(CheckpointError, match="which is not beside it: copy the whole checkpoint again"):
        parts_of(index)


def test_a_name_of_one_part_is_a_whole_checkpoint(tmp_path: Path) -> None:
    whole = touch(tmp_path / "model-00001-of-00001.safetensors")
    assert find_checkpoint(tmp_path) == whole


def test_a_bundle_in_one_file_holds_a_model_and_is_no_folder(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("model.onnx", b"")
    assert model_at(archive) == archive / "model.onnx"
    assert bundle_at(archive, archives=True) == archive
    with pytest.raises(ModelFileError, match=r"is a bundle in one file: give the folder .* or unpack it"):
        bundle_at(archive)
