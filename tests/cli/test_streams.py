"""What each command writes to which stream, and with which exit code it ends."""

import json
import os
import pty
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, NoReturn

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnxproof import __version__
from onnxproof.schemas import schema

Run = Callable[..., CompletedProcess[str]]

ROOM = 40_000
"""Bytes of a pipe's 65,536 that are taken, so that the rest is too small for a schema."""
HELD_BACK_S = 0.5
"""How long a pipe is not read."""

TABLE = ("ort-cpu against torch-float32", "box_xy", "score", "decisions  ", "verdict: ")


def document(ran: CompletedProcess[str]) -> Any:
    """Standard output as one JSON document: no second one, nothing around it, no NaN or Infinity."""

    def refuse(constant: str) -> NoReturn:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(ran.stdout, parse_constant=refuse)


def stages(ran: CompletedProcess[str]) -> list[str]:
    """The lines of standard error, without the counts that a slow machine adds."""
    return [line for line in ran.stderr.splitlines() if not re.search(r": \d+ of \d+ after \d+ s$", line)]


@pytest.fixture
def picture(small_job: Path) -> Path:
    return small_job.parent / "pictures" / "0.png"


@pytest.fixture
def damaged(small_bundle: Path, tmp_path: Path) -> Callable[[float], Path]:
    """The small bundle's model with every weight of its last convolution multiplied."""

    def damaged(factor: float) -> Path:
        model = onnx.load(small_bundle / "model.onnx")
        name = [node.input[1] for node in model.graph.node if node.op_type == "Conv"][-1]
        (weight,) = (tensor for tensor in model.graph.initializer if tensor.name == name)
        values = numpy_helper.to_array(weight) * np.float32(factor)
        weight.CopyFrom(numpy_helper.from_array(values, name))
        onnx.save(model, tmp_path / "damaged.onnx")
        return tmp_path / "damaged.onnx"

    return damaged


def test_export_prints_a_table_and_where_the_bundle_is(run: Run, small_job: Path, tmp_path: Path) -> None:
    ran = run("export", small_job, "--out", tmp_path)
    assert ran.returncode == 0
    capture, compare, draw = stages(ran)
    assert (capture, draw) == ("capture", "draw")
    assert compare.startswith("compare ")
    assert all(part in ran.stdout for part in TABLE), ran.stdout
    assert not re.search("[\u2500-\u257f]|[ \t]$", ran.stdout, re.MULTILINE), ran.stdout
    assert ran.stdout.splitlines()[-1].startswith(f"{tmp_path / 'small'}: torchscript, opset 20, ")


@pytest.mark.slow
def test_export_prints_json_and_the_table_beside_it(run: Run, small_job: Path, tmp_path: Path) -> None:
    ran = run("export", small_job, "--out", tmp_path, "--json")
    assert ran.returncode == 0
    said = document(ran)
    assert said["bundle"] == str(tmp_path / "small")
    assert said["manifest"] == json.loads((tmp_path / "small" / "manifest.json").read_text(encoding="utf-8"))
    assert said["parity"] == json.loads((tmp_path / "small" / "parity.json").read_text(encoding="utf-8"))
    assert said["parity"]["verdict"] == "pass"
    assert all(part in ran.stderr for part in TABLE), ran.stderr


def test_export_without_a_verdict_says_so(run: Run, small_job: Path, tmp_path: Path) -> None:
    ran = run("export", small_job, "--out", tmp_path, "--no-validate", "--json")
    assert (ran.returncode, stages(ran)) == (0, ["capture", "draw"])
    assert document(ran)["parity"] is None
    assert not (tmp_path / "small" / "parity.json").exists()


@pytest.mark.slow
def test_a_quiet_command_says_nothing(run: Run, small_job: Path, small_bundle: Path, tmp_path: Path) -> None:
    """Its exit code tells the verdict; with --json the document is printed alone."""
    small = [part for dim in ("batch=1", "height=64", "width=64") for part in ("--set", f"dims.{dim}")]
    wanted = ("--onnx", small_bundle / "model.onnx", "--quiet")
    for ran in (
        run("export", small_job, "--out", tmp_path, "--quiet", *small),
        run("validate", small_job, *wanted),
        run("compare", small_bundle / "model.onnx", small_bundle / "model.onnx", "--quiet", "--effort=quick"),
        run("bisect", small_job, "--case", "0", *wanted),
    ):
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", ""), ran
    ran = run("validate", small_job, *wanted, "--json")
    assert (ran.returncode, ran.stderr, document(ran)["verdict"]) == (0, "", "pass")


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "onnxproof", *map(str, arguments)]


def test_a_terminal_of_80_columns_breaks_no_word(run: Run, small_bundle: Path) -> None:
    """In a real pseudo-terminal: what ``inspect`` shows of a bundle."""
    leader, follower = pty.openpty()
    environment = {**os.environ, "COLUMNS": "80", "LINES": "24"}
    with subprocess.Popen(command("inspect", small_bundle), stdout=follower, env=environment) as process:
        os.close(follower)
        shown = b""
        try:
            while part := os.read(leader, 65536):
                shown += part
        except OSError:  # Linux says so where the other end is closed
            pass
    os.close(leader)
    assert process.returncode == 0
    lines = shown.decode().splitlines()
    too_long = [line for line in lines if len(line) > 80]
    assert [line.rpartition("  ")[0].strip() for line in too_long] == ["checkpoint SHA-256"]  # one word of 64
    piped = run("inspect", small_bundle).stdout
    assert shown.decode().split() == piped.split()
    assert len(lines) > len(piped.splitlines())


@pytest.mark.slow
def test_an_old_encoding_is_no_traceback(small_bundle: Path, tmp_path: Path) -> None:
    """And JSON stays JSON, and the same document."""
    model = onnx.load(small_bundle / "model.onnx")
    model.metadata_props.add(key="café", value="猫 ≤ 😀")
    del model.metadata_props[:-1]
    onnx.save(model, tmp_path / "model.onnx")
    said = {}
    for encoding in ("ascii", "utf-8"):
        environment = {**os.environ, "PYTHONIOENCODING": encoding}
        for flags in ((), ("--json",)):
            ran = subprocess.run(
                command("inspect", tmp_path / "model.onnx", *flags),
                capture_output=True,
                env=environment,
                check=False,
            )
            assert (ran.returncode, ran.stderr) == (0, b"")
            if not flags:
                assert "metadata caf" in ran.stdout.decode(encoding)
        said[encoding] = json.loads(ran.stdout.decode("utf-8"))
    assert said["ascii"] == said["utf-8"]


@pytest.mark.first_case
@pytest.mark.parametrize(
    ("redirected", "code"),
    [
        pytest.param(">&-", 2, id="closed"),
        pytest.param("2>&-", 0, id="errors-closed"),
        pytest.param("> /dev/full", 2, id="full"),
    ],
)
@pytest.mark.parametrize("flags", [pytest.param((), id="text"), pytest.param(("--json",), id="json")])
def test_output_that_goes_nowhere_is_no_traceback(
    small_bundle: Path, redirected: str, code: int, flags: tuple[str, ...]
) -> None:
    ran = subprocess.run(
        ["bash", "-c", f'"$@" {redirected}', "bash", *command("inspect", small_bundle, *flags)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == code, ran
    why = {">&-": "is closed", "> /dev/full": "cannot be written (No space left on device)"}.get(redirected)
    expected = f"onnxproof: standard output {why}" if code else ""
    assert ran.stderr.startswith(expected)
    assert ran.stderr.count("\n") == (1 if code else 0), ran.stderr


@pytest.mark.parametrize("flags", [(), ("--json",)], ids=["text", "json"])
def test_a_list_that_goes_nowhere_is_told(flags: tuple[str, ...]) -> None:
    asked = ["bash", "-c", '"$@" >&-', "bash", *command("tasks", *flags)]
    ran = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (
        2,
        "onnxproof: standard output is closed, and there is something to print: send it to a file\n",
    )


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither ulimit nor pipes that do not block")
@pytest.mark.parametrize("asked", [("schema", "job"), ("export", "--help")], ids=["document", "help"])
@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
def test_output_that_fits_in_part_is_not_done(
    tmp_path: Path, asked: tuple[str, ...], unbuffered: str
) -> None:
    """Python's unbuffered stream (PYTHONUNBUFFERED) drops what the system did not take, without an error."""
    file = tmp_path / "printed"
    ran = subprocess.run(
        ["bash", "-c", 'ulimit -f 1; "$@" > "$0"', file, *command(*asked)],
        # Python would leave halves of what it compiles of the modules, too.
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered, "PYTHONDONTWRITEBYTECODE": "1"},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert (ran.returncode, file.stat().st_size) == (2, 1024)
    assert ran.stderr.startswith("onnxproof: standard output cannot be written (File too large): free space")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pipes that do not block")
@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
def test_a_pipe_that_does_not_block_gets_everything(unbuffered: str) -> None:
    reads, writes = os.pipe()
    os.set_blocking(writes, False)
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    os.write(writes, b" " * ROOM)
    with subprocess.Popen(
        command("schema", "job"), stdout=writes, stderr=subprocess.PIPE, env=environment
    ) as process:
        os.close(writes)
        assert process.stderr is not None
        time.sleep(HELD_BACK_S)  # so that the pipe is full when the document comes
        with os.fdopen(reads, "rb") as stream:
            printed = stream.read()
        assert (process.wait(), process.stderr.read()) == (0, b"")
    assert json.loads(printed) == schema("job")


def test_results_are_written_although_nothing_can_be_printed(tmp_path: Path) -> None:
    model = Path(__file__).parents[2] / "release" / "tiny" / "model.onnx"
    asked = command("compare", model, model, "--effort", "quick", "--out", tmp_path)
    report = ("--junit", str(tmp_path / "report.xml"))
    ran = subprocess.run(
        ["bash", "-c", '"$@" >&-', "bash", *asked, *report], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 2
    assert "standard output is closed" in ran.stderr
    assert json.loads((tmp_path / "comparison.json").read_text(encoding="utf-8"))["verdict"] == "pass"
    assert "onnxproof" in (tmp_path / "report.xml").read_text(encoding="utf-8")


@pytest.mark.slow
def test_what_prints_nothing_needs_no_output(tmp_path: Path) -> None:
    model = Path(__file__).parents[2] / "release" / "tiny" / "model.onnx"
    asked = command("compare", model, model, "--effort", "quick", "--out", tmp_path, "--quiet")
    ran = subprocess.run(
        ["bash", "-c", '"$@" >&-', "bash", *asked], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert (tmp_path / "comparison.json").is_file()


def test_validate_prints_json_and_the_table_beside_it(run: Run, small_bundle: Path, tmp_path: Path) -> None:
    ran = run("validate", small_bundle, "--json", "--out", tmp_path)
    assert ran.returncode == 0
    said = document(ran)
    assert said == json.loads((tmp_path / "parity.json").read_text(encoding="utf-8"))
    assert {"name": "checksum", "status": "pass"}.items() <= said["checks"][0].items()
    assert all(part in ran.stderr for part in TABLE), ran.stderr


@pytest.mark.first_case
@pytest.mark.parametrize(
    "factor",
    [pytest.param(1.01, id="weights-that-are-off"), pytest.param(float("nan"), id="weights-that-are-nan")],
)
def test_a_verdict_of_fail_is_exit_code_1(
    run: Run, small_job: Path, damaged: Callable[[float], Path], factor: float
) -> None:
    ran = run("validate", small_job, "--onnx", damaged(factor), "--json")
    assert ran.returncode == 1
    said = document(ran)
    assert said["verdict"] == "fail"
    assert "verdict: fail" in ran.stderr


def test_a_failed_capture_is_exit_code_3(run: Run, small_job: Path, tmp_path: Path) -> None:
    ran = run("export", small_job, "--out", tmp_path, "--set", "export.opset=25", "--json")
    assert ran.returncode == 3
    error = document(ran)["error"]
    assert (error["type"], error["exit_code"]) == ("ExportError", 3)
    assert stages(ran) == ["capture", f"onnxproof: {error['message']}"]
    assert error["message"].startswith("TorchScript could not capture the model: ")
    assert list(tmp_path.iterdir()) == []


def test_a_verdict_of_error_is_exit_code_4(run: Run, small_job: Path, small_bundle: Path) -> None:
    """No score exceeds 1, so nothing is decided on, and a verdict on decisions cannot be reached."""
    wanted = ("--onnx", small_bundle / "model.onnx", "--set", "validate.score_threshold=1")
    ran = run("validate", small_job, *wanted, "--json")
    assert ran.returncode == 4
    assert document(ran)["verdict"] == "error"
    assert "PyTorch decided nothing" in ran.stderr


def test_predict_prints_a_line_for_each_detection(run: Run, small_bundle: Path, picture: Path) -> None:
    ran = run("predict", small_bundle, picture)
    assert (ran.returncode, ran.stderr) == (0, "")
    first, *others = ran.stdout.splitlines()
    assert first == f"{picture}: {len(others)} detection{'' if len(others) == 1 else 's'}"
    assert others


def test_predict_prints_one_json_document_for_all_pictures(
    run: Run, small_bundle: Path, small_job: Path
) -> None:
    pictures = sorted((small_job.parent / "pictures").iterdir())
    ran = run("predict", small_bundle, *pictures, "--json")
    assert (ran.returncode, ran.stderr) == (0, "")
    said = document(ran)
    assert [entry["image"] for entry in said] == [str(picture) for picture in pictures]
    assert set(said[0]["boxes"][0]) == {"box", "box_xyxy", "label", "score"}


def test_predicts_thresholds_replace_the_files_own(run: Run, small_bundle: Path, picture: Path) -> None:
    def scores(*flags: str) -> list[float]:
        (said,) = document(run("predict", small_bundle, picture, "--json", *flags))
        return [box["score"] for box in said["boxes"]]

    own, all_of_them = scores(), scores("--score-threshold", "0")
    assert len(all_of_them) > len(own) > 0
    assert [score for score in all_of_them if score > 0.45] == own
    assert len(scores("--score-threshold", "0", "--iou-threshold", "1")) > len(all_of_them)
    assert scores("--score-threshold", "1") == []


def test_predict_draws(run: Run, small_bundle: Path, picture: Path, tmp_path: Path) -> None:
    ran = run("predict", small_bundle, picture, "--draw", tmp_path / "drawn", "--json")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert document(ran)
    assert (tmp_path / "drawn" / picture.name).read_bytes() != picture.read_bytes()


@pytest.mark.parametrize("name", [pytest.param("", id="bundle"), pytest.param("model.onnx", id="lone-model")])
def test_inspect_prints_what_the_file_is(run: Run, small_bundle: Path, name: str) -> None:
    ran = run("inspect", small_bundle / name)
    assert (ran.returncode, ran.stderr) == (0, "")
    rows = dict(line.split("  ", 1) for line in ran.stdout.splitlines())
    assert rows["name"].strip() == "small"
    assert rows["task"].strip() == "detection"
    assert rows["dim height"].strip() == "64..96 step 32"
    assert rows["outputs"].strip() == "output"
    assert rows["strides"].strip() == "8, 16, 32"
    assert rows["class agnostic"].strip() == "yes"
    assert not re.search(r"\b(None|True|False)\b|\[['\"]", ran.stdout), ran.stdout


def test_inspect_prints_the_manifest_as_json(run: Run, small_bundle: Path) -> None:
    ran = run("inspect", small_bundle, "--json")
    assert (ran.returncode, ran.stderr) == (0, "")
    written = json.loads((small_bundle / "manifest.json").read_text(encoding="utf-8"))
    not_in_both = {"model_sha256", "golden_sha256", "job", "hazards"}
    said = document(ran)
    assert {key: value for key, value in said.items() if key not in not_in_both} == {
        key: value for key, value in written.items() if key not in not_in_both
    }


@pytest.mark.parametrize(("command", "name"), [("families", "yolox"), ("tasks", "detection")])
def test_lists_have_a_line_for_each_entry(run: Run, command: str, name: str) -> None:
    ran = run(command)
    assert (ran.returncode, ran.stderr) == (0, "")
    lines = {line.split(maxsplit=1)[0]: line.split(maxsplit=1)[1] for line in ran.stdout.splitlines()}
    assert lines[name].endswith(".")
    listed = {entry["name"]: entry for entry in document(run(command, "--json"))}
    assert listed[name]["summary"] == lines[name]
    assert set(listed) >= set(lines)


@pytest.mark.parametrize(
    ("flag", "says"), [("--help", "Exit codes: "), ("-h", "Exit codes: "), ("--version", __version__)]
)
def test_help_and_version_go_to_standard_output(run: Run, flag: str, says: str) -> None:
    ran = run(flag)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert says in ran.stdout


@pytest.mark.parametrize("command", ["export", "validate", "predict", "inspect", "families", "tasks"])
def test_every_command_has_help(run: Run, command: str) -> None:
    ran = run(command, "--help")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("Usage: ")
