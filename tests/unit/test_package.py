"""A small bundle is packaged: what its manifest names, what is checked first, what is left on the disk."""

import json
from pathlib import Path

import pytest
from commands import run_here
from kits import bundle
from networks import network

import onnxproof
from onnxproof.errors import ModelFileError


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A bundle whose model opens."""
    return bundle(tmp_path / "two", model=network().SerializeToString())


def files(folder: Path) -> dict[str, bytes]:
    """The content of all files below a folder, hidden ones among them."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


NO_NAMES = ("../../outside", "../two", "..", ".", "a/b", "/tmp/a", "a\nb", "\x1b[31m", "")


@pytest.mark.parametrize("name", NO_NAMES)
def test_a_name_that_is_no_files_is_refused_by_the_commands_that_read_the_manifest(
    made: Path, tmp_path: Path, name: str
) -> None:
    manifest = json.loads((made / "manifest.json").read_text(encoding="utf-8"))
    (made / "manifest.json").write_text(json.dumps({**manifest, "name": name}), encoding="utf-8")
    before = files(tmp_path)
    out = tmp_path / "out" / "models"
    for asked in (
        ["package", str(made), "--format", "triton", "--out", str(out)],
        ["package", str(made), "--out", str(tmp_path / "out" / "two.zip")],
        ["kit", str(made), "--out", str(out)],
        ["selftest", str(made)],
    ):
        ran = run_here(asked)
        assert ran.code == 2, asked
        assert f"(name is {json.dumps(name)}, expected " in ran.printed
        assert files(tmp_path) == before


def test_the_models_own_metadata_names_it_by_the_same_rule(tmp_path: Path) -> None:
    document = json.loads((bundle(tmp_path / "two") / "manifest.json").read_text(encoding="utf-8"))
    for key in ("model_sha256", "golden_sha256"):
        del document[key]
    proto = network()
    entry = proto.metadata_props.add()
    entry.key, entry.value = "onnxproof", json.dumps({**document, "name": "../two", "job": None})
    (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(ModelFileError, match=r'\(name is "\.\./two", expected letters, digits'):
        onnxproof.load(tmp_path / "model.onnx")
