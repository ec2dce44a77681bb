"""Commands of the command line, run in this process."""

import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import BinaryIO
from unittest import mock


class Ran:
    """What a command printed, standard error after standard output, and its exit code."""

    def __init__(self, printed: str, code: int) -> None:
        self.printed = printed
        self.code = code


def run_here(arguments: Sequence[str]) -> Ran:
    """``onnxproof ARGUMENTS``, its output taken from the file descriptors: libraries print past Python."""
    from onnxproof.cli import main

    with _descriptors() as files, mock.patch.object(sys, "argv", ["onnxproof", *arguments]):
        try:
            main()
            code = 0
        except SystemExit as stopped:
            code = stopped.code if isinstance(stopped.code, int) else 1
    return Ran("".join(file.getvalue() for file in files), code)


@contextlib.contextmanager
def _descriptors() -> Iterator[tuple[io.StringIO, io.StringIO]]:
    """Standard output and error as texts that are filled when the block ends."""
    texts = io.StringIO(), io.StringIO()
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(tempfile.TemporaryFile()) for _ in texts]
        try:
            with contextlib.ExitStack() as held:
                for number, (name, file) in enumerate(zip(("stdout", "stderr"), files, strict=True), 1):
                    held.enter_context(_descriptor(number, name, file))
                yield texts
        finally:
            for text, file in zip(texts, files, strict=True):
                file.seek(0)
                text.write(file.read().decode("utf-8", "replace"))


@contextlib.contextmanager
def _descriptor(number: int, name: str, file: BinaryIO) -> Iterator[None]:
    kept = os.dup(number)
    os.dup2(file.fileno(), number)
    try:
        with (
            open(number, "w", encoding="utf-8", closefd=False) as stream,
            mock.patch.object(sys, name, stream),
        ):
            yield
    finally:
        os.dup2(kept, number)
        os.close(kept)
