"""What a signal leaves: nothing where it can be handled, and nothing after the next run where it cannot."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess, Popen

import pytest

Run = Callable[..., CompletedProcess[str]]
Start = Callable[..., Popen[str]]

FAST = ("--no-validate", "--set", "dims.batch=1", "--set", "dims.height=64", "--set", "dims.width=64")

WAIT = """\
import importlib, signal, sys, time
import onnxproof.cli

def wait(*_, **__):
    print("capturing", flush=True)
    for _ in range(600):
        time.sleep(0.1)

importlib.import_module("onnxproof.export.capture").with_torchscript = wait
onnxproof.cli.main()
"""
"""The command line, with a capture that takes a minute, in its own process."""


def heed_signals() -> None:
    """Let a child die of what may be ignored here: a job in the background inherits SIGINT as ignored."""
    for each in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(each, signal.SIG_DFL)


SLOW_CLICK = """\
import importlib, sys, time
print("importing", flush=True)
time.sleep(1)
sys.path.remove({folder!r})
del sys.modules["click"]
importlib.import_module("click")
"""
"""A module in the place of click that takes a second to import, as from a cold disk."""


@pytest.mark.parametrize(
    "flags", [pytest.param((), id="text"), pytest.param(("--json",), id="json", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
    ("number", "kind", "message", "code"),
    [
        pytest.param(signal.SIGINT, "Interrupted", "stopped", 130, id="SIGINT"),
        pytest.param(signal.SIGTERM, "Stopped", "stopped by SIGTERM", 143, id="SIGTERM"),
        pytest.param(signal.SIGHUP, "Stopped", "stopped by SIGHUP", 129, id="SIGHUP", marks=pytest.mark.slow),
    ],
)
def test_a_signal_while_the_command_line_is_imported(
    tmp_path: Path, flags: tuple[str, ...], number: signal.Signals, kind: str, message: str, code: int
) -> None:
    (tmp_path / "click.py").write_text(SLOW_CLICK.format(folder=str(tmp_path)), encoding="utf-8")
    head = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from onnxproof.cli import program; program()"
    with Popen(
        [sys.executable, "-c", head, "tasks", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_signals,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "importing\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (code, f"onnxproof: {message}\n")
    error = {"type": kind, "message": message, "exit_code": code}
    assert (json.loads(out) if flags else out) == ({"error": error} if flags else "")


@pytest.fixture
def start(small_job: Path, older_bundle: Path) -> Iterator[Start]:
    """Starts an export over an older bundle in a process of its own, and returns it while it captures."""
    running: list[Popen[str]] = []

    def start(head: str = "") -> Popen[str]:
        process = Popen(
            [sys.executable, "-c", head + WAIT, "export", str(small_job), "--out", str(older_bundle.parent)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=heed_signals,
        )
        running.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "capturing\n"
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "code", "says"),
    [
        pytest.param((signal.SIGTERM,), 143, "stopped by SIGTERM", id="SIGTERM"),
        pytest.param((signal.SIGHUP,), 129, "stopped by SIGHUP", id="SIGHUP"),
        pytest.param((signal.SIGINT,), 130, "stopped", id="SIGINT"),
        pytest.param((signal.SIGTERM, signal.SIGHUP), 143, "stopped by SIGTERM", id="as-systemd-does"),
    ],
)
def test_a_stopped_export_cleans_up(
    start: Start, older_bundle: Path, sent: tuple[signal.Signals, ...], code: int, says: str
) -> None:
    process = start()
    assert len(names(older_bundle.parent)) == 3
    # Sent at once, the lower number is delivered first: here one after the other, as it is meant.
    process.send_signal(sent[0])
    if len(sent) > 1:
        assert process.stderr is not None
        line = next(line for line in process.stderr if "stopped" in line)
        process.send_signal(sent[1])
        errors = line + process.communicate(timeout=30)[1]
    else:
        errors = process.communicate(timeout=30)[1]
    assert process.returncode == code, errors
    assert errors.strip().splitlines()[-1] == f"onnxproof: {says}"
    assert names(older_bundle.parent) == ["small"]
    assert (older_bundle / "model.onnx").read_bytes() == b"an older model"


@pytest.mark.slow
def test_nohup_is_heeded(start: Start, older_bundle: Path) -> None:
    process = start("import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n")
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=1)
    assert len(names(older_bundle.parent)) == 3


@pytest.mark.slow
def test_the_next_export_sweeps_what_a_killed_one_left(
    run: Run, start: Start, small_job: Path, older_bundle: Path
) -> None:
    killed, living = start(), start()
    killed.kill()
    killed.wait()
    assert len(names(older_bundle.parent)) == 5
    ran = run("export", small_job, "--out", older_bundle.parent, *FAST)
    assert ran.returncode == 0, ran.stderr
    assert (older_bundle / "model.onnx").read_bytes() != b"an older model"
    assert len(names(older_bundle.parent)) == 3, "what the living one holds stays"
    living.terminate()
    living.wait(timeout=30)
    assert names(older_bundle.parent) == ["small"]
