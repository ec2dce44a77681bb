"""How a run of the command line ends: its exit code, and an error's message, for people or as JSON."""

import contextlib
import errno
import io
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import click

from onnxproof.cli._document import STDOUT, show_json
from onnxproof.errors import OnnxproofError, RequestError
from onnxproof.system import endings
from onnxproof.system.endings import WRONG_REQUEST, Ending
from onnxproof.system.signals import Stopped, stopping_raises
from onnxproof.system.usercode import exits_raise, users_place
from onnxproof.text import one_line, printable

BROKEN_PIPE = 141
"""The shell's exit code for a command whose reader went away: 128 and SIGPIPE's number."""


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
        with stopping_raises(), exits_raise():
            code = command()
            sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001
        ending = ending_of(error)
        try:
            if with_traceback:
                click.echo(_traceback(error), err=True, nl=False)
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
    """How a run of the command line ends that raised this error."""
    if isinstance(error, click.ClickException):
        shown, said = io.StringIO(), error.format_message()
        error.show(shown)
        # The lines around the message are click's, and so are those of what may be given.
        safe = said.expandtabs(2) if isinstance(error, click.MissingParameter) else one_line(said)
        text = printable(shown.getvalue().rstrip().replace(said, safe))
        return Ending(WRONG_REQUEST, "UsageError", said, text)
    if isinstance(error, click.Abort):
        # click makes Ctrl-C and a read at the end of a file alike.
        behind = error.__cause__
        return endings.ending_of(behind if isinstance(behind, EOFError) else KeyboardInterrupt())
    told = isinstance(error, OnnxproofError | KeyboardInterrupt | Stopped)
    if isinstance(error, ReaderGoneError) or (not told and any(map(_is_broken_pipe, _causes(error)))):
        return Ending(BROKEN_PIPE, "BrokenPipe", "", "")
    return endings.ending_of(error)


def _tell(ending: Ending, *, as_json: bool) -> None:
    if ending.text:
        click.echo(ending.text, err=True)
    if as_json and ending.exit_code != BROKEN_PIPE:
        # Standard output that cannot be written may be the very error that is told.
        with contextlib.suppress(RequestError):
            show_json(ending.to_json())


def _traceback(error: BaseException) -> str:
    """The traceback, with the errors' messages escaped."""
    text = "".join(traceback.format_exception(error))
    told: BaseException | None = error
    seen: set[int] = set()
    while told is not None and id(told) not in seen:
        seen.add(id(told))
        text = text.replace(said, one_line(said)) if (said := str(told)) else text
        told = told.__cause__ or told.__context__
    return printable(text)


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
