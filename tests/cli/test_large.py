"""A model whose weights are in a file beside it: every command on its bundle, and what may befall that file.

The limits are lowered, so that every path of a model of gigabytes is taken by one of a few megabytes.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import onnx
import pytest
from exports import bundle_of
from once import Once

Ran = CompletedProcess[str]
Run = Callable[..., Ran]
Refuse = Callable[..., None]

DATA = "model.onnx.data"


def lower_limits(patch: pytest.MonkeyPatch) -> None:
    """Take every model for a large one."""
    from onnxproof import on_disk
    from onnxproof.export import capture
    from onnxproof.validate.exact import later
    from onnxproof.wrappers.double import weights

    patch.setattr(on_disk, "LARGEST_WHOLE", 0)
    patch.setattr(on_disk, "LARGEST_FILE", 2**12)
    patch.setattr(capture, "LARGEST_HELD", 0)
    for module in (later, weights):
        patch.setattr(module, "MOST_WIDENED", 0)
    patch.setattr(later, "FEWEST_LATER", 2**8)
    patch.setattr(weights, "FEWEST_LENT", 2**8)


@pytest.fixture(autouse=True)
def _lowered(monkeypatch: pytest.MonkeyPatch) -> None:
    lower_limits(monkeypatch)


@pytest.fixture(scope="module")
def exported(small_job: Path, once: Once) -> Path:
    """The small job's bundle with its weights beside it; not to be written to."""
    import onnxproof

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            lower_limits(patch)
            onnxproof.export(small_job, out=folder)

    return once("the small job with its weights beside it", make) / "small"


@pytest.fixture
def bundle(exported: Path, small_job: Path, tmp_path: Path) -> Path:
    """The same, in another place, where the test may damage it."""
    moved = tmp_path / "elsewhere" / "mine"
    shutil.copytree(exported, moved)
    manifest = json.loads((moved / "manifest.json").read_text(encoding="utf-8"))
    manifest["job"]["model"]["checkpoint"] = str(small_job.parent / "model")
    manifest["job"]["validate"]["images"] = str(small_job.parent / "pictures" / "*.png")
    (moved / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return moved


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_the_weights_are_in_one_file_beside_the_model(exported: Path) -> None:
    names = {path.name for path in exported.iterdir()}
    assert names == {
        "model.onnx",
        DATA,
        "README.md",
        "golden.npz",
        "manifest.json",
        "parity.json",
        "pictures",
    }
    manifest = json.loads((exported / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["data_sha256"] == sha256(exported / DATA)
    assert manifest["model_sha256"] == sha256(exported / "model.onnx")
    proto = onnx.load(exported / "model.onnx", load_external_data=False)
    places = [entry.value for one in proto.graph.initializer for entry in one.external_data]
    assert set(places) & {DATA}
    assert proto.ByteSize() < (exported / DATA).stat().st_size / 2
    onnx.checker.check_model(str(exported / "model.onnx"), full_check=True)


def judged(bundle: Path) -> dict[str, Any]:
    """What parity.json says, less the file's checksum and where its weights are."""
    document: dict[str, Any] = json.loads((bundle / "parity.json").read_text(encoding="utf-8"))
    del document["model_sha256"]
    document["checks"] = [check for check in document["checks"] if check["name"] != "external_data"]
    document["notes"] = [note for note in document["notes"] if "external_data" not in note]
    return document


@pytest.mark.slow
def test_the_verdict_is_that_of_a_model_in_memory(exported: Path, small_job: Path, once: Once) -> None:
    """To the last digit: what is made where it is read is the same number."""
    with pytest.MonkeyPatch.context() as patch:
        from onnxproof import on_disk
        from onnxproof.export import capture
        from onnxproof.validate.exact import later
        from onnxproof.wrappers.double import weights

        patch.setattr(on_disk, "LARGEST_WHOLE", 2**26)
        patch.setattr(on_disk, "LARGEST_FILE", 2**30)
        patch.setattr(capture, "LARGEST_HELD", 2**27)
        for module in (later, weights):
            patch.setattr(module, "MOST_WIDENED", 2**27)
        in_memory = bundle_of(once, small_job).path
    assert not (in_memory / DATA).exists()
    assert judged(exported) == judged(in_memory)


@pytest.mark.slow
def test_the_same_job_gives_the_same_bytes(run: Run, exported: Path, small_job: Path, tmp_path: Path) -> None:
    ran = run("export", small_job, "--out", tmp_path, "--no-validate")
    assert ran.returncode == 0, ran
    again = tmp_path / "small"
    assert sha256(again / DATA) == sha256(exported / DATA)
    # Behind it, a file that was judged tells of its golden cases.
    assert (exported / "model.onnx").read_bytes().startswith((again / "model.onnx").read_bytes())
    small = ["README.md", "manifest.json", "model.onnx", "pictures"]
    assert sorted(path.name for path in again.iterdir()) == sorted([*small, DATA])
    # A model that is small again takes its place, and leaves no weights beside it.
    with pytest.MonkeyPatch.context() as patch:
        from onnxproof import on_disk

        patch.setattr(on_disk, "LARGEST_FILE", 2**30)
        assert run("export", small_job, "--out", tmp_path, "--no-validate").returncode == 0
    assert sorted(path.name for path in again.iterdir()) == small


@pytest.mark.slow
def test_every_command_works_on_a_bundle_that_moved(
    run: Run, bundle: Path, small_bundle: Path, small_job: Path, tmp_path: Path
) -> None:
    picture = small_job.parent / "pictures" / "0.png"
    told = run("predict", bundle, picture, "--json")
    assert told.returncode == 0, told
    there = run("predict", small_bundle, picture, "--json")
    assert json.loads(told.stdout) == json.loads(there.stdout)
    ran = run("inspect", bundle)
    assert ran.returncode == 0, ran
    assert DATA in ran.stdout
    assert "could not" not in ran.stdout
    ran = run("validate", bundle, "--json")
    assert ran.returncode == 0, ran
    checks = {check["name"]: check["status"] for check in json.loads(ran.stdout)["checks"]}
    assert checks["checksum"] == "pass"
    ran = run("compare", bundle, small_bundle, "--effort", "quick", "--threads", "1")
    assert ran.returncode == 0, ran
    ran = run("bisect", bundle, "--out", tmp_path / "bisect")
    assert ran.returncode == 0, ran


COMMANDS = ("predict", "inspect", "validate", "compare", "bisect")


def arguments_of(command: str, bundle: Path, picture: Path) -> list[str | Path]:
    more = {"predict": [picture], "compare": [bundle]}.get(command, [])
    return [command, bundle, *more]


@pytest.mark.parametrize("command", COMMANDS)
def test_weights_that_are_missing(refuse: Refuse, bundle: Path, small_job: Path, command: str) -> None:
    (bundle / DATA).unlink()
    picture = small_job.parent / "pictures" / "0.png"
    says = (str(bundle / DATA), "is missing", "copy it beside")
    refuse(*arguments_of(command, bundle, picture), says=says)


@pytest.mark.parametrize("command", COMMANDS)
def test_weights_that_are_cut_off(refuse: Refuse, bundle: Path, small_job: Path, command: str) -> None:
    data = bundle / DATA
    data.write_bytes(data.read_bytes()[:-100])
    picture = small_job.parent / "pictures" / "0.png"
    refuse(*arguments_of(command, bundle, picture), says=(str(data), "is cut off", "copy it again"))


@pytest.mark.parametrize("command", ["export", "validate"])
def test_a_machine_with_too_little_memory_is_told_before_the_work(
    refuse: Refuse, bundle: Path, small_job: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    from onnxproof.system import memory

    def prove(*_: object) -> None:
        raise AssertionError("the work has begun")

    monkeypatch.setattr("onnxproof.steps.bundled.prove", prove)
    monkeypatch.setattr(memory, "SMALL", 0)
    monkeypatch.setattr(memory, "available_bytes", lambda: 3 * 10**8)
    says = ("GB of weights", "needs about 0.5 GB of memory more", "there are 0.3 GB")
    if command == "export":
        refuse("export", small_job, "--out", bundle.parent, says=says)
    else:
        refuse("validate", bundle, says=says)


@pytest.mark.slow
def test_weights_that_were_changed(run: Run, bundle: Path) -> None:
    data = bundle / DATA
    content = bytearray(data.read_bytes())
    content[len(content) // 2 + 2] ^= 1
    data.write_bytes(content)
    ran = run("validate", bundle, "--json")
    assert ran.returncode == 1, ran
    failed = {check["name"]: check["reason"] for check in json.loads(ran.stdout)["checks"]}
    assert failed["checksum"] == f"{data} is not the file that manifest.json describes"


@pytest.mark.slow
def test_an_export_over_such_a_bundle_replaces_it(run: Run, bundle: Path, small_job: Path) -> None:
    target = bundle.with_name("small")
    bundle.rename(target)
    assert run("export", small_job, "--out", target.parent, "--no-validate").returncode == 0
    assert (target / DATA).exists()
