"""The time and the peak memory of a command, with the processes that it starts.

The memory is the largest sum, over samples, of the proportional set sizes of the process and its children: a
page that several processes share is counted once. Pages of mapped files count, too, while they are in memory.
Linux alone tells this.
"""

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

SAMPLED_S = 0.1
SPARED = 9
"""How many times as long as a look takes to wait before the next one: while Linux counts a process's pages,
the process cannot map memory."""


def processes(root: int) -> Iterator[int]:
    """A process and those that it started."""
    yield root
    for task in Path(f"/proc/{root}/task").glob("*/children"):
        for child in task.read_text().split():
            yield from processes(int(child))


def memory_of(process: int) -> int:
    """Bytes of a process and its children, shared pages counted once."""
    total = 0
    for each in processes(process):
        for line in Path(f"/proc/{each}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


def watched(command: Sequence[str], name: str, limit_s: float | None = None) -> dict[str, Any]:
    """What the last line of a command's output tells in JSON, with its "peak" in bytes.

    Raises SystemExit if it fails, or takes longer than ``limit_s`` seconds.
    """
    peak, started = 0, time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        while running.poll() is None:
            looked = time.perf_counter()
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a process may just have ended
                peak = max(peak, memory_of(running.pid))
            if limit_s is not None and time.perf_counter() - started > limit_s:
                running.terminate()
                running.wait()
                raise SystemExit(f"{name} took more than {limit_s:g} s")
            time.sleep(max(SAMPLED_S, SPARED * (time.perf_counter() - looked)))
        assert running.stdout is not None
        told = running.stdout.read()
    if running.returncode:
        raise SystemExit(f"{name} ended with exit code {running.returncode}")
    return {**json.loads(told.splitlines()[-1]), "peak": peak}
