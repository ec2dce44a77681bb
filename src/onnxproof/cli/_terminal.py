"""What the commands that run for more than a second share: progress, verdicts, JSON."""

import contextlib
import io
import sys
from collections.abc import Iterator

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from onnxproof.cli._lines import StageLines
from onnxproof.cli._streams import is_utf8
from onnxproof.progress import PERCENT, Stages, silent
from onnxproof.progress import Progress as Report
from onnxproof.system.endings import EXIT_CODES
from onnxproof.text import one_line
from onnxproof.validate.report.table import verdict_table
from onnxproof.validate.verdict import Verdict

UNBROKEN = 1_000_000
"""Columns of a file or a pipe: no line is that long."""

IN_ASCII = str.maketrans({"≤": "<=", "…": "..."})
"""What the tables' own words hold beyond ASCII."""


class _Count(MofNCompleteColumn):
    """Shows how much is done of how much, or the share in percent; nothing if the length is not known."""

    def render(self, task: Task) -> Text:
        if task.total is None:
            return Text()
        return Text(f"{task.completed:.0f} %") if task.total == PERCENT else super().render(task)


@contextlib.contextmanager
def progress(*, quiet: bool) -> Iterator[Report]:
    """Tell each stage on standard error: a bar on a terminal, a line in a file or a pipe."""
    # Keep the stream of now: capture replaces sys.stderr to keep the exporters quiet.
    stream = sys.stderr
    if quiet:
        yield silent
    elif stream.isatty():
        with _bars(Console(file=stream)) as report:
            yield report
    else:
        yield StageLines(stream)


@contextlib.contextmanager
def timed_progress(*, quiet: bool) -> Iterator[Stages]:
    """As ``progress``, and takes the stages' times."""
    with progress(quiet=quiet) as report:
        stages = Stages(report)
        yield stages
        stages.end()


def columns() -> tuple[ProgressColumn, ...]:
    """What a bar shows."""
    return (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        _Count(),
        TimeElapsedColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )


@contextlib.contextmanager
def _bars(console: Console) -> Iterator[Report]:
    with Progress(*columns(), console=console, transient=True) as bars:
        shown: tuple[str, TaskID] | None = None

        def report(stage: str, done: int, total: int) -> None:
            nonlocal shown
            if shown is None or shown[0] != stage:
                if shown is not None:
                    bars.remove_task(shown[1])
                shown = stage, bars.add_task(one_line(stage), total=total or None)
            bars.update(shown[1], completed=done, total=total or None)

        yield report


def show_verdict(verdict: Verdict, *, json_only: bool, quiet: bool) -> int:
    """Print the verdict's table, on standard error if JSON needs standard output. Returns the exit code."""
    if not quiet:
        show_table(verdict_table(verdict), json_only=json_only)
    return EXIT_CODES[verdict.status]


def show_table(table: RenderableType, *, json_only: bool) -> None:
    """Print a table, on standard error if JSON needs standard output."""
    stream = sys.stderr if json_only else sys.stdout
    if stream.isatty():
        Console(file=stream).print(table)
    else:
        stream.write(plain_text(table, ascii_only=not is_utf8(stream)))
        stream.flush()


def plain_text(table: RenderableType, *, ascii_only: bool = False) -> str:
    """A table for a file or a pipe: no colours, no box, no blanks at the end of a line, no line broken."""
    console = Console(file=io.StringIO(), width=UNBROKEN, color_system=None, force_terminal=False)
    with console.capture() as captured:
        console.print(table)
    text = "".join(f"{line.rstrip()}\n" for line in captured.get().splitlines())
    return text.translate(IN_ASCII) if ascii_only else text
