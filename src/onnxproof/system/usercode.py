"""Code that the user brings: its errors are reported with the user's own file and line.

A builder or a module may raise any error, and may call ``sys.exit``, ``os._exit`` or ``os.exec``. None of
these may end a run without a message, or look like a fault of onnxproof. The working folder and the standard
streams are the caller's again afterwards, and a process that the code forked ends where it would go on as
onnxproof.
"""

import contextlib
import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from onnxproof.errors import ExitCalledError, OnnxproofError, UserCodeError

LONGEST = 300
"""How many characters of another code's error a message shows."""

OURS = Path(__file__).resolve().parents[1]
INSTALLED = tuple({Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")})
PACKAGE_FOLDERS = frozenset({"site-packages", "dist-packages"})

EXPORTERS = frozenset(
    {"torch", "onnxscript", "onnx", "onnx_ir", "onnxruntime", "onnxsim", "numpy", "sympy", "onnxproof"}
)
"""Packages whose lines are no model's, and that a model's code or an exporter calls."""

ENDING = ("_exit", "execv", "execve", "execvp", "execvpe")
"""Functions of ``os`` that end this program at once. The others of ``os.exec`` call these."""

TRACE_LINE = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<function>\S+)')
"""A line of a formatted stack trace."""


class SuddenExitError(SystemExit):
    """``os._exit`` or one of ``os.exec`` was called in a run that has not ended.

    ``called`` is the function's name.
    """

    def __init__(self, called: str, given: object) -> None:
        super().__init__(given)
        self.called = called


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file; ``function`` is None if the file could not be compiled.

    ``called`` is the user's own line that led to a line of an installed package, if it is known.
    """

    file: str
    line: int
    function: str | None
    called: "Place | None" = None

    def __str__(self) -> str:
        return self._told(self.file) + (f", called at {self.called}" if self.called else "")

    @property
    def short(self) -> str:
        """The place as it reads on any machine: with the path in the package, or the last folder's name."""
        parts = Path(self.file).parts
        inside = [at for at, part in enumerate(parts) if part in PACKAGE_FOLDERS]
        return self._told("/".join(parts[inside[-1] + 1 :] if inside else parts[-2:]))

    @property
    def package(self) -> str | None:
        """The name of the installed package that the file belongs to. Returns None if it is in none."""
        parts = Path(self.file).parts
        inside = [at for at, part in enumerate(parts) if part in PACKAGE_FOLDERS]
        return parts[inside[-1] + 1] if inside and inside[-1] + 1 < len(parts) else None

    def _told(self, file: str) -> str:
        return f"{file}:{self.line}" + (f" (in {self.function})" if self.function else "")


def users_place(error: BaseException) -> Place | None:
    """The innermost line of the user's own files that the error passed through.

    Files of onnxproof, of Python and of installed packages are not the user's. Returns None if the error
    passed through no others.
    """
    if isinstance(error, SyntaxError) and error.filename and _is_users(error.filename):
        return Place(error.filename, error.lineno or 0, None)
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if _is_users(frame.filename):
            return Place(frame.filename, frame.lineno or 0, frame.name)
    return None


def telling_place(error: BaseException) -> Place | None:
    """The line of a model's code at which an exporter failed, as ``innermost_line`` tells it."""
    frames = traceback.extract_tb(error.__traceback__)
    return innermost_line([Place(frame.filename, frame.lineno or 0, frame.name) for frame in frames])


def place_in_trace(text: str) -> Place | None:
    """The line of a model's code in a formatted stack trace, or else the innermost line.

    Returns None if the text names no line.
    """
    places = [
        Place(found["file"], int(found["line"]), found["function"]) for found in TRACE_LINE.finditer(text)
    ]
    return innermost_line(places) or (places[-1] if places else None)


def innermost_line(places: Sequence[Place]) -> Place | None:
    """The innermost line of a model's code on a stack: the user's, or that of a library of networks.

    The user's own line that called the library is told with it. Lines of exporters, of Python and of
    onnxproof are no model's. Returns None if there are only such.
    """
    models = [place for place in places if _is_models(place.file)]
    if not models:
        return None
    users = [place for place in models if _is_users(place.file)]
    last = models[-1]
    return replace(last, called=users[-1]) if users and users[-1] != last else last


def stack_of(frame: FrameType | None) -> list[Place]:
    """The lines of a stack, from the outermost to the innermost."""
    places = []
    while frame is not None:
        places.append(Place(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name))
        frame = frame.f_back
    return places[::-1]


def place_outside(frame: FrameType | None, packages: frozenset[str]) -> Place | None:
    """The innermost line on the stack that is neither Python's own nor in one of the ``packages``.

    Returns None if there is none.
    """
    while frame is not None:
        place = Place(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
        python = place.package is None and any(map(Path(place.file).is_relative_to, INSTALLED))
        if place.package not in packages and not python and not place.file.startswith("<"):
            return place
        frame = frame.f_back
    return None


def raised_by_user(error: BaseException) -> bool:
    """Whether a line of the user's own files raised the error, or the error ends the program.

    If a library raised it, called by the user's code, the fault may be that of the user code's caller.
    """
    if isinstance(error, SystemExit):
        return True
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and _is_users(frames[-1].filename)


def innermost_place(error: BaseException) -> Place | None:
    """The line that raised the error, whoever wrote it. Returns None if no Python code raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    return Place(frames[-1].filename, frames[-1].lineno or 0, frames[-1].name) if frames else None


def told(error: BaseException) -> str:
    """What the user's code raised and where: ``raises ValueError at build.py:3 (in make): no such size``."""
    return told_at(error, users_place(error) or _first_foreign(error))


def told_at(error: BaseException, place: Place | None) -> str:
    """As ``told``, with a place that the caller knows."""
    at = "" if place is None else f" at {place}"
    if isinstance(error, SystemExit):
        called = f"os.{error.called}" if isinstance(error, SuddenExitError) else "sys.exit"
        return f"calls {called}({'' if error.code is None else repr(error.code)}){at}"
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")[:LONGEST]
    return f"raises {type(error).__name__}{at}{f': {text}' if text else ''}"


def failure(what: str, error: BaseException) -> UserCodeError:
    """The UserCodeError to raise in place of the error of the user's code. ``what`` names that code."""
    if isinstance(error, SystemExit):
        return ExitCalledError(f"{what} {told(error)}; it may not end the program")
    return UserCodeError(f"{what} {told(error)}; mend it there")


@contextlib.contextmanager
def user_code(what: str) -> Iterator[None]:
    """Run the user's code. Raises UserCodeError in place of whatever it raises, ``SystemExit`` included.

    onnxproof's own errors and KeyboardInterrupt pass unchanged. The surroundings are kept as by ``no_exit``.
    """
    try:
        with _same_surroundings():
            yield
    except OnnxproofError:
        raise
    except (Exception, SystemExit) as error:
        raise failure(what, error) from error


@contextlib.contextmanager
def no_exit(what: str) -> Iterator[None]:
    """Run the user's code. Raises UserCodeError if it calls ``sys.exit``. Other errors pass unchanged.

    Afterwards the working folder is the one from before, since the command's paths are relative to that, and
    so are Python's standard streams.
    """
    try:
        with _same_surroundings():
            yield
    except SystemExit as error:
        raise failure(what, error) from error


@contextlib.contextmanager
def exits_raise() -> Iterator[None]:
    """Let ``os._exit`` and ``os.exec`` raise SuddenExitError, which is a SystemExit, in place of ending this
    process.

    Its exit code would be read as the run's. Processes that are forked meanwhile end as they ask.
    """
    here = os.getpid()
    before = {name: getattr(os, name) for name in ENDING if hasattr(os, name)}

    def refuse(name: str, *given: Any) -> NoReturn:
        if os.getpid() != here:
            before[name](*given)
        raise SuddenExitError(name, given[0] if given else None)

    for name in before:
        setattr(os, name, partial(refuse, name))
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(os, name, function)


@contextlib.contextmanager
def _same_surroundings() -> Iterator[None]:
    here, folder = os.getpid(), _working_folder()
    stdout, stderr = sys.stdout, sys.stderr
    status = 0
    try:
        yield
    except BaseException as error:
        status = error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 1
        raise
    finally:
        if os.getpid() != here:  # the code forked, and its process comes back
            os._exit(status)
        sys.stdout, sys.stderr = stdout, stderr
        if folder is not None and _working_folder() != folder:
            os.chdir(folder)


def _working_folder() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109 - Path.cwd would make a Path of it, at each call of a model
    except OSError:  # it was deleted
        return None


@lru_cache(maxsize=4096)
def _is_models(filename: str) -> bool:
    """Whether a file may have a model's code: the user's, or a package's that is no exporter."""
    place = Place(filename, 0, None)
    if place.package is None:
        return _is_users(filename)
    return place.package not in EXPORTERS


@lru_cache(maxsize=4096)
def _is_users(filename: str) -> bool:
    path = Path(filename)
    if filename.startswith("<"):  # generated, or frozen into the interpreter
        return False
    # Compiled modules name their sources as they were built, such as numpy/random/bit_generator.pyx.
    if not path.is_absolute() and not path.is_file():
        return False
    path = path.resolve()
    return PACKAGE_FOLDERS.isdisjoint(path.parts) and not any(map(path.is_relative_to, (OURS, *INSTALLED)))


def _first_foreign(error: BaseException) -> Place | None:
    """The first line that is not onnxproof's or Python's. There onnxproof called an installed builder."""
    for frame in traceback.extract_tb(error.__traceback__):
        path = Path(frame.filename).resolve()
        installed = not PACKAGE_FOLDERS.isdisjoint(path.parts)
        ours = path.is_relative_to(OURS) or frame.filename.startswith("<")
        if not ours and (installed or not any(map(path.is_relative_to, INSTALLED))):
            return Place(frame.filename, frame.lineno or 0, frame.name)
    return None
