"""Whose fault an error is: the user's own files are told from onnxproof's, Python's and installed ones."""

import inspect
import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxproof.errors import ExitCalledError, JobError, UserCodeError
from onnxproof.source import find_checkpoint
from onnxproof.system.usercode import (
    Place,
    exits_raise,
    innermost_line,
    no_exit,
    place_in_trace,
    place_outside,
    raised_by_user,
    told,
    user_code,
    users_place,
)

Load = Callable[..., Callable[..., Any]]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """The function ``f`` of a file of the user's that holds the code."""

    def load(code: str, name: str = "build.py") -> Callable[..., Any]:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(code, encoding="utf-8")
        names: dict[str, Any] = {}
        exec(compile(code, str(file), "exec"), names)
        found: Callable[..., Any] = names["f"]
        return found

    return load


def caught(function: Callable[[], Any]) -> BaseException:
    try:
        function()
    except BaseException as error:  # noqa: BLE001
        # Without this file's own frame, which is a user's too.
        return error.with_traceback(error.__traceback__ and error.__traceback__.tb_next)
    raise AssertionError("nothing was raised")


def test_the_innermost_line_of_the_users_is_told(load: Load, tmp_path: Path) -> None:
    f = load("import json\ndef g():\n    return json.loads('{')\ndef f():\n    return g()\n")
    error = caught(f)
    place = users_place(error)
    assert place is not None
    assert (place.file, place.line, place.function) == (str(tmp_path / "build.py"), 3, "g")
    assert told(error).startswith(f"raises JSONDecodeError at {tmp_path / 'build.py'}:3 (in g): Expecting")
    assert not raised_by_user(error)  # json raised it


def test_what_the_user_raises_is_the_users(load: Load) -> None:
    assert raised_by_user(caught(load("def f():\n    raise ValueError('no')\n")))
    assert raised_by_user(SystemExit(0))


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(partial(find_checkpoint, Path("nowhere")), id="ours"),
        pytest.param(partial(json.loads, "{"), id="pythons"),
        pytest.param(partial(np.random.SeedSequence, -1), id="compiled-from-a-source-that-is-not-installed"),
    ],
)
def test_what_others_raise_is_not(function: Callable[[], Any]) -> None:
    assert users_place(caught(function)) is None


def test_an_installed_package_is_not_the_users_file_and_is_named_all_the_same(load: Load) -> None:
    error = caught(load("def f():\n    raise ValueError('no')\n", "site-packages/theirs/build.py"))
    assert users_place(error) is None
    assert "theirs/build.py:2 (in f)" in told(error)


def test_a_file_that_cannot_be_compiled_is_told() -> None:
    error = caught(lambda: compile("def f(:\n", "/home/me/build.py", "exec"))
    assert "/home/me/build.py:1" in told(error)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        pytest.param(
            "import sys\ndef f():\n    sys.exit(0)\n", r"calls sys.exit\(0\) at .*:3 \(in f\)", id="exit"
        ),
        pytest.param(
            "def f():\n    raise SystemExit\n", r"calls sys.exit\(\) at .*:2", id="exit-without-code"
        ),
        pytest.param("def f():\n    raise MemoryError\n", r"raises MemoryError at .*:2", id="memory"),
        pytest.param("def f():\n    f()\n", r"raises RecursionError at .*:2", id="recursion"),
        pytest.param(
            "def f():\n    raise ValueError('\\nno\\nmore')\n",
            r":2 \(in f\): no; mend",
            id="one-line-of-many",
        ),
    ],
)
def test_whatever_the_user_raises_is_one_error(load: Load, code: str, says: str) -> None:
    with pytest.raises(UserCodeError, match=says) as raised, user_code('model.builder = "build.py:f"'):
        load(code)()
    assert str(raised.value).startswith('model.builder = "build.py:f" ')
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("error", [JobError("ours"), KeyboardInterrupt()], ids=["ours", "ctrl-c"])
def test_our_errors_and_ctrl_c_pass(error: BaseException) -> None:
    with pytest.raises(type(error)) as raised, user_code("the builder"):
        raise error
    assert raised.value is error


def test_no_exit_lets_errors_pass() -> None:
    with pytest.raises(ValueError, match="no"), no_exit("forward"):
        raise ValueError("no")
    with pytest.raises(UserCodeError, match="it may not end the program"), no_exit("forward"):
        raise SystemExit(0)


@pytest.mark.parametrize(
    ("file", "short"),
    [
        pytest.param("/home/me/nets/model.py", "nets/model.py:7 (in f)", id="the-users"),
        pytest.param(
            "/env/lib/python3.11/site-packages/lib/nn/net.py", "lib/nn/net.py:7 (in f)", id="a-packages"
        ),
        pytest.param("model.py", "model.py:7 (in f)", id="without-a-folder"),
    ],
)
def test_a_short_place_names_no_machine(file: str, short: str) -> None:
    assert Place(file, 7, "f").short == short


def test_a_formatted_stack_names_the_users_innermost_line(load: Load, tmp_path: Path) -> None:
    load("def f():\n    pass\n")
    file = tmp_path / "build.py"
    lines = (f'File "{file}", line 1, in f', f'File "{np.__file__}", line 2, in array')
    assert place_in_trace("\n  code\n".join(lines)) == Place(str(file), 1, "f")
    assert place_in_trace(lines[1]) == Place(np.__file__, 2, "array")
    assert place_in_trace("") is None


def test_the_innermost_line_outside_of_packages(load: Load, tmp_path: Path) -> None:
    f = load("import json\nclass E:\n    def f(self, o):\n        return g()\nf = lambda h: h()\n")

    def here() -> Place | None:
        return place_outside(inspect.currentframe(), frozenset({"numpy"}))

    place = f(here)
    assert place is not None
    assert place.file == __file__
    assert place.function == "here"

    called: list[Place | None] = []

    class Noted:
        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            frame = inspect.currentframe()
            called.append(place_outside(frame and frame.f_back, frozenset({"numpy"})))
            return np.zeros(1)

    f(lambda: np.linalg.norm(Noted()))
    assert called[0] is not None
    assert called[0].function == "<lambda>"


LIBRARY = "/env/lib/python3.11/site-packages/networks/net.py"


@pytest.mark.parametrize(
    ("files", "told"),
    [
        pytest.param(
            [__file__, LIBRARY, np.__file__], f"{LIBRARY}:1 (in f), called at {__file__}:0 (in f)", id="both"
        ),
        pytest.param([LIBRARY, __file__, np.__file__], f"{__file__}:1 (in f)", id="the-users-is-innermost"),
        pytest.param([np.__file__, LIBRARY, json.__file__], f"{LIBRARY}:1 (in f)", id="a-librarys-alone"),
        pytest.param([np.__file__, json.__file__], "None", id="no-models"),
    ],
)
def test_the_line_that_stopped_an_exporter_is_the_models_innermost(files: list[str], told: str) -> None:
    places = [Place(file, line, "f") for line, file in enumerate(files)]
    assert str(innermost_line(places)) == told


def test_code_that_ends_the_process_is_told(load: Load, tmp_path: Path) -> None:
    f = load("import os\ndef f():\n    os._exit(0)\n")
    with exits_raise():
        error = caught(f)
        with (
            pytest.raises(ExitCalledError, match=r"net calls os\._exit\(0\) at .*build\.py:3 \(in f\)"),
            no_exit("net"),
        ):
            f()
    assert isinstance(error, SystemExit)
    assert os._exit.__module__ == "posix"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
def test_a_forked_process_may_end_itself(load: Load) -> None:
    f = load("import os\ndef f():\n    child = os.fork()\n    return child or os._exit(7)\n")
    with exits_raise():
        child = f()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_the_working_folder_is_the_callers_again(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    f = load("import os\ndef f():\n    os.chdir('/')\n")
    with user_code("build"):
        f()
    assert Path.cwd() == tmp_path


def test_a_forward_leaves_the_folder_and_the_streams(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    f = load("import os, sys\ndef f():\n    os.chdir('/')\n    sys.stdout = sys.stderr = None\n")
    streams = sys.stdout, sys.stderr
    with no_exit("net"):
        f()
    assert Path.cwd() == tmp_path
    assert (sys.stdout, sys.stderr) == streams


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
@pytest.mark.parametrize(("last", "status"), [("sys.exit(5)", 5), ("raise ValueError", 1), ("pass", 0)])
def test_a_forked_process_does_not_come_back(load: Load, last: str, status: int) -> None:
    f = load(
        "import os, sys\ndef f():\n    child = os.fork()\n"
        f"    if not child:\n        {last}\n    return child\n"
    )
    with exits_raise(), no_exit("net"):
        child = f()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == status


@pytest.mark.parametrize("call", ["os.execv('/bin/true', ['true'])", "os.execlp('true', 'true')"])
def test_code_that_becomes_another_program_is_told(load: Load, call: str) -> None:
    f = load(f"import os\ndef f():\n    {call}\n")
    with (
        exits_raise(),
        pytest.raises(ExitCalledError, match=r"net calls os\.execvp?\('.*true'\)"),
        no_exit("net"),
    ):
        f()
