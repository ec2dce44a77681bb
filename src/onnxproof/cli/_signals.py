"""Signals that ask a process to end, as an exception, so that whatever it was writing is cleaned up."""

import contextlib
import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

STOPPING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name))
"""Signals that end a process without cleaning up, unless they are handled. SIGBREAK is of Windows."""

SAME_REQUEST_S = 2.0
"""Seconds within which signals are one request to stop: service managers send SIGHUP right after SIGTERM."""


class Stopped(BaseException):
    """A signal asked the process to end. No Exception, so that nothing on the way takes it for a failure."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.name = signal.Signals(number).name
        self.exit_code = 128 + number
        """The exit code that a shell reports for a process which the signal ended."""


@contextlib.contextmanager
def stopping_raises() -> Iterator[None]:
    """Raises Stopped in the main thread when one of ``STOPPING`` arrives.

    One that follows within ``SAME_REQUEST_S`` is part of the same request, and does not cut the cleaning up
    short. A later one raises again, for a library may have swallowed the first. A signal that is ignored
    already, as SIGHUP is by nohup, stays ignored. After a stop this holds until the process ends, which a
    signal that comes later still ends at once.
    """
    raised, ended = -math.inf, False

    def stop(number: int, _: FrameType | None) -> None:
        nonlocal raised
        if time.monotonic() - raised < SAME_REQUEST_S:
            return
        if ended:
            os._exit(128 + number)
        raised = time.monotonic()
        raise Stopped(number)

    before = {}
    if threading.current_thread() is threading.main_thread():
        for each in STOPPING:
            if signal.getsignal(each) is signal.SIG_DFL:
                before[each] = signal.signal(each, stop)
    try:
        yield
    except Stopped:
        ended = True
        raise
    finally:
        for each, handler in before.items():
            if not ended:
                signal.signal(each, handler)
