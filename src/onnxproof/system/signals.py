"""Signals that ask a process to end, as an exception, so that unfinished files are cleaned up."""

import contextlib
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

STOPPING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name))
"""Signals that end a process without cleaning up, unless they are handled. SIGBREAK is Windows'."""

ENDS_PROCESS = os._exit
"""Python's own: while a command runs, code of the user's that calls ``os._exit`` gets an error."""

SAME_REQUEST_S = 2.0
"""Seconds within which signals are one request to stop: service managers send SIGHUP right after SIGTERM."""


class Stopped(BaseException):
    """A signal asked the process to end. It is no Exception, so ``except Exception`` does not catch it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.name = signal.Signals(number).name
        self.exit_code = 128 + number
        """The exit code that a shell reports for a process which the signal ended."""


@contextlib.contextmanager
def stopping_raises() -> Iterator[None]:
    """Raise Stopped in the main thread when one of ``STOPPING`` arrives.

    A second signal within ``SAME_REQUEST_S`` belongs to the same request and is ignored, so that it does not
    interrupt the cleaning up. A later one raises again, because a library may have swallowed the first. A
    signal that is already ignored, as SIGHUP is under nohup, stays ignored. Once Stopped has left the block,
    the handlers stay, and a later signal ends the process at once. A block inside of another takes its place.
    """
    stop = _Stop()
    before = {}
    if threading.current_thread() is threading.main_thread():
        for each in STOPPING:
            handler = signal.getsignal(each)
            if handler is signal.SIG_DFL or isinstance(handler, _Stop):
                before[each] = signal.signal(each, stop)
    try:
        yield
    except Stopped:
        stop.ended = True
        raise
    finally:
        for each, handler in before.items():
            if not stop.ended:
                signal.signal(each, handler)


class _Stop:
    """The handler of a block of ``stopping_raises``, which has ``ended`` once Stopped has left it."""

    def __init__(self) -> None:
        self.raised, self.ended = -math.inf, False

    def __call__(self, number: int, _: FrameType | None) -> None:
        if time.monotonic() - self.raised < SAME_REQUEST_S:
            return
        if self.ended:
            ENDS_PROCESS(128 + number)
        self.raised = time.monotonic()
        raise Stopped(number)


@contextlib.contextmanager
def signals_held(*, to_the_end: bool = False) -> Iterator[None]:
    """Let Ctrl-C and the signals of ``STOPPING`` wait until the block ends, if they raise an exception.

    For imports: a native module that is being imported may turn the exception into an ImportError, or abort
    the process. A further signal after ``SAME_REQUEST_S`` ends the process at once; with ``to_the_end``, for
    removing and renaming files, it waits, too.
    """
    came: list[tuple[int, float]] = []

    def wait(number: int, _: FrameType | None) -> None:
        if not to_the_end and came and time.monotonic() - came[0][1] >= SAME_REQUEST_S:
            ENDS_PROCESS(128 + number)
        came.append((number, time.monotonic()))

    before: dict[int, Callable[[int, FrameType | None], Any]] = {}
    if threading.current_thread() is threading.main_thread():
        for each in (signal.SIGINT, *STOPPING):
            handler = signal.getsignal(each)
            if callable(handler):
                before[each] = handler
                signal.signal(each, wait)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
        if came:
            first = came[0][0]
            before[first](first, None)
