"""How the progress of many jobs is shown, which are done at once."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import Progress, TaskID
from rich.text import Text

from onnxproof.cli._lines import StageLines
from onnxproof.cli._terminal import columns
from onnxproof.text import one_line


class Shown(Protocol):
    """Tells of many jobs that are done at once."""

    def report(self, name: str, stage: str, done: int, total: int) -> None:
        """How far the job of that name is."""

    def ended(self, name: str, said: str, printed: str) -> None:
        """What came of a job, and what its process printed."""

    def say(self, line: str) -> None:
        """A line of no job."""


@contextlib.contextmanager
def many_progress(*, quiet: bool) -> Iterator[Shown]:
    """Tell of many jobs on standard error: a bar for each that runs on a terminal, lines elsewhere."""
    stream = sys.stderr
    if quiet:
        yield _Nothing()
    elif stream.isatty():
        with Progress(*columns(), console=Console(file=stream), transient=True) as bars:
            yield _ManyBars(bars)
    else:
        yield _ManyLines(stream)


class _Nothing:
    def report(self, name: str, stage: str, done: int, total: int) -> None:
        """Shows nothing."""

    def ended(self, name: str, said: str, printed: str) -> None:
        """Shows nothing."""

    def say(self, line: str) -> None:
        """Shows nothing."""


class _ManyLines:
    """Each line begins with the job's name."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._stages: dict[str, StageLines] = {}

    def report(self, name: str, stage: str, done: int, total: int) -> None:
        if name not in self._stages:
            self._stages[name] = StageLines(self._stream, head=f"{one_line(name)}: ")
        self._stages[name](stage, done, total)

    def ended(self, name: str, said: str, printed: str) -> None:
        for line in printed.splitlines():
            self.say(f"{name} printed: {line}")
        self.say(f"{name}: {said}")

    def say(self, line: str) -> None:
        self._stream.write(f"{one_line(line)}\n")
        self._stream.flush()


class _ManyBars:
    """A bar for each job that runs, and a line above them for each that ended."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._shown: dict[str, TaskID] = {}

    def report(self, name: str, stage: str, done: int, total: int) -> None:
        if name not in self._shown:
            self._shown[name] = self._bars.add_task(name, total=None)
        self._bars.update(
            self._shown[name], description=one_line(f"{name}: {stage}"), completed=done, total=total or None
        )

    def ended(self, name: str, said: str, printed: str) -> None:
        if name in self._shown:
            self._bars.remove_task(self._shown.pop(name))
        for line in printed.splitlines():
            self.say(f"{name} printed: {line}")
        self.say(f"{name}: {said}")

    def say(self, line: str) -> None:
        self._bars.console.print(Text(one_line(line)), soft_wrap=True)
