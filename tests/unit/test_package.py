"""A small bundle is packaged: what its manifest names, what is checked first, what is left on the disk."""

import json
import os
import resource
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import run_here
from keys import private, public_of
from kits import bundle
from networks import network

import onnxproof
from onnxproof.errors import ModelFileError, RequestError
from onnxproof.system import files as files_room


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
    with pytest.raises(ModelFileError, match=r'\(name is "\.\./two", expected up to 200 letters, digits'):
        onnxproof.load(tmp_path / "model.onnx")


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A private key and its public one."""
    folder = tmp_path_factory.mktemp("pair")
    (folder / "key").write_bytes(private())
    (folder / "key.pub").write_bytes(public_of((folder / "key").read_bytes()))
    return folder / "key", folder / "key.pub"


def key_of_kind(kind: str, folder: Path) -> Path:
    """What is given in the place of a private key that can sign."""
    place = folder / "a-key"
    if kind == "folder":
        place.mkdir()
    elif kind == "pipe":
        os.mkfifo(place)
    elif kind == "device":
        return Path("/dev/zero")
    elif kind == "encrypted":
        place.write_bytes(private(password=b"secret"))
    elif kind == "public":
        place.write_bytes(public_of(private()))
    elif kind == "text":
        place.write_bytes(b"no key")
    elif kind != "missing":
        place.write_bytes(private(kind))
    return place


UNUSABLE = {
    "missing": "a-key does not exist: give a private key",
    "folder": "a-key is a folder, not a file: give a private key",
    "pipe": "a-key is a pipe, not a file: give a private key",
    "device": "/dev/zero is a device, not a file: give a private key",
    "encrypted": "a-key is encrypted: give the key without a password",
    "public": "a-key is a public key: give the private one",
    "text": "a-key holds no private key: give a private key of an elliptic curve as PEM",
    "RSA": "a-key is a key of the kind RSA: give a private key of an elliptic curve",
    "Ed25519": "a-key is a key of the kind Ed25519: give a private key of an elliptic curve",
    "SECP256K1": "a-key is of the curve secp256k1, expected one of secp256r1",
}


@pytest.fixture
def signed(made: Path, pair: tuple[Path, Path], tmp_path: Path) -> Path:
    """The folder of a signed archive with a bill of materials, from before."""
    out = tmp_path / "out"
    out.mkdir()
    onnxproof.package(made, out=out / "two.zip", sign=pair[0], bom=True)
    return out


@pytest.mark.parametrize("kind", UNUSABLE)
def test_a_key_that_cannot_sign_is_refused_before_anything_is_written(
    kind: str, made: Path, signed: Path, tmp_path: Path
) -> None:
    key, before = key_of_kind(kind, tmp_path), files(signed)
    for out, form in (("two.zip", "zip"), ("new.zip", "zip"), ("repository", "triton")):
        place = str(signed / out)
        ran = run_here(["package", str(made), "--out", place, "--format", form, "--sign", str(key), "--bom"])
        assert ran.code == 2
        assert UNUSABLE[kind] in ran.printed
        assert files(signed) == before
    assert sorted(path.name for path in signed.iterdir()) == sorted(before)


def plant_folder(place: Path) -> None:
    place.mkdir()


def plant_pipe(place: Path) -> None:
    os.mkfifo(place)


def plant_link_to_a_pipe(place: Path) -> None:
    os.mkfifo(place.with_name("pipe"))
    place.symlink_to("pipe")


def plant_letter(place: Path) -> None:
    place.write_text("mine")


@pytest.mark.parametrize("plant", [plant_folder, plant_pipe, plant_link_to_a_pipe, plant_letter])
@pytest.mark.parametrize("suffix", [".sig", ".cdx.json"])
@pytest.mark.parametrize(("name", "form"), [("two.zip", "zip"), ("repository/two", "triton")])
def test_a_target_that_cannot_be_written_is_refused_before_anything_is(
    plant: Callable[[Path], None],
    suffix: str,
    name: str,
    form: Any,
    made: Path,
    pair: tuple[Path, Path],
    tmp_path: Path,
) -> None:
    target = tmp_path / "out" / name
    target.parent.mkdir(parents=True)
    if form == "zip":
        onnxproof.package(made, out=target)
    plant(target.with_name(f"{target.name}{suffix}"))
    before = sorted(target.parent.rglob("*")), files(target.parent)
    out = target if form == "zip" else target.parent
    with pytest.raises(RequestError, match="two"):
        onnxproof.package(made, format=form, out=out, sign=pair[0], bom=True)
    assert (sorted(target.parent.rglob("*")), files(target.parent)) == before


@pytest.mark.parametrize(("out", "form"), [("new.zip", "zip"), ("two.zip", "zip"), ("repository", "triton")])
@pytest.mark.parametrize("fails", ["write_bom", "sign"])
def test_all_is_written_or_nothing(
    out: str,
    form: Any,
    fails: str,
    made: Path,
    signed: Path,
    pair: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    where = {"write_bom": "write_bom", "sign": "Signer.sign"}[fails]
    monkeypatch.setattr(f"onnxproof.deploy.package.{where}", full)
    before = sorted(signed.rglob("*")), files(signed)
    with pytest.raises(RequestError, match="cannot be written"):
        onnxproof.package(made, format=form, out=signed / out, sign=pair[0], bom=True)
    assert (sorted(signed.rglob("*")), files(signed)) == before


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize("older", [True, False])
def test_a_rename_that_fails_takes_the_others_back(
    at: int,
    older: bool,
    made: Path,
    signed: Path,
    pair: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    swap, done = files_room.swap, []

    def swapped(staged: Path, target: Path) -> None:
        done.append(target)
        if len(done) == at + 1:
            raise OSError(5, "Input/output error")
        swap(staged, target)

    out = signed / ("two.zip" if older else "new.zip")
    bundle_of_another_kind = Path(shutil.copytree(made, made.with_name("other")))
    (bundle_of_another_kind / "parity.json").write_text("{}", encoding="utf-8")
    before = files(signed)
    monkeypatch.setattr(files_room, "swap", swapped)
    with pytest.raises(RequestError, match="Input/output error"):
        onnxproof.package(bundle_of_another_kind, out=out, sign=pair[0], bom=True)
    assert files(signed) == before
    assert sorted(path.name for path in signed.iterdir()) == sorted(before)


def test_a_package_replaces_its_own_with_what_lies_beside_it(
    made: Path, signed: Path, pair: tuple[Path, Path]
) -> None:
    before = files(signed)
    (made / "parity.json").write_text("{}", encoding="utf-8")
    onnxproof.package(made, out=signed / "two.zip", sign=pair[0], bom=True)
    after = files(signed)
    assert set(after) == set(before) == {"two.zip", "two.zip.sig", "two.zip.cdx.json"}
    assert all(after[name] != before[name] for name in before)
    assert "onnxproof-" not in str(after["two.zip.sig"])


SMALL = 2 * 1024


@pytest.fixture
def small_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Files of more than ``SMALL`` bytes cannot be written, those that Python compiles among them."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_bill_that_does_not_fit_on_the_disk_leaves_no_model(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    two = np.zeros((2, 2), np.float32)
    least = network(two, two[0], two, axes=("batch", 2)).SerializeToString()
    made = bundle(tmp_path / "two", model=least)
    before = files(tmp_path)
    onnxproof.package(made, format="triton", out=tmp_path / "other", bom=True)
    assert (tmp_path / "other" / "two.cdx.json").stat().st_size > SMALL > len(least)
    shutil.rmtree(tmp_path / "other")
    request.getfixturevalue("small_disk")
    with pytest.raises(RequestError, match="File too large"):
        onnxproof.package(made, format="triton", out=tmp_path / "repository", bom=True)
    assert files(tmp_path) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["two"]


def verified(bundle: Path, key: Path | str) -> tuple[int, str]:
    ran = run_here(["selftest", str(bundle), "--verify", str(key), "--json"])
    document = json.loads(ran.printed[: ran.printed.rindex("}") + 1])
    if "error" in document:
        return ran.code, document["error"]["message"]
    (check,) = document["checks"]
    assert check["name"] == "signature"
    return ran.code, check["reason"]


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("missing", "a-key does not exist: give a public key"),
        ("folder", "a-key is a folder, not a file: give a public key"),
        ("pipe", "a-key is a pipe, not a file: give a public key"),
        ("device", "/dev/zero is a device, not a file: give a public key"),
        ("text", "a-key holds no public key: give a public key"),
        ("SECP256R1", "a-key is a private key: give the public one, which openssl ec -in"),
        ("encrypted", "a-key is a private key: give the public one, which openssl ec -in"),
    ],
)
def test_what_is_no_public_key_is_a_wrong_request(kind: str, says: str, signed: Path, tmp_path: Path) -> None:
    code, said = verified(signed / "two.zip", key_of_kind(kind, tmp_path))
    assert (code, says in said) == (2, True), said


@pytest.mark.parametrize("kind", ["RSA", "SECP256K1"])
def test_a_public_key_of_another_kind_is_a_wrong_request(kind: str, signed: Path, tmp_path: Path) -> None:
    (tmp_path / "other.pub").write_bytes(public_of(private(kind)))
    code, said = verified(signed / "two.zip", tmp_path / "other.pub")
    assert code == 2
    assert f"other.pub is {'a key of the kind RSA' if kind == 'RSA' else 'of the curve secp256k1'}" in said


def edit(place: Path, change: Callable[[dict[str, Any]], None]) -> None:
    document = json.loads(place.read_text(encoding="utf-8"))
    change(document)
    place.write_text(json.dumps(document), encoding="utf-8")


def replaced(content: bytes) -> Callable[[Path], None]:
    def write(place: Path) -> None:
        place.write_bytes(content)

    return write


def gone(place: Path) -> None:
    place.unlink()


def a_folder(place: Path) -> None:
    place.unlink()
    place.mkdir()


def a_pipe(place: Path) -> None:
    place.unlink()
    os.mkfifo(place)


def without_signatures(place: Path) -> None:
    edit(place, lambda document: document["dsseEnvelope"].pop("signatures"))


def other_signature(place: Path) -> None:
    def change(document: dict[str, Any]) -> None:
        one = document["dsseEnvelope"]["signatures"][0]
        one["sig"] = "AAAA" + one["sig"][4:]

    edit(place, change)


DAMAGED = {
    "gone": (gone, "is missing: copy it beside two.zip again, or sign"),
    "a-folder": (a_folder, "is a folder, not a file: copy it"),
    "a-pipe": (a_pipe, "is a pipe, not a file: copy it"),
    "empty": (replaced(b""), "is no signature of model-signing's, or is damaged (it is no JSON"),
    "no-text": (replaced(b"\xff\xfe"), "or is damaged (it is no text in UTF-8): copy it"),
    "nested": (replaced(b"[" * 100_000), "or is damaged (it is nested too deeply to be read"),
    "a-list": (replaced(b"[]"), "or is damaged (the document is a list of 0, expected an object): copy it"),
    "no-keys": (replaced(b"{}"), "or is damaged (it lacks the key mediaType): copy it"),
    "nulls": (
        replaced(b'{"mediaType": 1, "verificationMaterial": null, "dsseEnvelope": null}'),
        "or is damaged (verificationMaterial is null, expected an object): copy it",
    ),
    "no-signatures": (without_signatures, "is no signature that a key made, or is damaged ("),
    "another-signature": (
        other_signature,
        "does not hold for two.zip and key.pub: it was made with another key",
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", DAMAGED)
def test_a_signature_that_is_damaged_fails_in_words(kind: str, signed: Path, pair: tuple[Path, Path]) -> None:
    damage, says = DAMAGED[kind]
    damage(signed / "two.zip.sig")
    code, said = verified(signed / "two.zip", pair[1])
    assert (code, says in said) == (1, True), said


def test_the_signature_lies_beside_a_link_or_what_it_leads_to(
    signed: Path, pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onnxproof.deploy.signature import why_not_verified

    (tmp_path / "link.zip").symlink_to(signed / "two.zip")
    assert why_not_verified(tmp_path / "link.zip", pair[1]) == ""
    shutil.copy(signed / "two.zip.sig", tmp_path / "link.zip.sig")
    assert why_not_verified(tmp_path / "link.zip", pair[1]) == ""
    monkeypatch.chdir(signed)
    assert f"{signed}.sig is missing: copy it beside" in why_not_verified(Path(), pair[1])


def test_a_bundle_that_is_the_working_folder_is_packaged_beside_it(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(made)
    ran = run_here(["package", ".", "--json"])
    assert ran.code == 0, ran.printed
    assert json.loads(ran.printed)["path"] == str(made.with_name("two.zip"))
    assert made.with_name("two.zip").is_file()
    (made / "below").mkdir()
    monkeypatch.chdir(made / "below")
    assert onnxproof.package("..").path == made.with_name("two.zip")


def test_a_working_folder_that_is_gone_is_told(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    for asked in (
        ["kit", str(made), "--out", "k"],
        ["package", str(made), "--out", "a.zip"],
        ["package", "."],
    ):
        ran = run_here(asked)
        assert ran.code == 2
        assert "the working folder is gone" in ran.printed or asked[-1] == ".", ran.printed


@pytest.mark.parametrize("command", ["selftest", "kit", "package"])
def test_what_is_no_bundle_is_told_as_what_it_is(command: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name, found in (
        ("nosuch", "does not exist"),
        ("folder", "is a folder, not a bundle"),
        ("pipe", "is a pipe, not a file"),
    ):
        ran = run_here([command, str(tmp_path / name), *(["--out", "k"] if command == "kit" else [])])
        assert ran.code == 2
        assert f"{name} {found}: give the folder that export wrote" in ran.printed
