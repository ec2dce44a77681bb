#!/usr/bin/env python3
"""Set up and run everything from a fresh clone: ``python3 dev.py demo``, ``python3 dev.py test``.

Needs Python 3.11 or newer with pip, nothing else. The first call makes ``.venv`` with the versions that
``constraints.txt`` pins (uv does it faster where it is installed); later calls start at once.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent
ENVIRONMENT = ROOT / ".venv"
BIN = ENVIRONMENT / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
STAMP = ENVIRONMENT / ".installed"
CONSTRAINTS = ROOT / "constraints.txt"

TASKS: dict[str, tuple[str, Sequence[Sequence[str]]]] = {
    "demo": (
        "export the bundled checkpoint, prove it, write dist/digits-yolox",
        [["onnxproof", "export", "configs/digits-yolox.toml"]],
    ),
    "test": ("run the tests", [["python", "-m", "pytest", "-q"]]),
    "lint": (
        "check style, formatting and the walls between the rooms",
        [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["lint-imports", "--no-logo"]],
    ),
    "types": ("check types", [["mypy"]]),
    "bench": (
        "run the benchmarks",
        [["python", f"benchmarks/{name}.py"] for name in ("nms", "startup", "validate", "export")],
    ),
    "run": ("run a command in the environment, for example: dev.py run onnxproof --help", []),
}
TASKS["check"] = (
    "lint, types and tests, as CI does",
    [*TASKS["lint"][1], *TASKS["types"][1], *TASKS["test"][1]],
)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "task", choices=TASKS, help="; ".join(f"{name}: {text}" for name, (text, _) in TASKS.items())
    )
    parser.add_argument("rest", nargs=argparse.REMAINDER, help="passed on to the task's last command")
    arguments = parser.parse_args()
    if sys.version_info < (3, 11):  # noqa: UP036
        parser.error(f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}")
    install()
    commands = [list(command) for command in TASKS[arguments.task][1]] or [[]]
    commands[-1] += arguments.rest
    if not commands[-1]:
        parser.error("run needs a command")
    environment = {
        **os.environ,
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "VIRTUAL_ENV": str(ENVIRONMENT),
    }
    for command in commands:
        program = shutil.which(command[0], path=environment["PATH"]) or command[0]
        code = subprocess.run([program, *command[1:]], cwd=ROOT, env=environment, check=False).returncode
        if code:
            return code
    return 0


def install() -> None:
    """Make or refresh the environment; does nothing where what it was made from has not changed."""
    sources = (ROOT / "pyproject.toml").read_bytes() + CONSTRAINTS.read_bytes() + sys.version.encode()
    wanted = hashlib.sha256(sources).hexdigest()
    if STAMP.is_file() and STAMP.read_text() == wanted:
        return
    print("setting up .venv (torch is large: this takes minutes the first time)", file=sys.stderr)
    if not PYTHON.is_file():
        venv.create(ENVIRONMENT, with_pip=True, clear=True)
    what = ["-c", str(CONSTRAINTS), "-e", f"{ROOT}[all]", "--group", f"{ROOT / 'pyproject.toml'}:dev"]
    uv = shutil.which("uv")
    if uv is not None:
        command = [uv, "pip", "install", "--quiet", "--python", str(PYTHON), *what]
    else:
        pip = [str(PYTHON), "-m", "pip", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "--quiet", "--upgrade", "pip>=25.1"], check=True)
        command = [*pip, "install", "--quiet", *what]
    subprocess.run(command, check=True)
    STAMP.write_text(wanted)


if __name__ == "__main__":
    sys.exit(main())
