"""What the commands that run for more than a second share: progress, verdicts, JSON."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from onnxproof.progress import Progress as Report
from onnxproof.validate.report.table import verdict_table
from onnxproof.validate.verdict import Verdict

LOG_WIDTH = 140
"""Columns of a table that goes to a file or a pipe: wide enough that no cell is broken."""

EXIT_CODES = {"pass": 0, "fail": 1, "error": 4}


class _Count(MofNCompleteColumn):
    """Shows nothing for a stage whose length is not known."""

    def render(self, task: Task) -> Text:
        return Text() if task.total is None else super().render(task)


@contextlib.contextmanager
def progress() -> Iterator[Report]:
    """Show a bar for each stage on standard error. Shows nothing if that is no terminal."""
    # Keep the stream of now: capture replaces sys.stderr to keep the exporters quiet.
    console = Console(file=sys.stderr)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        _Count(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks: dict[str, Any] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                for earlier in tasks.values():
                    bars.stop_task(earlier)
                    bars.update(earlier, visible=False)
                tasks[stage] = bars.add_task(stage, total=total or None)
            bars.update(tasks[stage], completed=done, total=total or None)

        yield report


def show_verdict(verdict: Verdict, *, json_only: bool) -> int:
    """Print the verdict's table, on standard error if JSON needs standard output. Returns the exit code."""
    console = Console(stderr=json_only)
    if not console.is_terminal:
        console = Console(stderr=json_only, width=LOG_WIDTH)
    console.print(verdict_table(verdict))
    return EXIT_CODES[verdict.status]
