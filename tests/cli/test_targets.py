"""Where results go: targets that cannot be written, and what an unfinished export leaves behind."""

import importlib
import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from onnxproof.errors import ExportError

Refuse = Callable[..., None]
Run = Callable[..., CompletedProcess[str]]
BUNDLE = ["README.md", "manifest.json", "model.onnx", "pictures"]
FAST = ("--no-validate", "--set", "dims.batch=1", "--set", "dims.height=64", "--set", "dims.width=64")


@pytest.fixture
def regular_file(tmp_path: Path) -> Path:
    file = tmp_path / "file"
    file.write_text("not a folder", encoding="utf-8")
    return file


def test_a_target_below_a_file(refuse_export: Refuse, regular_file: Path) -> None:
    below = regular_file / "below"
    refuse_export("--out", below, says=(str(below), "cannot be written", "--out"))


def test_a_target_that_is_a_file(refuse_export: Refuse, regular_file: Path) -> None:
    refuse_export("--out", regular_file, says=(str(regular_file), "is a file", "--out"))
    assert regular_file.read_text(encoding="utf-8") == "not a folder"


def test_a_file_in_the_bundles_place(refuse_export: Refuse, tmp_path: Path) -> None:
    (tmp_path / "small").write_text("not a bundle", encoding="utf-8")
    refuse_export("--out", tmp_path, says=(str(tmp_path / "small"), "is a file", "--out"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write into a folder whose mode forbids it")
def test_a_target_without_write_permission(refuse_export: Refuse, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=stat.S_IRUSR | stat.S_IXUSR)
    refuse_export("--out", locked, says=(str(locked), "cannot be written", "Permission denied", "--out"))


def test_a_refused_export_makes_no_folder(run: Run, small_job: Path, tmp_path: Path) -> None:
    ran = run("export", small_job, "--out", tmp_path / "new", "--set", "model.variant=tiny")
    assert ran.returncode == 2
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("raised", "code", "says"),
    [
        pytest.param(KeyboardInterrupt(), 130, "stopped", id="ctrl-c-while-it-captures"),
        pytest.param(ExportError("no graph"), 3, "no graph", id="capture-fails"),
        pytest.param(
            OSError(28, "No space left on device"), 2, "No space left on device", id="the-disk-is-full"
        ),
    ],
)
def test_an_export_that_stops_leaves_the_older_bundle_alone(
    run: Run,
    small_job: Path,
    older_bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    raised: BaseException,
    code: int,
    says: str,
) -> None:
    def stop(*_: object) -> None:
        raise raised

    dist = older_bundle.parent
    monkeypatch.setattr("onnxproof.steps.bundled.prove", stop)
    ran = run("export", small_job, "--out", dist)
    assert (ran.returncode, ran.stdout) == (code, "")
    assert says in ran.stderr
    assert ran.stderr.count("\n") <= 2, ran.stderr
    assert [path.name for path in dist.iterdir()] == ["small"]
    assert (older_bundle / "model.onnx").read_bytes() == b"an older model"


def test_a_finished_export_takes_the_older_bundles_place(
    run: Run, small_job: Path, older_bundle: Path
) -> None:
    dist = older_bundle.parent
    ran = run("export", small_job, "--out", dist, *FAST)
    assert ran.returncode == 0, ran.stderr
    assert [path.name for path in dist.iterdir()] == ["small"]
    assert sorted(path.name for path in older_bundle.iterdir()) == BUNDLE


@pytest.mark.slow
def test_a_linked_bundle_is_replaced_where_it_lies(
    run: Run, small_job: Path, small_bundle: Path, tmp_path: Path
) -> None:
    """And what export wrote itself it takes for a bundle, too."""
    elsewhere = tmp_path / "dist" / "small"
    shutil.copytree(small_bundle, elsewhere)
    before = (elsewhere / "model.onnx").read_bytes()
    dist = tmp_path / "linked"
    dist.mkdir()
    (dist / "small").symlink_to(elsewhere, target_is_directory=True)
    ran = run("export", small_job, "--out", dist, *FAST)
    assert ran.returncode == 0, ran.stderr
    assert [path.name for path in dist.iterdir()] == ["small"]
    assert (dist / "small").is_symlink()
    assert [path.name for path in elsewhere.parent.iterdir()] == ["small"]
    assert sorted(path.name for path in elsewhere.iterdir()) == BUNDLE
    assert (elsewhere / "model.onnx").read_bytes() != before  # of other sizes
    manifest = json.loads((elsewhere / "manifest.json").read_text(encoding="utf-8"))
    assert (dist / "small" / manifest["job"]["model"]["checkpoint"]).samefile(small_job.parent / "model")


def test_predict_cannot_draw_into_a_file(
    refuse: Refuse, small_bundle: Path, small_job: Path, regular_file: Path
) -> None:
    picture = small_job.parent / "pictures" / "0.png"
    refuse(
        *("predict", small_bundle, picture, "--draw", regular_file),
        says=(str(regular_file), "cannot be written", "--draw"),
    )


def test_validate_cannot_write_below_a_file(
    refuse: Refuse, small_job: Path, small_bundle: Path, regular_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sweep(*_: object, **__: object) -> None:
        raise AssertionError("the request was found wrong only after the sweep had begun")

    # By its name the package's function would be found, not the folder.
    monkeypatch.setattr(importlib.import_module("onnxproof.validate.verify"), "measure", sweep)
    below = regular_file / "below"
    refuse("validate", small_bundle, "--out", below, says=(str(below), "cannot be written", "--out"))
