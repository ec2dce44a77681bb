"""predict --request: answers in order, one bad picture as an error in its place, and the exit code."""

import base64
import io
import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from PIL import Image

Refuse = Callable[..., None]
Run = Callable[..., CompletedProcess[str]]
Answers = list[dict[str, Any]]


@pytest.fixture
def pictures(small_job: Path) -> list[Path]:
    """Pictures with a digit or two each."""
    return sorted((small_job.parent / "pictures").glob("*.png"))


def base64_of(file: Path) -> str:
    """As Azure's example has it, with line breaks."""
    return base64.encodebytes(file.read_bytes()).decode()


def request(folder: Path, *data: Any, **frame: Any) -> Path:
    file = folder / "request.json"
    file.write_text(
        json.dumps({"input_data": {"columns": ["image"], "data": data, **frame}}), encoding="utf-8"
    )
    return file


def predicted(run: Run, bundle: Path, *files: Path) -> Answers:
    """What predict says of pictures as arguments, without their names."""
    ran = run("predict", bundle, *files, "--json")
    answers = json.loads(ran.stdout)
    assert [answer.pop("image") for answer in answers] == [str(file) for file in files]
    return list(answers)


def test_answers_as_it_answers_arguments(
    run: Run, small_bundle: Path, pictures: list[Path], tmp_path: Path
) -> None:
    file = request(tmp_path, *(base64_of(picture) for picture in pictures), index=[4, 3, 2, 1, 0])
    ran = run("predict", small_bundle, "--request", file)
    assert (ran.returncode, ran.stderr) == (0, "")
    answers = json.loads(ran.stdout)
    assert answers == predicted(run, small_bundle, *pictures)
    assert all(answer["boxes"] for answer in answers)
    for box in (box for answer in answers for box in answer["boxes"]):
        assert set(box["box"]) == {"topX", "topY", "bottomX", "bottomY"}
        assert all(0 <= share <= 1 for share in box["box"].values())


def test_one_bad_picture_is_an_error_in_its_place(
    run: Run, small_bundle: Path, pictures: list[Path], tmp_path: Path
) -> None:
    data = [base64_of(pictures[0]), "bm8gcGljdHVyZQ==", str(pictures[1]), str(tmp_path / "no.png"), None]
    ran = run("predict", small_bundle, "--request", request(tmp_path, *data))
    assert ran.returncode == 0
    assert ran.stderr == "onnxproof: 3 of 5 pictures cannot be used, see the answer\n"
    first, second, third, fourth, fifth = json.loads(ran.stdout)
    assert [first, third] == predicted(run, small_bundle, *pictures[:2])
    assert list(second) == list(fourth) == list(fifth) == ["error"]
    assert "no picture of a known format" in second["error"]
    assert "no.png" in fourth["error"]
    assert "the datum is null" in fifth["error"]


def test_a_request_without_one_good_picture_exits_with_2(
    run: Run, small_bundle: Path, tmp_path: Path
) -> None:
    ran = run("predict", small_bundle, "--request", request(tmp_path, "§", "§"))
    assert ran.returncode == 2
    assert [list(answer) for answer in json.loads(ran.stdout)] == [["error"], ["error"]]
    assert ran.stderr == "onnxproof: 2 of 2 pictures cannot be used, see the answer\n"


def test_standard_input(
    run: Run, small_bundle: Path, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = request(tmp_path, [base64_of(pictures[0])]).read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    ran = run("predict", small_bundle, "--request", "-", "--json")
    assert json.loads(ran.stdout) == predicted(run, small_bundle, pictures[0])


def test_standard_input_that_is_closed(
    small_bundle: Path, refuse: Refuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    refuse("predict", small_bundle, "--request", "-", says=["standard input is closed: give the request"])
    refuse("predict", small_bundle, "-", "--jsonl", says=["standard input is closed: give one path"])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no devices and pipes in folders")
def test_a_device_is_no_request_and_a_pipe_may_be_one(
    run: Run,
    small_bundle: Path,
    pictures: list[Path],
    tmp_path: Path,
    refuse: Refuse,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refuse("predict", small_bundle, "--request", "/dev/zero", says=["/dev/zero", "it is a device"])
    content = request(tmp_path, [base64_of(pictures[0])]).read_bytes()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(content,))
    writer.start()
    ran = run("predict", small_bundle, "--request", pipe)
    writer.join()
    assert (ran.returncode, len(json.loads(ran.stdout))) == (0, 1)
    monkeypatch.setattr("onnxproof.cli._streams.MOST_INPUT", 1000)
    with open("/dev/zero", "rb") as zeros:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(zeros))
        for asked in (("--request", "-"), ("-", "--jsonl")):
            refuse("predict", small_bundle, *asked, says=["standard input", "more than 1,000 bytes"])


def test_an_empty_set_of_detections_flows_through(
    run: Run, small_bundle: Path, pictures: list[Path], tmp_path: Path
) -> None:
    black = tmp_path / "black.png"
    Image.new("RGB", (96, 96)).save(black)
    drawn = tmp_path / "drawn"
    table = run("predict", small_bundle, black, "--draw", drawn)
    assert (table.returncode, table.stdout) == (0, f"{black}: 0 detections\n")
    with Image.open(drawn / "black.png") as image:
        assert (image.size, image.getextrema()) == ((96, 96), ((0, 0),) * 3)
    assert predicted(run, small_bundle, black) == [{"boxes": []}]
    mixed = request(tmp_path, str(black), base64_of(pictures[0]))
    ran = run("predict", small_bundle, "--request", mixed, "--draw", drawn)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert [bool(answer["boxes"]) for answer in json.loads(ran.stdout)] == [False, True]
    assert {file.name for file in drawn.iterdir()} == {"black.png", "0.png", "1.png"}
    strict = run("predict", small_bundle, "--request", mixed, "--score-threshold", "1")
    assert json.loads(strict.stdout) == [{"boxes": []}] * 2


def test_drawings_of_pictures_with_one_name_stay_apart(
    run: Run, small_bundle: Path, pictures: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "0.jpg").write_bytes(pictures[1].read_bytes())
    ran = run("predict", small_bundle, pictures[0], tmp_path / "0.jpg", "--draw", tmp_path / "drawn")
    assert ran.returncode == 0
    assert {file.name for file in (tmp_path / "drawn").iterdir()} == {"0.png", "0-2.png"}


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        pytest.param("{", ("the request is no JSON", '"columns": ["image"]'), id="not-json"),
        pytest.param(
            '{"input_data": {"columns": ["text"], "data": ["a"]}}', ('expected ["image"]',), id="column"
        ),
        pytest.param(
            '{"input_data": {"columns": ["image"], "index": [0, 1], "data": ["a"]}}',
            ("index has 2 entries and input_data.data 1",),
            id="lengths-that-disagree",
        ),
    ],
)
def test_a_request_of_another_form(
    refuse: Refuse, small_bundle: Path, tmp_path: Path, content: str, parts: tuple[str, ...]
) -> None:
    file = tmp_path / "request.json"
    file.write_text(content, encoding="utf-8")
    refuse("predict", small_bundle, "--request", file, says=parts)


def test_a_request_that_is_not_there(refuse: Refuse, small_bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "no.json"
    refuse("predict", small_bundle, "--request", file, says=(str(file), "No such file", "standard input"))


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        pytest.param(["a.png", "--request", "r.json"], ("--request", "IMAGE"), id="request-and-images"),
        pytest.param(
            ["--input", "input=a.png", "--request", "r.json"],
            ("--input input=a.png comes beside other pictures",),
            id="request-and-a-picture",
        ),
        pytest.param(
            ["--raw", "--request", "r.json"], ("--request needs to know", "--raw"), id="request-and-raw"
        ),
        pytest.param(["a.png", "--allow-urls"], ("--allow-urls is for --request",), id="urls-of-arguments"),
        pytest.param(["a.png", "--out", "a.npz", "--draw", "d"], ("--draw needs to know", "--out"), id="out"),
        pytest.param(["a.png", "--scale", "255"], ("--scale is for files that do not say",), id="scale"),
        pytest.param(["a.png", "--input", "a=b.npy"], ('no input "a"', "input float32"), id="no-such-input"),
        pytest.param(["a.png", "--top-k", "3"], ("top_k is not a setting of task detection",), id="top-k"),
    ],
)
def test_flags_that_exclude_each_other(
    refuse: Refuse, small_bundle: Path, arguments: list[str], parts: tuple[str, ...]
) -> None:
    refuse("predict", small_bundle, *arguments, says=parts)


def test_help_tells_the_exit_codes(run: Run) -> None:
    said = " ".join(run("predict", "--help").stdout.split())
    assert "The exit code is 0 if at least one picture worked, and 2 if none did" in said
