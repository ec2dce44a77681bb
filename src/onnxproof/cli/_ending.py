"""How a run ends: its exit code, and an error's message, for people or as JSON.

Exit codes 0, 1, 3 and 4 are the commands' own, and 2 is a wrong request. An exception that nobody foresaw
gets another, so that CI does not read it as a verdict.
"""

import contextlib
import errno
import io
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import click

from onnxproof.cli._document import STDOUT, show_json
from onnxproof.cli._signals import Stopped, stopping_raises
from onnxproof.errors import OnnxproofError, RequestError
from onnxproof.extras import brings, missing
from onnxproof.text import printable
from onnxproof.usercode import failure, innermost_place, told_at, users_place

WRONG_REQUEST = 2
UNFORESEEN = 70
"""EX_SOFTWARE of BSD's sysexits.h."""
INTERRUPTED = 130
"""The shell's exit code for a command that was stopped by Ctrl-C: 128 and SIGINT's number."""
BROKEN_PIPE = 141
"""The shell's exit code for a command whose reader went away: 128 and SIGPIPE's number."""


@dataclass(frozen=True, slots=True)
class Ending:
    """An exit code, the error's type, and its message. ``text`` is what is printed on standard error."""

    exit_code: int
    type: str
    message: str
    text: str

    def to_json(self) -> dict[str, Any]:
        """The document that ``--json`` prints in place of a result."""
        return {"error": {"type": self.type, "message": self.message, "exit_code": self.exit_code}}


class ReaderGoneError(Exception):
    """The reader of standard output went away."""


@contextlib.contextmanager
def reader_may_go() -> Iterator[None]:
    """Raise ReaderGoneError in place of the error of a broken pipe, for which click would exit with 1."""
    try:
        yield
    except OSError as error:
        if _is_broken_pipe(error) and users_place(error) is None:
            raise ReaderGoneError from error
        raise


def run(command: Callable[[], Any], *, as_json: bool, with_traceback: bool) -> int:
    """Run a command and return its exit code, whatever the command raises.

    An error goes to standard error and, with ``as_json``, to standard output as the document.
    """
    try:
        with stopping_raises():
            code = command()
            sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001
        ending = ending_of(error)
        try:
            if with_traceback:
                traceback.print_exception(error)
            _tell(ending, as_json=as_json)
        except OSError as second:
            # A terminal that hung up takes no message. The run then ends as the signal (SIGHUP) says.
            if not isinstance(error, Stopped):
                if not _is_broken_pipe(second):
                    raise
                ending = ending_of(second)
        if ending.exit_code == BROKEN_PIPE:
            _let_go()
        return ending.exit_code
    return code if isinstance(code, int) else 0


def ending_of(error: BaseException) -> Ending:
    """How a run ends that raised this error."""
    kind = type(error).__name__
    if isinstance(error, OnnxproofError):
        return _ending(error.exit_code, kind, str(error))
    if isinstance(error, click.ClickException):
        shown = io.StringIO()
        error.show(shown)
        return Ending(WRONG_REQUEST, "UsageError", error.format_message(), shown.getvalue().rstrip())
    if isinstance(error, click.Abort | KeyboardInterrupt):
        return _ending(INTERRUPTED, "Interrupted", "stopped")
    if isinstance(error, Stopped):
        return _ending(error.exit_code, "Stopped", f"stopped by {error.name}")
    if isinstance(error, ReaderGoneError) or any(map(_is_broken_pipe, _causes(error))):
        return Ending(BROKEN_PIPE, "BrokenPipe", "", "")
    if users_place(error) is not None:
        users = failure("the code that the request names", error)
        return _ending(users.exit_code, type(users).__name__, str(users))
    if isinstance(error, ModuleNotFoundError) and error.name is not None and brings(error.name):
        lacking = missing(error.name)
        return _ending(lacking.exit_code, type(lacking).__name__, str(lacking))
    message = (
        f"something that nobody foresaw {told_at(error, innermost_place(error))}. This is a fault of "
        "onnxproof, not of the request: report it as CONTRIBUTING.md says, with what --traceback prints"
    )
    return _ending(UNFORESEEN, "Unforeseen", message)


def _ending(exit_code: int, kind: str, message: str) -> Ending:
    return Ending(exit_code, kind, message, f"onnxproof: {message}")


def _tell(ending: Ending, *, as_json: bool) -> None:
    if ending.text:
        click.echo(printable(ending.text), err=True)
    if as_json and ending.exit_code != BROKEN_PIPE:
        # Standard output that cannot be written may be the very error that is told.
        with contextlib.suppress(RequestError):
            show_json(ending.to_json())


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and, if it is SystemExit, the one behind it: rich calls ``sys.exit(1)`` for a broken pipe."""
    yield error
    if isinstance(error, SystemExit) and error.__context__ is not None:
        yield error.__context__


def _is_broken_pipe(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.EPIPE, errno.ESHUTDOWN)


def _let_go() -> None:
    """Discard the output that is still buffered for a reader that went away. Otherwise the interpreter's last
    flush would print an error."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, STDOUT)
    os.close(nowhere)
