"""Run a function in a forked process: with a time limit, and so that a crash there is an error here.

The child starts with everything that its parent has in memory, at no cost: weights are shared until one of
the two writes to them. What it makes, leaks and patches ends with it.
"""

import contextlib
import faulthandler
import gc
import os
import pickle
import select
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, NoReturn, TypeVar

from onnxproof.errors import OnnxproofError

Result = TypeVar("Result")

CAN_FORK = hasattr(os, "fork") and sys.platform != "darwin"
"""Whether a forked process can go on computing. On macOS, Apple's libraries end such a process."""

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if CAN_FORK else ()
CHUNK = 2**20
HEED_S = 0.2
"""Seconds after which the parent looks up from waiting. A signal that another thread of it received does not
interrupt the wait."""

PR_SET_PDEATHSIG = 1
"""Linux's ``prctl`` option that sends a signal to a process when its parent ends (linux/prctl.h)."""


NOTHING: Iterator[None] = iter(())
DONE = object()


class ChildError(Exception):
    """The child process gave no result: it took too long (``late``), or it crashed."""

    def __init__(self, told: str, *, late: bool) -> None:
        super().__init__(told)
        self.late = late


class RaisedThereError(Exception):
    """Stands for an error of the child process. Its text is the error, then the traceback there."""


@dataclass(frozen=True, slots=True)
class _Done(Generic[Result]):
    result: Result


@dataclass(frozen=True, slots=True)
class _Raised:
    error: OnnxproofError | None
    told: str


def run_apart(work: Callable[[], Result], limit_s: float, meanwhile: Iterator[None] = NOTHING) -> Result:
    """What ``work`` returns, computed in a forked process that is ended after ``limit_s`` seconds.

    Until it is there, this process goes through ``meanwhile``, a step at a time. The result is pickled.
    Raises the OnnxproofError that ``work`` raises, ChildError if the time is up or the process crashes, and
    RaisedThereError if ``work`` raises anything else. Where a process cannot be forked, ``work`` runs here,
    without a limit.
    """
    if not CAN_FORK:
        return work()
    reads, writes = os.pipe()
    # A signal waits until the child has its own handlers, and until the parent is ready to end the child.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    with warnings.catch_warnings():
        # Python warns that a thread which is not in the child may hold a lock. None of ours does.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        _work(work, writes, blocked)
    try:
        os.close(writes)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        content, late = _read(reads, time.monotonic() + limit_s, meanwhile)
    finally:
        os.close(reads)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    if late:
        raise ChildError(f"took more than {limit_s:g} s", late=True)
    try:
        said = pickle.loads(content)
    except (EOFError, pickle.UnpicklingError) as error:
        raise ChildError(f"crashed ({how_it_ended(status)})", late=False) from error
    if isinstance(said, _Done):
        result: Result = said.result
        return result
    there = RaisedThereError(said.told)
    if said.error is None:
        raise there
    raise said.error from there


def _read(descriptor: int, until: float, meanwhile: Iterator[None]) -> tuple[bytes, bool]:
    """Everything that the child writes, and whether the time was up before its end."""
    parts: list[bytes] = []
    idle = False
    while (left := until - time.monotonic()) > 0:
        ready, _, _ = select.select([descriptor], [], [], min(left, HEED_S) if idle else 0)
        if ready:
            part = os.read(descriptor, CHUNK)
            if not part:
                return b"".join(parts), False
            parts.append(part)
            idle = True  # the result is there: a step now would hold up the rest of it
        elif not idle:
            idle = next(meanwhile, DONE) is DONE
    return b"", True


def _work(work: Callable[[], Result], writes: int, blocked: Iterable[int]) -> NoReturn:
    """Be the child. Leaves without the cleaning up that is the parent's."""
    code = 1
    try:
        faulthandler.disable()  # the parent tells of a crash
        gc.freeze()  # what the parent made stays: the collector need not look at it here
        end_with_parent(signal.SIGKILL)
        for each in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it, too, and ends the child
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        said: _Done[Result] | _Raised
        try:
            said = _Done(work())
        except BaseException as error:  # noqa: BLE001 - whatever it is, the parent raises it
            known = error if isinstance(error, OnnxproofError) else None
            told = "".join(traceback.format_exception_only(error)).strip()
            said = _Raised(known, f"{told}\n\n{''.join(traceback.format_exception(error))}")
        with os.fdopen(writes, "wb") as stream:
            pickle.dump(said, stream, pickle.HIGHEST_PROTOCOL)
        code = 0
    finally:
        os._exit(code)


def end_with_parent(number: int) -> None:
    """Ask Linux to send this process a signal when its parent ends."""
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 - only a child needs it

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)


def how_it_ended(status: int) -> str:
    """How a process ended, in words."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        likely = ", most likely because memory ran out" if number == signal.SIGKILL else ""
        return f"{signal.Signals(number).name}{likely}"
    return f"exit code {os.WEXITSTATUS(status)}"
