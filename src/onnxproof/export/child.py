"""Run work in a forked process: with a time limit, and so that a crash there is an error here.

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
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Generic, NoReturn, TypeVar

from onnxproof.errors import OnnxproofError
from onnxproof.system.frames import roomy

Result = TypeVar("Result")

CAN_FORK = hasattr(os, "fork") and sys.platform != "darwin"
"""Whether a forked process can go on computing. On macOS, Apple's libraries end such a process."""

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if CAN_FORK else ()
CHUNK = 2**20
"""Bytes that are read at once."""

HEAD = 8
"""Bytes before a result, which say how many it has."""

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

    Raises as ``Apart.result`` does.
    """
    process = Apart(lambda: iter((work(),)))
    try:
        return process.result(limit_s, meanwhile)
    finally:
        process.end()


class Apart(Generic[Result]):
    """A forked process that goes through ``work``, and hands over each result as it is made.

    It is ended by ``end``, or when nobody holds this any more. Where a process cannot be forked, ``work``
    runs here, when a result is asked for, and without a limit.
    """

    def __init__(self, work: Callable[[], Iterator[Result]]) -> None:
        self._here = None if CAN_FORK else work()
        if not CAN_FORK:
            return
        self._reads, writes = os.pipe()
        _widen(writes)
        # A signal waits until the child has its own handlers, and until the parent is ready to end the child.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
        with warnings.catch_warnings():
            # Python warns that a thread which is not in the child may hold a lock. None of ours does.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            _work(work, writes, blocked)
        self._ended = weakref.finalize(self, _end, os.getpid(), child, self._reads)
        os.close(writes)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    def result(self, limit_s: float, meanwhile: Iterator[None] = NOTHING) -> Result:
        """The next result, waited for at most ``limit_s`` seconds. It is pickled on its way.

        Until it is there, this process goes through ``meanwhile``, a step at a time. Raises the
        OnnxproofError that the work raises, ChildError if the time is up or the process crashes, and
        RaisedThereError if the work raises anything else. Then the process is ended.
        """
        if self._here is not None:
            return next(self._here)
        try:
            content = _read(self._reads, time.monotonic() + limit_s, meanwhile)
        except BaseException:
            self.end()
            raise
        if content is None:
            self.end()
            raise ChildError(f"took more than {limit_s:g} s", late=True)
        if not content:
            raise ChildError(f"crashed ({how_it_ended(self.end())})", late=False)
        said = pickle.loads(content)
        if isinstance(said, _Done):
            result: Result = said.result
            return result
        self.end()
        there = RaisedThereError(said.told)
        if said.error is None:
            raise there
        raise said.error from there

    def end(self) -> int:
        """End the process, whatever it is at. Returns its status, 0 if it was ended before."""
        return 0 if self._here is not None else self._ended() or 0


def _widen(pipe: int) -> None:
    """Let a pipe hold as much as one read takes: the two processes change places less often."""
    if sys.platform == "linux":
        import fcntl  # noqa: PLC0415 - not there on Windows

        with contextlib.suppress(OSError):  # the user's pipes hold as much as the system allows
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, CHUNK)


def _end(owner: int, child: int, reads: int) -> int:
    """End a process of ours, and return its status. A forked copy of the ``owner`` leaves it alone."""
    if os.getpid() != owner:
        return 0
    os.close(reads)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def _read(descriptor: int, until: float, meanwhile: Iterator[None]) -> bytes | None:
    """The next message of the child; empty if it ends before, None if the time is up."""
    content, missing = bytearray(), HEAD
    told = False
    idle = False
    while (left := until - time.monotonic()) > 0:
        ready, _, _ = select.select([descriptor], [], [], min(left, HEED_S) if idle else 0)
        if ready:
            part = os.read(descriptor, min(CHUNK, missing))
            if not part:
                return b""
            content += part
            missing -= len(part)
            idle = True  # the result is there: a step now would hold up the rest of it
            if missing == 0 and told:
                return bytes(content)
            if missing == 0:
                told, missing = True, int.from_bytes(content, "little")
                content.clear()
        elif not idle:
            idle = next(meanwhile, DONE) is DONE
    return None


@roomy
def _work(work: Callable[[], Iterator[Result]], writes: int, blocked: Iterable[int]) -> NoReturn:
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
        with os.fdopen(writes, "wb") as stream:
            try:
                for result in work():
                    _send(stream, _Done(result))
            except BaseException as error:  # noqa: BLE001 - whatever it is, the parent raises it
                known = error if isinstance(error, OnnxproofError) else None
                told = "".join(traceback.format_exception_only(error)).strip()
                _send(stream, _Raised(known, f"{told}\n\n{''.join(traceback.format_exception(error))}"))
        code = 0
    finally:
        os._exit(code)


def _send(stream: IO[bytes], said: _Done[Result] | _Raised) -> None:
    content = pickle.dumps(said, pickle.HIGHEST_PROTOCOL)
    stream.write(len(content).to_bytes(HEAD, "little"))
    stream.write(content)
    stream.flush()


def end_with_parent(number: int) -> None:
    """Ask Linux to send this process a signal when its parent ends."""
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 - only a child needs it

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)


def how_it_ended(status: int) -> str:
    """How a process ended, in words."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        killed = ", most likely because memory ran out, or somebody ended it"
        likely = killed if number == signal.SIGKILL else ""
        return f"{signal.Signals(number).name}{likely}"
    return f"exit code {os.WEXITSTATUS(status)}"
