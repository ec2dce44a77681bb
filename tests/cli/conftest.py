"""The command run in this process, and a job that it exports in a second or two."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from once import Once
from PIL import Image

Ran = subprocess.CompletedProcess[str]
Run = Callable[..., Ran]
Refuse = Callable[..., None]

DIGITS = Path(__file__).parents[2] / "examples" / "digits"

CORNERS = ((40, 136), (104, 96), (0, 16), (0, 0), (0, 40))
"""Left and top of a window in each of the demo's first pictures that holds a digit or two whole."""
VERDICT = {"format": 2, "verdict": "pass", "model_sha256": "0", "checks": []}
"""The document of an older verdict."""

WINDOW = 96
"""Width and height of the windows, in pixels."""

SMALL = """
name = "small"
[model]
family = "yolox"
variant = "nano"
checkpoint = "model"
[dims]
batch = "1..2"
height = "64..96 step 32"
width = "64..96 step 32"
[export]
exporter = "torchscript"
simplify = "none"
fold_batch_norms = false
[validate]
images = "pictures/*.png"
class_agnostic = true
effort = "quick"
threads = 1
[predict]
resize = "letterbox"
size = 96
"""


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    import torch
    from warm import import_exporters

    torch.set_num_threads(1)
    import_exporters()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run ``onnxproof ARGUMENTS`` here; what it wrote is taken from the file descriptors, so that a
    library that prints past Python is seen too."""
    from onnxproof.cli import main

    def run(*arguments: str | Path) -> Ran:
        monkeypatch.setattr(sys, "argv", ["onnxproof", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main()
        out, err = capfd.readouterr()
        assert isinstance(stopped.value.code, int)
        return subprocess.CompletedProcess(sys.argv, stopped.value.code, out, err)

    return run


@pytest.fixture(scope="session")
def small_job(once: Once) -> Path:
    """A job on the demo's checkpoint with few and small sizes; its folder is not to be written to."""

    def make(folder: Path) -> None:
        shutil.copytree(DIGITS / "yolox", folder / "model")
        (folder / "pictures").mkdir()
        sources = sorted((DIGITS / "images").glob("*.png"))
        for number, (left, top) in enumerate(CORNERS):
            with Image.open(sources[number]) as image:
                window = image.crop((left, top, left + WINDOW, top + WINDOW))
                window.save(folder / "pictures" / f"{number}.png")
        (folder / "small.toml").write_text(SMALL, encoding="utf-8")

    return once("the small job", make) / "small.toml"


@pytest.fixture(scope="session")
def small_bundle(small_job: Path, once: Once) -> Path:
    """The small job's bundle, exported once, without a verdict; not to be written to."""
    from exports import bundle_of

    return bundle_of(once, small_job, validate=False).path


@pytest.fixture
def refuse(run: Run) -> Refuse:
    """Run a command that must be refused: exit code 2, one line on standard error (``lines`` if a job has
    that many mistakes) in which all of ``says`` stands, and the same as a document on standard output with
    --json, else nothing."""

    def refuse(*arguments: str | Path, says: Iterable[str], lines: int = 1) -> None:
        ran = run(*arguments)
        assert ran.returncode == 2, ran
        assert ran.stderr.startswith("onnxproof: "), ran.stderr
        assert ran.stderr.count("\n") == lines, ran.stderr
        if "--json" in arguments:
            error = json.loads(ran.stdout)["error"]
            assert (error["exit_code"], f"onnxproof: {error['message']}\n") == (2, ran.stderr)
        else:
            assert ran.stdout == ""
        missing = [part for part in says if part not in ran.stderr]
        assert not missing, f"{missing} not in: {ran.stderr}"

    return refuse


@pytest.fixture
def refuse_export(refuse: Refuse, small_job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Refuse:
    """As ``refuse``, for an export over an older bundle, which must come through untouched and alone.

    Capture is the slow part of an export, so it must not have begun.
    """
    dist = tmp_path / "dist"
    write_older_bundle(dist / "small")

    def capture(*_: object) -> None:
        raise AssertionError("the request was found wrong only after capture had begun")

    monkeypatch.setattr("onnxproof.steps.bundled.prove", capture)

    def refuse_export(
        *arguments: str | Path, says: Iterable[str], lines: int = 1, job: Path = small_job
    ) -> None:
        before = contents(dist)
        refuse("export", job, "--out", dist, *arguments, says=says, lines=lines)
        assert contents(dist) == before

    return refuse_export


def write_older_bundle(folder: Path) -> None:
    """What an export takes for a bundle that another one wrote."""
    model = b"an older model"
    manifest = {
        "format": 1,
        "name": "small",
        "task": "detection",
        "family": "yolox",
        "model_sha256": hashlib.sha256(model).hexdigest(),
        "versions": {"onnxproof": "0.1.0"},
    }
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(model)
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    (folder / "parity.json").write_text(json.dumps(VERDICT), encoding="utf-8")


@pytest.fixture
def older_bundle(tmp_path: Path) -> Path:
    """The small job's bundle in ``tmp_path / "dist"``, as an older export left it."""
    bundle = tmp_path / "dist" / "small"
    write_older_bundle(bundle)
    return bundle


def contents(folder: Path) -> dict[Path, bytes | None]:
    """Everything below a folder: the bytes of files, None for folders."""
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.fixture
def model_folder(small_job: Path, tmp_path: Path) -> Path:
    """A copy of the small job's model folder, to be damaged."""
    folder = tmp_path / "model"
    shutil.copytree(small_job.parent / "model", folder)
    return folder


@pytest.fixture
def pictures_folder(small_job: Path, tmp_path: Path) -> Path:
    """A copy of the small job's pictures, to be damaged."""
    folder = tmp_path / "pictures"
    shutil.copytree(small_job.parent / "pictures", folder)
    return folder
