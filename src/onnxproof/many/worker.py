"""What a process that works on chunks does: open what the work needs once, and keep it."""

import atexit
import gc
import os
import signal
import threading
from collections.abc import Callable, Sequence
from multiprocessing import parent_process
from typing import Any, Protocol

THREADS = 1
"""Threads of each runtime in a worker, however many workers there are. Float error depends on how sums are
split over threads, so a figure must not depend on the number of workers."""

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

Work = Callable[[Sequence[Any]], bytes]
"""Works on a chunk's pictures."""


class Task(Protocol):
    """What is done with each chunk. Tasks are sent to other processes, and are equal if they do the same."""

    def __hash__(self) -> int: ...

    def open(self) -> Work:
        """Open what the work needs, models above all, and return what works on a chunk's pictures."""


_opened: dict[Task, Work] = {}
"""The one task that this process works on."""

_paused: list[bool] = []
"""Has an entry while the collector is off."""

_turn = threading.Lock()


def work(task: Task, pictures: Sequence[Any]) -> bytes:
    """Do a task on a chunk's pictures. What it needs is opened once in a process.

    A process does one chunk at a time, also where its engine calls from several threads.
    """
    with _turn:
        if task not in _opened:
            _opened.clear()
            try:
                _opened[task] = task.open()
            finally:
                _collect_again()
        return _opened[task](pictures)


def begin() -> None:
    """Prepare a process of our own: it leaves Ctrl-C to its parent, and ends when its parent is gone.

    Python's cycle collector is off until the work is open. It would take a fifth of the time in which torch
    is imported, and free next to nothing.
    """
    gc.disable()
    _paused.append(True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.update(dict.fromkeys(ONE_THREAD, str(THREADS)))
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _collect_again() -> None:
    """Turn the collector on again, if ``begin`` turned it off. It need not look at what is there by now."""
    if _paused:
        _paused.clear()
        gc.freeze()
        atexit.register(gc.unfreeze)  # libraries report what is not collected at the end as leaks
        gc.enable()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
