"""Many pictures: folders, patterns, names on standard input, a line for each, and a bad one among them."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
from PIL import Image

import onnxproof
from onnxproof.errors import PictureError

Refuse = Callable[..., None]
Run = Callable[..., CompletedProcess[str]]


@pytest.fixture
def pictures(pictures_folder: Path) -> Path:
    (pictures_folder / "notes.txt").write_text("no picture", encoding="utf-8")
    return pictures_folder


@pytest.fixture
def names(pictures: Path) -> list[str]:
    return [str(file) for file in sorted(pictures.glob("*.png"))]


def lines(ran: CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ran.stdout.splitlines()]


@pytest.mark.parametrize("way", ["folder", "pattern", "files", "standard-input"])
def test_all_ways_to_name_pictures_give_the_same_lines(
    way: str,
    small_bundle: Path,
    pictures: Path,
    names: list[str],
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: dict[str, list[str | Path]] = {
        "folder": [pictures],
        "pattern": [pictures / "*.png"],
        "files": [*names],
        "standard-input": ["-"],
    }
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(names) + "\n"))
    ran = run("predict", small_bundle, *given[way], "--jsonl")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert [line["image"] for line in lines(ran)] == names
    assert all("boxes" in line for line in lines(ran))
    whole = json.loads(run("predict", small_bundle, *names, "--json").stdout)
    assert lines(ran) == whole


@pytest.mark.parametrize("flags", [("--jsonl",), ("--json",), ()], ids=["jsonl", "json", "text"])
def test_a_bad_picture_is_an_error_in_its_place(
    small_bundle: Path, pictures: Path, names: list[str], run: Run, flags: tuple[str, ...]
) -> None:
    Path(names[1]).write_bytes(b"no picture")
    ran = run("predict", small_bundle, pictures, *flags)
    assert ran.returncode == 2
    assert f"1 of {len(names)} pictures cannot be used" in ran.stderr
    if flags:
        found = lines(ran) if flags == ("--jsonl",) else json.loads(ran.stdout)
        assert [one["image"] for one in found] == names
        assert ["error" in one for one in found] == [at == 1 for at in range(len(names))]
        assert found[1]["error"]["type"] == "PictureError"
    else:
        assert f"{names[1]}: error: " in ran.stdout
        assert f"{names[2]}: " in ran.stdout


def test_raw_outputs_go_on_as_well(small_bundle: Path, pictures: Path, names: list[str], run: Run) -> None:
    Path(names[0]).write_bytes(b"no picture")
    ran = run("predict", small_bundle, pictures, "--raw", "--jsonl")
    assert ran.returncode == 2
    assert ["error" in line for line in lines(ran)] == [True] + [False] * (len(names) - 1)
    assert all("outputs" in line for line in lines(ran)[1:])


def test_batches_decide_as_one_by_one(small_bundle: Path, names: list[str], run: Run) -> None:
    alone = lines(run("predict", small_bundle, *names, "--jsonl"))
    together = lines(run("predict", small_bundle, *names, "--jsonl", "--batch", "4"))
    assert [one["image"] for one in together] == names
    for one, other in zip(alone, together, strict=True):
        (left, right) = (one["boxes"], other["boxes"])
        assert isinstance(left, list)
        assert isinstance(right, list)
        assert [box["label"] for box in left] == [box["label"] for box in right]
        for key in ("box_xyxy", "score"):
            np.testing.assert_allclose([box[key] for box in left], [box[key] for box in right], rtol=1e-4)


def test_python_takes_lists(small_bundle: Path, names: list[str], tmp_path: Path) -> None:
    predictor = onnxproof.load(small_bundle, threads=1)
    runs = 0
    session = predictor.session

    class Counted:
        def __getattr__(self, name: str) -> object:
            return getattr(session, name)

        def run(self, *arguments: object) -> object:
            nonlocal runs
            runs += 1
            return session.run(*arguments)

    predictor.session = Counted()
    found = predictor.predict(names)
    assert len(found) == len(names)
    assert runs < len(names)  # the small job takes two at once
    wide = tmp_path / "wide.png"
    Image.new("RGB", (96, 48)).save(wide)
    mixed = list(predictor.predict_each([names[0], b"no picture", wide, names[1]], batch=4))
    assert [isinstance(one, PictureError) for one in mixed] == [False, True, False, False]
    with pytest.raises(PictureError):
        predictor.predict([names[0], b"no picture"])
    assert predictor.predict([]) == ()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(("empty",), "holds no picture", id="empty-folder"),
        pytest.param(("empty/*.png",), "matches no file", id="pattern"),
        pytest.param(("-",), "standard input names no picture", id="no-names"),
        pytest.param(("one.png", "--json", "--jsonl"), "--jsonl comes in place of --json", id="both"),
    ],
)
def test_what_names_nothing_is_refused(
    small_bundle: Path,
    pictures: Path,
    tmp_path: Path,
    refuse: Refuse,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    (tmp_path / "empty").mkdir()
    shutil.copy(next(pictures.glob("*.png")), tmp_path / "one.png")
    refuse("predict", small_bundle, *arguments, says=[says])
