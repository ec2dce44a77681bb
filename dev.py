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
import tempfile
import tomllib
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent
ENVIRONMENT = ROOT / ".venv"
BIN = ENVIRONMENT / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
STAMP = ENVIRONMENT / ".installed"
CONSTRAINTS = ROOT / "constraints.txt"

PACKAGE = ROOT / "release" / "package.py"

PYTEST = ("python", "-m", "pytest", "-q", "-n", "logical", "--maxprocesses", "8", "--dist", "worksteal")
"""Every core takes tests; one that has none left takes half of another's."""

DOCS = (
    *("python", "-m", "sphinx", "-q", "-W", "--keep-going", "-c", "docs", "-d", "build/doctrees"),
    *(".", "build/site"),
)
"""Sphinx's sources start at the root, so that pages link to files outside of docs/ as they do elsewhere."""

NEWEST = ("3.14", "3.13", "3.12")
"""Pythons after the oldest supported one; the first that the machine has is tested as the newest."""

UNIT_TOOLS = ("pytest>=8.3", "pytest-xdist>=3.6", "hypothesis>=6.100", "filelock>=3.12", "jsonschema>=4.23")
"""What the unit tests need beside the package."""

TASKS: dict[str, tuple[str, Sequence[Sequence[str]]]] = {
    "demo": (
        "export the bundled checkpoint, prove it, write dist/digits-yolox",
        [["onnxproof", "export", "configs/digits-yolox.toml"]],
    ),
    "test": (
        "run the tests that are not marked slow, or the tests that the arguments name by ::",
        [PYTEST],
    ),
    "long": ("run all tests, with those that CI leaves out", [PYTEST]),
    "lint": (
        "check style, formatting and the walls between the rooms",
        [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["lint-imports", "--no-logo"]],
    ),
    "types": ("check types", [["mypy"]]),
    "docs": ("make the site in build/site; a warning is an error", [DOCS]),
    "bench": (
        "run the benchmarks",
        [["python", f"benchmarks/{name}.py"] for name in ("nms", "startup", "validate", "export", "job")],
    ),
    "pythons": ("run the unit tests on the oldest and on the newest Python that is here, without torch", []),
    "package": ("build the wheel and the sdist, check them, and try each extra alone", []),
    "run": ("run a command in the environment, for example: dev.py run onnxproof --help", []),
}
TASKS["check"] = (
    "lint, types, and all tests that are not marked long, as CI does",
    [*TASKS["lint"][1], *TASKS["types"][1], *TASKS["test"][1]],
)

LEFT_OUT = {"test": "slow", "check": "long"}
"""The marks of the tests that a task leaves out. What is long is slow too."""


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
    if arguments.task != "run" and {"-h", "--help"}.intersection(arguments.rest):
        parser.print_help()
        return 0
    if arguments.task == "pythons":
        return test_pythons()
    if arguments.task == "package":
        return subprocess.run([sys.executable, PACKAGE, *arguments.rest], cwd=ROOT, check=False).returncode
    install()
    commands = [list(command) for command in TASKS[arguments.task][1]] or [[]]
    if arguments.task in LEFT_OUT and not any("::" in argument for argument in arguments.rest):
        commands[-1] += ["-m", f"not {LEFT_OUT[arguments.task]}"]
    commands[-1] += arguments.rest
    if not commands[-1]:
        parser.error("run needs a command")
    environment = {
        **os.environ,
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "VIRTUAL_ENV": str(ENVIRONMENT),
    }
    if arguments.task != "run":
        # The tests start some 200 processes. Without bytecode each of them compiles the package anew.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
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


def test_pythons() -> int:
    """Run the unit tests in throw-away environments; a Python that is not here is skipped by name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    needed = [*project["dependencies"], *extras["export"], *extras["polygons"], *extras["coco"]]
    needed = [requirement for requirement in needed if not requirement.startswith("torch>")]
    oldest = project["requires-python"].removeprefix(">=")
    newest = next((version for version in NEWEST if interpreter(version) is not None), NEWEST[0])
    asked = {
        oldest: [requirement.replace(">=", "==") for requirement in needed],
        newest: needed,
    }
    codes = []
    for version, requirements in asked.items():
        program = interpreter(version)
        if program is None:
            print(f"Python {version}: skipped, not installed here", file=sys.stderr)
            continue
        codes.append(unit_tests(program, requirements))
        print(f"Python {version}: {'failed' if codes[-1] else 'passed'}", file=sys.stderr)
    return max(codes, default=0)


def interpreter(version: str) -> str | None:
    """The Python of a version such as "3.13": on PATH, or one that pyenv keeps. None if there is none."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [shutil.which(f"python{version}"), *sorted(pyenv.glob(f"{version}.*/bin/python"))]
    for candidate in filter(None, candidates):
        # pyenv's own python3.13 on PATH may stand for a Python that is not chosen, and then it fails.
        asked = [str(candidate), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        answer = subprocess.run(asked, capture_output=True, text=True, check=False)
        if answer.stdout.strip() == version:
            return str(candidate)
    return None


def unit_tests(program: str, requirements: Sequence[str]) -> int:
    """The exit code of tests/unit in an environment of this Python and these requirements."""
    with tempfile.TemporaryDirectory(prefix="onnxproof-") as folder:
        python = str(Path(folder) / PYTHON.relative_to(ENVIRONMENT))
        subprocess.run([program, "-m", "venv", folder], check=True)
        pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        for what in ([*requirements, *UNIT_TOOLS], ["--no-deps", str(ROOT)]):
            installed = subprocess.run([*pip, *what], check=False).returncode
            if installed:
                return installed
        tests = [python, *PYTEST[1:], "-p", "no:cacheprovider", "tests/unit"]
        return subprocess.run(tests, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
