"""The one JSON document that a command prints with ``--json``, kept apart from all other output."""

import contextlib
import os
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import click

from onnxproof.cli._streams import OUTPUT, cannot_write, require_output, write_whole
from onnxproof.text import json_text

STDOUT, STDERR = 1, 2
"""File descriptors."""

_kept: ContextVar[int | None] = ContextVar("kept", default=None)
"""A copy of standard output's file descriptor from before ``document_only``. None outside of it."""


@contextlib.contextmanager
def document_only() -> Iterator[None]:
    """Send all output to standard error, except that of ``show_json``.

    Otherwise a builder or a library that prints, from Python or from C, would break the document.
    """
    sys.stdout.flush()
    try:
        kept = os.dup(STDOUT)
    except OSError:  # standard output is closed
        yield
        return
    token = _kept.set(kept)
    try:
        with contextlib.suppress(OSError):  # standard error is closed
            os.dup2(STDERR, STDOUT)
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        _kept.reset(token)
        with contextlib.suppress(OSError):  # the user's code closed it
            os.dup2(kept, STDOUT)
            os.close(kept)


def show_json(document: Any, *, line: bool = False) -> None:
    """Print one JSON document on standard output, in UTF-8; on a line of its own if ``line``.

    Raises RequestError if that cannot be written.
    """
    show_line(json_text(document, indent=None if line else 2))


def show_line(text: str) -> None:
    """Print a text on standard output, in UTF-8, and end the line. Raises RequestError as ``show_json``."""
    require_output()
    kept = _kept.get()
    if kept is None:
        click.echo(text)
        return
    try:
        write_whole(kept, f"{text}\n".encode())
    except BrokenPipeError:
        raise
    except OSError as error:
        raise cannot_write(OUTPUT, error) from error
