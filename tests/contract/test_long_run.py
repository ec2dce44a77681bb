"""What CI leaves out repeats what CI runs: each test that is marked long has a sibling that is not."""

import itertools
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
Tests = Mapping[str, tuple[str, ...] | None]


def without_sibling(tests: Tests) -> list[str]:
    """The long tests of which CI runs nothing like it: no other row, nor the test that the mark names.

    ``tests`` has each test's id with the arguments of its mark ``long``, or None where CI runs it. A mark
    without argument stands for the other rows of its test; else for the tests of the names in its file, or
    in the one that a name begins with.
    """
    in_ci = {test.partition("[")[0] for test, arguments in tests.items() if arguments is None}
    found = []
    for test, arguments in tests.items():
        own = test.partition("[")[0]
        file = own.partition("::")[0]
        siblings = {one if "::" in one else f"{file}::{one}" for one in arguments or ()} or {own}
        if arguments is not None and not siblings <= in_ci:
            found.append(test)
    return found


@pytest.mark.parametrize(
    ("tests", "wanted"),
    [
        pytest.param({"a.py::t[x]": (), "a.py::t[y]": None}, [], id="another-row"),
        pytest.param({"a.py::T::t[x]": (), "a.py::T::t[y]": None}, [], id="another-row-in-a-class"),
        pytest.param({"a.py::t[x]": (), "a.py::t[y]": ()}, ["a.py::t[x]", "a.py::t[y]"], id="no-row-left"),
        pytest.param({"a.py::t": ("u",), "a.py::u": None}, [], id="a-named-test"),
        pytest.param({"a.py::t": ("u",), "b.py::u": None}, ["a.py::t"], id="a-name-of-another-file"),
        pytest.param({"a.py::t": ("b.py::u",), "b.py::u": None}, [], id="a-test-of-another-file"),
        pytest.param({"a.py::t": ("u",), "a.py::u[x]": ("v",)}, ["a.py::u[x]", "a.py::t"], id="itself-long"),
        pytest.param({"a.py::t": ("u",), "a.py::u[x]": None}, [], id="a-row-of-a-named-test"),
    ],
)
def test_what_has_no_sibling_is_told(tests: Tests, wanted: list[str]) -> None:
    assert sorted(without_sibling(tests)) == sorted(wanted)


@pytest.mark.slow
def test_each_long_test_has_a_sibling_in_ci() -> None:
    texts = {file: file.read_text(encoding="utf-8") for file in TESTS.rglob("test_*.py")}
    files = {str(file.relative_to(ROOT)) for file, text in texts.items() if "mark.long" in text}
    files.remove(str(Path(__file__).relative_to(ROOT)))
    files.update(itertools.chain(*(re.findall(r'"(tests/\S+\.py)::', text) for text in texts.values())))
    command = [sys.executable, str(TESTS / "helpers" / "collect.py"), *sorted(files)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert ran.returncode == 0, ran.stderr
    tests = {
        test: None if arguments is None else tuple(arguments)
        for test, arguments in json.loads(ran.stdout).items()
    }
    assert any(arguments is not None for arguments in tests.values())
    assert without_sibling(tests) == []
