"""What a file or a pipe is told of long work, and what anyone is told of warnings."""

import contextlib
import time
import warnings
from collections.abc import Callable, Iterator
from typing import TextIO

from onnxproof.progress import PERCENT
from onnxproof.text import one_line

TOLD_EVERY = 10.0
"""Seconds between two lines of one stage."""


class StageLines:
    """A Progress that writes a line for each stage, and one with counts every ten seconds of a long one."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic, head: str = "") -> None:
        self._stream, self._clock, self._head = stream, clock, head
        self._stage: str | None = None
        self._began = self._told = 0.0

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Write a line if the stage is new, or if its last line is ten seconds old."""
        now = self._clock()
        if stage != self._stage:
            self._stage, self._began = stage, now
            self._write(stage, now)
        elif total and now - self._told >= TOLD_EVERY:
            spent = now - self._began
            share = f"{done} %" if total == PERCENT else f"{done} of {total}"
            left = f", about {spent * (total - done) / done:.0f} s left" if done else ""
            self._write(f"{stage}: {share} after {spent:.0f} s{left}", now)

    def _write(self, line: str, now: float) -> None:
        self._told = now
        self._stream.write(f"{self._head}{one_line(line)}\n")
        self._stream.flush()


@contextlib.contextmanager
def warnings_in_lines() -> Iterator[None]:
    """Print each warning as one line, with what it has of files escaped."""

    def form(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        return one_line(f"{filename}:{lineno}: {category.__name__}: {message}") + "\n"

    before = warnings.formatwarning
    warnings.formatwarning = form
    try:
        yield
    finally:
        warnings.formatwarning = before
