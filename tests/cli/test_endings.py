"""How runs end: code of the user's that raises or exits, errors that nobody foresaw, readers that go away."""

import json
import marshal
import operator
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from commands import run_here

import onnxproof
from onnxproof.errors import UserCodeError

Run = Callable[..., CompletedProcess[str]]
MakeJob = Callable[[str], Path]

JOB = """
name = "tiny"
[model]
family = "module"
builder = "build.py:make"
[inputs]
x = "float32[batch, 4]"
[dims]
batch = "1..4"
[export]
exporter = "torchscript"
simplify = "none"
fold_batch_norms = false
[validate]
effort = "quick"
threads = 1
"""

MODULE = """
import os
import sys
import torch
{top}
class Tiny(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 3)
    def forward(self, x):
        {forward}
        return self.layer(x)

def make():
    {build}
    return Tiny()
"""


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., Path]:
    """A job whose builder's file does something unexpected at one of its places."""

    def write(**places: str) -> Path:
        code = MODULE.format(**{"top": "", "forward": "pass", "build": "pass", **places})
        (tmp_path / "build.py").write_text(code, encoding="utf-8")
        file = tmp_path / "tiny.toml"
        file.write_text(JOB, encoding="utf-8")
        return file

    return write


def line_of(job: Path, text: str) -> str:
    """The place of the line that holds the text, as an error tells it."""
    file = job.parent / "build.py"
    lines = file.read_text(encoding="utf-8").splitlines()
    return f"{file}:{next(n for n, line in enumerate(lines, 1) if text in line)}"


def tell_once(ran: CompletedProcess[str], code: int) -> str:
    """The only line on standard error, which the document on standard output repeats."""
    assert ran.returncode == code, ran
    error = json.loads(ran.stdout)["error"]
    assert error["exit_code"] == code
    assert ran.stderr == f"onnxproof: {error['message']}\n"
    return ran.stderr


AT_CAPTURE = "if torch.jit.is_tracing(): "
AT_FOUR = "if not torch.jit.is_tracing() and x.shape[0] == 4: "
IN_FLOAT64 = "if x.element_size() == 8: "

PLACES = [
    pytest.param({"top": "sys.exit(0)"}, "sys.exit(0)", id="exit-at-import"),
    pytest.param({"build": "sys.exit(0)"}, "sys.exit(0)", id="exit-in-the-builder"),
    pytest.param({"forward": "sys.exit(0)"}, "sys.exit(0)", id="exit-in-forward"),
    pytest.param({"forward": f"{AT_CAPTURE}sys.exit(0)"}, "sys.exit(0)", id="exit-at-capture"),
    pytest.param({"forward": f"{AT_FOUR}sys.exit(0)"}, "sys.exit(0)", id="exit-at-validation"),
    pytest.param({"forward": f"{IN_FLOAT64}sys.exit(0)"}, "sys.exit(0)", id="exit-in-float64"),
    pytest.param({"top": "1 / 0"}, "1 / 0", id="raise-at-import"),
    pytest.param({"top": "import nowhere"}, "import nowhere", id="what-it-needs-is-missing"),
    pytest.param({"top": "def f(:"}, "def f(:", id="no-python"),
    pytest.param({"build": "raise KeyError('width')"}, "raise KeyError", id="raise-in-the-builder"),
    pytest.param({"build": "raise MemoryError"}, "raise MemoryError", id="memory"),
    pytest.param({"build": "make()"}, "    make()", id="recursion"),
    pytest.param({"forward": "raise OSError('no')"}, "raise OSError", id="raise-in-forward"),
    pytest.param({"forward": "x = x @ x"}, "x = x @ x", id="raise-in-torch-called-from-forward"),
    pytest.param({"forward": f"{AT_CAPTURE}raise ValueError"}, "raise ValueError", id="raise-at-capture"),
    pytest.param({"forward": f"{AT_FOUR}raise ValueError"}, "raise ValueError", id="raise-at-validation"),
]


@pytest.mark.parametrize(("places", "text"), PLACES)
def test_code_of_the_users_is_told_by_its_line(
    run: Run, job: Callable[..., Path], tmp_path: Path, places: dict[str, str], text: str
) -> None:
    file = job(**places)
    ran = run("export", file, "--out", tmp_path / "dist", "--json", "--quiet")
    assert line_of(file, text) in tell_once(ran, 2)
    assert not list((tmp_path / "dist").glob("*"))


@pytest.mark.parametrize(
    ("places", "kind"),
    [
        pytest.param({"forward": "raise OSError('no')"}, "JobError", id="in-the-first-run"),
        pytest.param({"forward": "sys.exit(0)"}, "ExitCalledError", id="exit"),
        pytest.param({"build": "raise KeyError('width')"}, "UserCodeError", id="in-the-builder"),
    ],
)
def test_the_type_of_what_the_users_code_raises(
    run: Run, job: Callable[..., Path], tmp_path: Path, places: dict[str, str], kind: str
) -> None:
    ran = run("export", job(**places), "--out", tmp_path / "dist", "--json", "--quiet")
    assert json.loads(ran.stdout)["error"]["type"] == kind


@pytest.mark.parametrize(
    ("forward", "noted"),
    [
        pytest.param(f"{IN_FLOAT64}raise TypeError", True, id="runs-in-float32-alone"),
        pytest.param("x = x @ torch.eye(4, dtype=torch.float32)", False, id="asks-for-float32"),
    ],
)
def test_a_module_is_exported_whether_it_runs_in_float64_or_not(
    run: Run, job: Callable[..., Path], tmp_path: Path, forward: str, noted: bool
) -> None:
    folding = ("--set", "export.fold_batch_norms=true", "--json")
    ran = run("export", job(forward=forward), "--out", tmp_path / "dist", *folding)
    assert ran.returncode == 0, ran.stderr
    notes = json.loads(ran.stdout)["parity"]["notes"]
    assert noted == any("does not run in float64" in note for note in notes)


def test_in_python_it_is_an_error_to_catch(job: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(UserCodeError, match=r"build\.py"):
        onnxproof.export(job(build="sys.exit(0)"), out=tmp_path)


@pytest.mark.parametrize("command", ["validate", "bisect"])
def test_validate_and_bisect_tell_it_too(
    run: Run, job: Callable[..., Path], tmp_path: Path, command: str
) -> None:
    assert run("export", job(), "--out", tmp_path, "--no-validate").returncode == 0
    file = job(forward=f"{IN_FLOAT64}sys.exit(0)")
    ran = run(command, file, "--onnx", tmp_path / "tiny" / "model.onnx", "--json")
    assert line_of(file, "sys.exit(0)") in tell_once(ran, 2)


def test_what_a_builder_prints_is_not_in_the_document(
    run: Run, job: Callable[..., Path], tmp_path: Path
) -> None:
    file = job(top="print('loud')", build="os.system('echo louder')")
    ran = run("export", file, "--out", tmp_path / "dist", "--no-validate", "--json")
    assert ran.returncode == 0
    assert json.loads(ran.stdout)["parity"] is None
    assert all(word in ran.stderr for word in ("loud\n", "louder\n"))


CRASH = "import ctypes; ctypes.string_at(0)"
CRASHING = """
import os
from onnxproof.cli._crash import told_if_it_crashes
with told_if_it_crashes():
    {code}
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize(
    ("code", "name", "number"),
    [
        pytest.param(CRASH, "SIGSEGV", 11, id="a-null-pointer"),
        pytest.param("os.abort()", "SIGABRT", 6, id="abort"),
        pytest.param("os.kill(os.getpid(), 9)", "SIGKILL", 9, id="killed"),
        pytest.param("os.fork() or os.abort(); os.wait()", None, 0, id="a-process-that-it-forked"),
    ],
)
def test_a_crash_has_its_document(code: str, name: str | None, number: int) -> None:
    given = [sys.executable, "-c", CRASHING.format(code=code)]
    ran = subprocess.run(given, capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == -number
    if name is None:
        assert ran.stdout == ""
        return
    error = json.loads(ran.stdout)["error"]
    assert (error["type"], error["exit_code"]) == ("Crashed", 128 + number)
    assert error["message"].startswith(name)
    assert ("most recent call first" in ran.stderr) == (name != "SIGKILL")
    assert ("or somebody ended it" in error["message"]) == (name == "SIGKILL")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_a_builder_that_crashes_is_told_by_its_line(job: Callable[..., Path], tmp_path: Path) -> None:
    asked = ["export", str(job(build=CRASH)), "--out", str(tmp_path / "dist"), "--json"]
    given = [sys.executable, "-m", "onnxproof", *asked]
    ran = subprocess.run(given, capture_output=True, text=True, check=False, timeout=120)
    assert json.loads(ran.stdout)["error"]["exit_code"] == 139
    assert f'{tmp_path / "build.py"}", line' in ran.stderr


@pytest.fixture
def unforeseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of ours: a step is called with arguments that it does not take."""
    monkeypatch.setattr("onnxproof.steps.bundled.prove", operator.itemgetter(0))


@pytest.mark.usefixtures("unforeseen")
def test_an_error_that_nobody_foresaw_is_70(run: Run, small_job: Path, tmp_path: Path) -> None:
    said = tell_once(run("export", small_job, "--out", tmp_path, "--json"), 70)
    assert all(part in said for part in ("TypeError", "bundled.py:", "CONTRIBUTING.md", "--traceback"))
    ran = run("export", small_job, "--out", tmp_path)
    assert (ran.returncode, ran.stdout, ran.stderr) == (70, "", said)


@pytest.mark.usefixtures("unforeseen")
@pytest.mark.parametrize("before", [True, False], ids=["before-the-command", "behind-it"])
def test_traceback_shows_more(run: Run, small_job: Path, tmp_path: Path, before: bool) -> None:
    flag = ("--traceback",)
    ran = run(*(flag if before else ()), "export", small_job, "--out", tmp_path, *(() if before else flag))
    assert (ran.returncode, ran.stdout) == (70, "")
    assert ran.stderr.startswith("Traceback (most recent call last):")
    assert ran.stderr.splitlines()[-1].startswith("onnxproof: ")


def test_traceback_shows_where_a_request_was_refused(run: Run, tmp_path: Path) -> None:
    ran = run("inspect", tmp_path / "gone.onnx", "--traceback", "--json")
    assert ran.returncode == 2
    assert "ModelFileError" in json.loads(ran.stdout)["error"]["type"]
    assert ran.stderr.startswith("Traceback")


@pytest.mark.parametrize("raised", ["SystemExit(0)", "SystemExit(1)", "SystemExit()", "BaseException()"])
def test_what_ends_the_program_from_within_is_unforeseen(raised: str) -> None:
    from onnxproof.cli._ending import ending_of

    error: BaseException = eval(raised)
    assert ending_of(error).exit_code == 70


def test_a_read_at_the_end_of_a_file_is_no_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    """click makes the two alike. A compiled module of which half is written is read that way."""
    monkeypatch.setattr("onnxproof.cli.families.offered_families", partial(marshal.loads, b""))
    ran = run_here(["families"])
    assert (ran.code, "raises EOFError" in ran.printed) == (70, True)


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("validate", "--json"), id="no-argument"),
        pytest.param(("export", "job.toml", "--json", "--sett"), id="no-such-option"),
        pytest.param(("exprt", "job.toml", "--json"), id="no-such-command"),
        pytest.param(("tasks", "--json", "all"), id="an-argument-too-many"),
        pytest.param(("compare", "a", "b", "--json", "--threads", "none"), id="a-value-of-another-kind"),
    ],
)
def test_a_usage_error_is_a_document_too(run: Run, arguments: tuple[str, ...]) -> None:
    ran = run(*arguments)
    assert ran.returncode == 2
    error = json.loads(ran.stdout)["error"]
    assert (error["type"], error["exit_code"]) == ("UsageError", 2)
    assert f"Error: {error['message']}" in ran.stderr


def test_ctrl_c_is_a_document_too(
    run: Run, small_job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("onnxproof.steps.bundled.prove", stop)
    ran = run("export", small_job, "--out", tmp_path, "--json")
    assert (ran.returncode, ran.stderr.strip()) == (130, "onnxproof: stopped")
    assert json.loads(ran.stdout)["error"] == {"type": "Interrupted", "message": "stopped", "exit_code": 130}


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["tasks"], id="lines"),
        pytest.param(["--help"], id="help"),
        pytest.param(["inspect", "BUNDLE", "--json"], id="document"),
        pytest.param(["inspect", "gone.onnx", "--json"], id="an-errors-document"),
    ],
)
def test_a_reader_that_goes_away_is_no_fault(small_bundle: Path, arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    given = [str(small_bundle) if argument == "BUNDLE" else argument for argument in arguments]
    try:
        ran = subprocess.run(
            [sys.executable, "-m", "onnxproof", *given],
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=120,
        )
    finally:
        os.close(writing)
    assert ran.returncode == 141, ran.stderr
    assert ran.stderr.count("\n") <= 1
    assert "Traceback" not in ran.stderr


SHORT = """
import sys
import onnxproof.cli
from onnxproof.cli import _commands, tasks

def short(*_, **__):
    raise {error}

{place} = short
sys.argv = ["onnxproof", "tasks", "--json"]
onnxproof.cli.program()
"""


@pytest.mark.parametrize("place", ["_commands.main", "tasks.command.callback"], ids=["before", "in-the-run"])
@pytest.mark.parametrize(
    "error",
    [
        "MemoryError",
        'ImportError("libtorch_cpu.so: failed to map segment from shared object")',
        'RuntimeError("pthread_create failed, error code: 12 error msg: Cannot allocate memory")',
    ],
    ids=["python", "loader", "library"],
)
def test_too_little_memory_is_no_verdict_and_no_fault(place: str, error: str) -> None:
    code = SHORT.format(place=place, error=error)
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert ran.returncode == 2, ran.stderr
    (line,) = ran.stderr.splitlines()
    assert line.startswith("onnxproof: there is not enough memory: ")
    document = json.loads(ran.stdout)["error"]
    assert (document["type"], document["exit_code"]) == ("RequestError", 2)
