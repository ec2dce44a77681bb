"""A path that no file can have, wherever a command is given one: told in a line, and no fault."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import run_here

ROOT = Path(__file__).parents[2]
TINY = ROOT / "release" / "tiny"
DIGITS = ROOT / "configs" / "digits-yolox.toml"
SCENE = ROOT / "examples" / "digits" / "images" / "scene-01.png"
LONG = "x" * 300

ASKED = [
    pytest.param(("inspect", "{path}.onnx"), id="inspect"),
    pytest.param(("check", "{path}.onnx", "--against", "{path}.pth"), id="check"),
    pytest.param(("check", f"{TINY}/model.onnx", "--against", "{path}.pth"), id="check-against"),
    pytest.param(("export", "{path}.toml"), id="export"),
    pytest.param(("export", "{path}.pth"), id="export-checkpoint"),
    pytest.param(("export", f"{DIGITS}", "--set", "model.checkpoint={path}.pth"), id="export-set"),
    pytest.param(("export", "{path}.toml", "{path}2.toml"), id="export-many"),
    pytest.param(("init", "{path}.pth"), id="init"),
    pytest.param(("validate", "{path}.toml"), id="validate"),
    pytest.param(("validate", f"{TINY}", "--onnx", "{path}.onnx"), id="validate-onnx"),
    pytest.param(("validate", f"{TINY}", "--checkpoint", "{path}.pth"), id="validate-checkpoint"),
    pytest.param(("validate", f"{TINY}", "--baseline", "{path}.json"), id="validate-baseline"),
    pytest.param(("compare", "{path}.onnx", f"{TINY}/model.onnx"), id="compare"),
    pytest.param(("compare", f"{TINY}/model.onnx", "{path}.onnx"), id="compare-with"),
    pytest.param(("bisect", "{path}.toml"), id="bisect"),
    pytest.param(("selftest", "{path}"), id="selftest"),
    pytest.param(("kit", "{path}", "--out", "out"), id="kit"),
    pytest.param(("judge", "{path}", "{path}"), id="judge"),
    pytest.param(("package", "{path}"), id="package"),
    pytest.param(("predict", "{path}.onnx", f"{SCENE}"), id="predict"),
    pytest.param(("predict", f"{TINY}", "{path}.png"), id="predict-picture"),
    pytest.param(("predict", f"{TINY}", "--input", "images={path}.npy"), id="predict-input"),
    pytest.param(("predict", f"{TINY}", "--request", "{path}.json"), id="predict-request"),
    pytest.param(("bench", "{path}"), id="bench"),
    pytest.param(("bench", f"{TINY}", "--against", "onnx:{path}.onnx", "--rounds", "2"), id="bench-against"),
]


@pytest.mark.parametrize("asked", ASKED)
def test_a_path_that_is_too_long_is_a_wrong_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run_here([*(one.format(path=LONG) for one in asked)])
    assert ran.code == 2, ran.printed
    assert "nobody foresaw" not in ran.printed
    assert "xxxxx" in ran.printed
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="the working folder cannot be removed there")
@pytest.mark.parametrize("asked", ASKED)
def test_a_working_folder_that_is_gone_is_a_wrong_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: tuple[str, ...]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    ran = run_here([*(one.format(path="name") for one in asked)])
    assert ran.code == 2, ran.printed
    assert "nobody foresaw" not in ran.printed


@pytest.mark.parametrize("key", ["model.builder", "model.checkpoint"])
def test_a_null_character_in_a_path_is_a_wrong_request(tmp_path: Path, key: str) -> None:
    job = tmp_path / "a.toml"
    job.write_text(
        'name = "a"\n[model]\nfamily = "module"\nbuilder = "a.py:f"\n[inputs]\nx = "float32[batch, 4]"\n'
        '[dims]\nbatch = "1..2"\n',
        encoding="utf-8",
    )
    given = json.dumps("a\0b.py:f")
    (tmp_path / "dist" / "a").mkdir(parents=True)  # so that it is asked whether an input lies in it
    ran = run_here(["export", str(job), "--out", str(tmp_path / "dist"), "--set", f"{key}={given}"])
    assert ran.code == 2, ran.printed
    assert ran.printed.count("\n") == 1, ran.printed
    assert "a\\x00b" in ran.printed


@pytest.mark.skipif(sys.platform == "win32", reason="the home folder is another variable there")
def test_a_prediction_leaves_the_home_folder_and_the_one_for_temporary_files_empty(tmp_path: Path) -> None:
    """Without the variables of CI, with which ONNX Runtime tells nothing by itself."""
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    home.mkdir()
    temporary.mkdir()
    ran = subprocess.run(
        [sys.executable, "-m", "onnxproof", "predict", TINY, SCENE],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(sys.path),
            "HOME": str(home),
            "TMPDIR": str(temporary),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert [*home.rglob("*"), *temporary.rglob("*")] == []
