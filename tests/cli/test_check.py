"""``onnxproof check``: what it prints, writes and refuses. What it finds out is in tests/parity."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

Refuse = Callable[..., None]
Run = Callable[..., CompletedProcess[str]]

QUICK = ("--set", "validate.effort=quick", "--set", "validate.threads=1", "--set", "dims.batch=1")


@pytest.fixture
def files(small_bundle: Path, small_job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with somebody's model and the checkpoint that it was made from."""
    shutil.copy(small_bundle / "model.onnx", tmp_path / "theirs.onnx")
    shutil.copytree(small_job.parent / "model", tmp_path / "model")
    shutil.copy(next((small_job.parent / "pictures").glob("*.png")), tmp_path / "one.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_verdict_is_printed_and_written_and_names_a_broken_picture(files: Path, run: Run) -> None:
    sizes = ("--set", "dims.height=64", "--set", "dims.width=96")
    (files / "broken.png").write_bytes(b"no picture")
    ran = run(
        *("check", "theirs.onnx", "--against", "model", "--images", "*.png", "--out", "checked"),
        *("--json", "--quiet", *QUICK, *sizes),
    )
    document = json.loads(ran.stdout)
    written = json.loads((files / "checked" / "parity.json").read_text(encoding="utf-8"))
    assert document == written
    assert ran.returncode == {"fail": 1, "error": 4}[document["verdict"]]
    (unproved,) = (check for check in document["checks"] if check["status"] == "error")
    assert unproved["name"] == "pictures"
    assert unproved["reason"].startswith("1 of 2 pictures cannot be used")
    assert "broken.png cannot be read" in unproved["reason"]
    assert "one.png" in {case["picture"] for case in document["cases"]}
    assert document["notes"][0].startswith("no job is given: family yolox, task detection, variant nano")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(("gone.onnx", "--against", "model"), "gone.onnx does not exist", id="no-file"),
        pytest.param(("theirs.onnx", "--against", "gone.pth"), "gone.pth does not exist", id="no-checkpoint"),
        pytest.param(
            ("theirs.onnx", "--against", "model", "--map", "input"), "expected FILE_NAME=NAME", id="no-pair"
        ),
        pytest.param(
            ("theirs.onnx", "--against", "model", "--images", "gone/*.png"), "names no file", id="no-picture"
        ),
    ],
)
def test_what_is_missing_is_named(files: Path, refuse: Refuse, arguments: tuple[str, ...], says: str) -> None:
    refuse("check", *arguments, "--quiet", says=[says])


def test_nothing_is_drawn_over_a_picture(files: Path, refuse: Refuse) -> None:
    told = ("check", "theirs.onnx", "--against", "model", "--quiet", "--draw", ".")
    refuse(*told, says=["--draw needs pictures to draw on"])
    before = (files / "one.png").read_bytes()
    refuse(*told, "--images", "one.png", says=["one.png is read by this command and would be overwritten"])
    assert (files / "one.png").read_bytes() == before


def test_nothing_that_is_read_is_overwritten(files: Path, refuse: Refuse) -> None:
    shutil.copy(files / "model" / "yolox_nano.pth", files / "parity.json")
    refuse(
        *("check", "theirs.onnx", "--against", "parity.json", "--out", ".", "--quiet"),
        says=["parity.json is read by this command and would be overwritten"],
    )
