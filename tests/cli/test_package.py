"""A bundle as one file that is read without unpacking, and as a model of a Triton repository."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from clients import ROOT, need
from commands import run_here
from keys import private, public_of
from programs import program

import onnxproof
from onnxproof.errors import ModelFileError, RequestError

TRITON = ROOT / "build/triton/tritonclient/grpc/model_config_pb2.py"
"""Triton's own schema, in the client that its makers publish."""

ROOT = Path(__file__).parents[2]
SCENE = ROOT / "examples" / "digits" / "images" / "scene-01.png"


@pytest.fixture
def archive(demo_bundle: Path, tmp_path: Path) -> Path:
    return onnxproof.package(demo_bundle, out=tmp_path / "digits.zip").path


def rewritten(archive: Path, change: dict[str, bytes | None], compression: int = zipfile.ZIP_STORED) -> Path:
    """A copy with other content of some files; None leaves one out."""
    target = archive.with_name("other.zip")
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(target, "w", compression) as new:
        for name in old.namelist():
            content = change.get(name, old.read(name))
            if content is not None:
                new.writestr(name, content)
    return target


def test_the_archive_decides_as_the_folder_does_and_nothing_is_unpacked(
    demo_bundle: Path, archive: Path
) -> None:
    before = sorted(archive.parent.iterdir())
    packed, folder = (onnxproof.load(path).predict(SCENE).to_json() for path in (archive, demo_bundle))
    assert packed["boxes"]
    assert packed == folder
    assert sorted(archive.parent.iterdir()) == before


def test_the_same_bundle_gives_the_same_bytes(demo_bundle: Path, archive: Path, tmp_path: Path) -> None:
    again = onnxproof.package(demo_bundle, out=tmp_path / "again.zip")
    assert again.path.read_bytes() == archive.read_bytes()
    assert again.files == ("model.onnx", "manifest.json", "golden.npz", "parity.json")


def test_the_archive_tests_itself_and_is_inspected(archive: Path) -> None:
    ran = run_here(["selftest", str(archive), "--threads", "1"])
    assert ran.code == 0, ran.printed
    assert "verdict: pass (checks: " in ran.printed
    shown = json.loads(run_here(["inspect", str(archive), "--json"]).printed)
    assert shown["name"] == "digits-yolox"
    assert shown["hazards"]
    predicted = run_here(["predict", str(archive), str(SCENE), "--json"])
    assert predicted.code == 0, predicted.printed


def test_every_command_takes_the_archive_that_needs_no_checkpoint(
    demo_bundle: Path, archive: Path, tmp_path: Path
) -> None:
    made = run_here(["kit", str(archive), "--out", str(tmp_path / "kit")])
    assert made.code == 0, made.printed
    sides = ("--dim", "batch=1", "--dim", "height=64", "--dim", "width=64")
    told = ("--effort", "quick", "--threads", "1", "--json", "--quiet")
    same = run_here(["compare", str(archive), str(demo_bundle), *sides, *told])
    assert same.code == 0, same.printed
    document = json.loads(same.printed)
    assert "B is judged by A" in "; ".join(document["notes"])
    sums = {document["model_sha256"], document["a_sha256"]}
    assert sums == {_sha256(demo_bundle / "model.onnx")}
    timed = run_here(["bench", str(archive), "--rounds", "2", "--size", "height=64,width=64", "--json"])
    assert timed.code == 0, timed.printed
    before = sorted(archive.parent.iterdir())
    for asked in (("validate", archive), ("bisect", archive), ("export", archive), ("package", archive)):
        refused = run_here([*map(str, asked)])
        assert refused.code == 2, asked
        assert f"python -m zipfile -e {archive} {archive.with_suffix('')}" in refused.printed, refused.printed
    assert sorted(archive.parent.iterdir()) == before


def test_a_tampered_model_is_refused_unless_checksums_are_off(archive: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        proto = onnx.load_from_string(opened.read("model.onnx"))
    proto.doc_string = "another"
    other = rewritten(archive, {"model.onnx": proto.SerializeToString()})
    with pytest.raises(ModelFileError, match=r"not the file that manifest\.json describes"):
        onnxproof.load(other)
    assert onnxproof.load(other, checksums=False).predict(SCENE).to_json()["boxes"]
    ran = run_here(["predict", str(other), str(SCENE)])
    assert ran.code == 2
    assert run_here(["predict", str(other), str(SCENE), "--no-checksums"]).code == 0
    assert run_here(["selftest", str(other)]).code == 1


@pytest.mark.parametrize(
    ("change", "compression", "message"),
    [
        pytest.param({"model.onnx": None}, zipfile.ZIP_STORED, "holds no model.onnx", id="no-model"),
        pytest.param({}, zipfile.ZIP_DEFLATED, "compressed or encrypted", id="compressed"),
    ],
)
def test_an_archive_that_cannot_be_read_is_refused(
    archive: Path, change: dict[str, bytes | None], compression: int, message: str
) -> None:
    with pytest.raises(ModelFileError, match=message):
        onnxproof.load(rewritten(archive, change, compression))


def test_half_an_archive_is_refused(archive: Path) -> None:
    archive.write_bytes(archive.read_bytes()[:1000])
    with pytest.raises(ModelFileError, match="cannot be read"):
        onnxproof.load(archive)


def with_data(bundle: Path, folder: Path) -> Path:
    """A copy of a bundle whose weights lie beside its model."""
    copy = Path(shutil.copytree(bundle, folder))
    proto = onnx.load(copy / "model.onnx")
    onnx.save(
        proto, copy / "model.onnx", save_as_external_data=True, location="model.onnx.data", size_threshold=64
    )
    document = json.loads((copy / "manifest.json").read_text(encoding="utf-8"))
    for key, name in (("model_sha256", "model.onnx"), ("data_sha256", "model.onnx.data")):
        document[key] = _sha256(copy / name)
    (copy / "manifest.json").write_text(json.dumps(document), encoding="utf-8")
    return copy


def _sha256(file: Path) -> str:
    from onnxproof.runtime.archive import sha256_of

    return sha256_of(file)


def test_weights_in_another_file_are_read_from_the_archive_and_checked(
    demo_bundle: Path, tmp_path: Path
) -> None:
    copy = with_data(demo_bundle, tmp_path / "split")
    made = onnxproof.package(copy)
    assert made.path == tmp_path / "split.zip"
    assert "model.onnx.data" in made.files
    assert onnxproof.load(made.path).predict(SCENE).to_json() == onnxproof.load(copy).predict(SCENE).to_json()
    with zipfile.ZipFile(made.path) as opened:
        data = bytearray(opened.read("model.onnx.data"))
    data[100] ^= 1
    with pytest.raises(ModelFileError, match=r"model\.onnx\.data is not the file"):
        onnxproof.load(rewritten(made.path, {"model.onnx.data": bytes(data)}))
    (copy / "model.onnx.data").write_bytes(data)
    with pytest.raises(ModelFileError, match=r"model\.onnx\.data is not the file"):
        onnxproof.load(copy)
    with pytest.raises(ModelFileError, match=r"model\.onnx\.data is not the file"):
        onnxproof.package(copy)
    with pytest.raises(ModelFileError, match=r"lacks model\.onnx\.data"):
        onnxproof.load(rewritten(made.path, {"model.onnx.data": None}), checksums=False)


def test_what_is_not_a_package_is_left_alone(demo_bundle: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.zip"
    with zipfile.ZipFile(mine, "w") as archive:
        archive.writestr("letters.txt", "mine")
    before = mine.read_bytes()
    with pytest.raises(RequestError, match="is no bundle"):
        onnxproof.package(demo_bundle, out=mine)
    assert mine.read_bytes() == before
    (tmp_path / "digits-yolox").mkdir()
    with pytest.raises(RequestError, match="there already"):
        onnxproof.package(demo_bundle, format="triton", out=tmp_path)
    with pytest.raises(RequestError, match="expected one of zip, triton"):
        onnxproof.package(demo_bundle, format="tar")  # type: ignore[arg-type]


def test_a_triton_repository_has_the_model_and_its_configuration(demo_bundle: Path, tmp_path: Path) -> None:
    ran = run_here(["package", str(demo_bundle), "--format", "triton", "--out", str(tmp_path / "models")])
    assert ran.code == 0, ran.printed
    model = tmp_path / "models" / "digits-yolox"
    assert (model / "1" / "model.onnx").read_bytes() == (demo_bundle / "model.onnx").read_bytes()
    text = (model / "config.pbtxt").read_text(encoding="utf-8")
    assert 'backend: "onnxruntime"\nmax_batch_size: 3\n' in text


def test_tritons_own_schema_reads_the_configuration(demo_bundle: Path, tmp_path: Path) -> None:
    from google.protobuf import text_format

    need("triton", {"schema of Triton's configuration": TRITON.is_file()})
    schema = program(TRITON)
    made = onnxproof.package(demo_bundle, format="triton", out=tmp_path)
    config = text_format.Parse((made.path / "config.pbtxt").read_text(encoding="utf-8"), schema.ModelConfig())
    assert (config.name, config.backend, config.max_batch_size) == ("digits-yolox", "onnxruntime", 3)
    assert [(one.name, list(one.dims)) for one in config.input] == [("input", [3, -1, -1])]
    assert [(one.name, list(one.dims)) for one in config.output] == [("output", [-1, 6])]
    assert config.input[0].data_type == schema.TYPE_FP32
    assert config.HasField("dynamic_batching")
    assert config.parameters["model_sha256"].string_value == _sha256(demo_bundle / "model.onnx")


def keys(folder: Path) -> tuple[Path, Path]:
    """A private and a public key of an elliptic curve."""
    folder.mkdir()
    (folder / "key").write_bytes(private())
    (folder / "key.pub").write_bytes(public_of((folder / "key").read_bytes()))
    return folder / "key", folder / "key.pub"


@pytest.mark.filterwarnings("ignore")
def test_a_signature_holds_until_a_byte_changes(demo_bundle: Path, tmp_path: Path) -> None:
    private, public = keys(tmp_path / "ours")
    _, stranger = keys(tmp_path / "theirs")
    target = tmp_path / "digits.zip"
    ran = run_here(["package", str(demo_bundle), "--out", str(target), "--sign", str(private)])
    assert ran.code == 0, ran.printed
    held = run_here(["selftest", str(target), "--verify", str(public), "--threads", "1"])
    assert held.code == 0, held.printed
    other = run_here(["selftest", str(target), "--verify", str(stranger), "--json"])
    assert other.code == 1
    assert [check["name"] for check in json.loads(other.printed)["checks"]] == ["signature"]
    content = bytearray(target.read_bytes())
    content[len(content) // 2] ^= 1
    target.write_bytes(content)
    assert run_here(["selftest", str(target), "--verify", str(public)]).code == 1
    target.with_name("digits.zip.sig").unlink()
    missing = run_here(["selftest", str(target), "--verify", str(public)])
    assert missing.code == 1
    assert "is missing" in missing.printed
    with pytest.raises(RequestError, match="no-such-key does not exist: give a private key"):
        onnxproof.package(demo_bundle, out=target, sign=tmp_path / "no-such-key")


def test_a_bill_of_materials_keeps_to_the_schema(demo_bundle: Path, tmp_path: Path) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    made = onnxproof.package(demo_bundle, out=tmp_path / "digits.zip", bom=True)
    assert made.bom is not None
    text = made.bom.read_text(encoding="utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    model = json.loads(text)["metadata"]["component"]
    assert model["type"] == "machine-learning-model"
    assert {one["name"]: one["hashes"][0]["content"] for one in model["components"]} == {
        name: _sha256(demo_bundle / name) for name in made.files
    }


def test_without_the_extra_it_is_named(demo_bundle: Path, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "class Blocker:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in {'model_signing', 'cyclonedx'}:\n"
        "            raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Blocker())\n"
        "from onnxproof.cli import main\n"
        "main()\n"
    )
    for flag, extra in (("--bom", "bom"), ("--sign=key", "signing")):
        asked = ["package", str(demo_bundle), "--out", str(tmp_path / "a.zip"), flag]
        ran = subprocess.run(
            [sys.executable, "-c", code, *asked], capture_output=True, text=True, check=False
        )
        assert ran.returncode == 2
        assert f"onnxproof[{extra}]" in ran.stderr
        assert not (tmp_path / "a.zip").exists()


def test_options_of_a_session_are_its_own(demo_bundle: Path) -> None:
    plain = onnxproof.load(demo_bundle).predict(SCENE)
    other = onnxproof.load(demo_bundle, threads=1, optimization="basic", arena=False).predict(SCENE)
    np.testing.assert_allclose(plain.decisions.boxes, other.decisions.boxes, atol=1e-2)
    assert len(plain.decisions.boxes) > 0
    with pytest.raises(RequestError, match="options for CUDAExecutionProvider"):
        onnxproof.load(demo_bundle, provider_options={"CUDAExecutionProvider": {"device_id": "0"}})
