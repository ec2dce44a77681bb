"""A process that does jobs one after the other, each in a process of its own where the system can fork.

It imports PyTorch once; a job's process starts with that at no cost. Tasks come pickled on standard input,
and ``Message`` values go out on standard output. What a job prints goes elsewhere, and is told at its end.
"""

import contextlib
import os
import pickle
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal, NoReturn

from onnxproof.errors import RequestError
from onnxproof.export.child import CAN_FORK, end_with_parent, how_it_ended
from onnxproof.runs.opened import OpenedFiles
from onnxproof.runs.record import named_files, record_of, write_record
from onnxproof.runs.task import Task
from onnxproof.system.endings import Ending, ending_of
from onnxproof.system.imports import freeze_imports, imported
from onnxproof.system.scratch import nameless_file
from onnxproof.system.signals import stopping_raises
from onnxproof.system.usercode import exits_raise

PRINTED = 20_000
"""Bytes of what a job printed that are told, the last ones."""

STDOUT, STDERR = 1, 2

TOLD_EVERY_S = 0.1
"""Seconds between two messages of progress in one stage."""


@dataclass(frozen=True, slots=True)
class Message:
    """What a slot tells: how far a job is, or what came of it.

    ``stage`` has a stage's name, what is done of it, and what there is. ``verdict`` is its document.
    ``crashed`` says how the job's process ended, if it gave no result.
    """

    kind: Literal["progress", "result", "end"]
    stage: tuple[str, int, int] = ("", 0, 0)
    bundle: Path | None = None
    lowered: Path | None = None
    verdict: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()
    error: Ending | None = None
    printed: str = ""
    crashed: str = ""


def main() -> None:
    """Do what comes on standard input, until it ends."""
    requests = os.fdopen(os.dup(0), "rb")
    messages = os.fdopen(os.dup(STDOUT), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, STDOUT)
    os.close(nowhere)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to all; the parent ends this process
    end_with_parent(signal.SIGTERM)
    freeze_imports()
    # What is missing is told of each job, which imports it again.
    with contextlib.suppress(Exception):
        for name in ("onnxproof.pipeline", "onnxproof.steps.bundled", "onnxproof.validation"):
            imported(name)
    slot = _Slot(messages)
    if CAN_FORK:
        signal.signal(signal.SIGTERM, slot.stop)
    while not slot.stopped:
        try:
            task: Task = pickle.load(requests)
        except EOFError:
            return
        slot.do(task)


class _Slot:
    """Does tasks. ``stopped`` says that a signal asked it to end."""

    def __init__(self, messages: BinaryIO) -> None:
        self.stopped = False
        self._messages = messages
        self._child: int | None = None

    def stop(self, number: int, _: Any) -> None:
        """Pass a signal on to the job's process; without one, end."""
        self.stopped = True
        if self._child is None:
            os._exit(128 + number)
        os.kill(self._child, number)

    def do(self, task: Task) -> None:
        """Do one task, and tell what came of it."""
        with nameless_file() as printed:
            with _printing_to(printed):
                crashed = self._apart(task) if CAN_FORK else self._here(task)
            _tell(self._messages, Message("end", printed=_tail(printed), crashed=crashed))

    def _apart(self, task: Task) -> str:
        """Do a task in a forked process. Returns how that ended, if it gave no result."""
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,))
        child = os.fork()
        if child == 0:
            _be_child(task, self._messages, blocked)
        self._child = child
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        _, status = os.waitpid(child, 0)
        self._child = None
        return how_it_ended(status) if status else ""

    def _here(self, task: Task) -> str:
        _work(task, self._messages)
        return ""


def _be_child(task: Task, messages: BinaryIO, blocked: Any) -> NoReturn:
    code = 1
    try:
        end_with_parent(signal.SIGKILL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        _work(task, messages)
        code = 0
    except BaseException:  # noqa: BLE001 - the parent tells that there is no result; this is what was printed
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _work(task: Task, messages: BinaryIO) -> None:
    """Do a task and tell its result, whatever it raises."""
    report = _Report(messages)
    try:
        with stopping_raises(), exits_raise():
            result = _export(task, report) if task.kind == "export" else _validate(task, report)
    except BaseException as error:  # noqa: BLE001 - sorted by ``ending_of``
        ending = ending_of(error)
        if ending.is_fault:
            traceback.print_exc()
        result = Message("result", error=ending)
    _tell(messages, result)


def _export(task: Task, report: "_Report") -> Message:
    opened = OpenedFiles(named_files(task))
    opened.start()
    pipeline = imported("onnxproof.pipeline")
    made = pipeline.export(task.source if task.job is None else task.job, progress=report, **task.options)
    notes = made.notes
    whole = replace(task, target=made.path)
    try:
        write_record(record_of(whole, made.path, opened.sums(made.path)), made.path)
    except (OSError, RequestError) as error:
        notes = (
            *notes,
            f"what the bundle was made from could not be written down ({error}): it is made again",
        )
    verdict = None if made.decisive is None else made.decisive.to_json()
    lowered = None if made.lowered is None else made.lowered.path
    return Message("result", bundle=made.path, lowered=lowered, verdict=verdict, notes=notes)


def _validate(task: Task, report: "_Report") -> Message:
    validation = imported("onnxproof.validation")
    verdict = validation.validate(
        task.source if task.job is None else task.job, progress=report, **task.options
    )
    return Message("result", bundle=task.target, verdict=verdict.to_json())


@dataclass(slots=True)
class _Report:
    """A Progress that tells the parent, of one stage not more often than it is read."""

    messages: BinaryIO
    last: tuple[str, float] = field(default=("", 0.0))

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        if stage != self.last[0] or now - self.last[1] >= TOLD_EVERY_S:
            self.last = stage, now
            _tell(self.messages, Message("progress", stage=(stage, done, total)))


def _tell(messages: BinaryIO, message: Message) -> None:
    messages.write(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))
    messages.flush()


@contextlib.contextmanager
def _printing_to(file: Any) -> Iterator[None]:
    """Send standard output and standard error, from Python or from C, to a file."""
    kept = os.dup(STDERR)
    for stream in (STDOUT, STDERR):
        os.dup2(file.fileno(), stream)
    try:
        yield
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os.dup2(kept, STDERR)
        os.dup2(kept, STDOUT)
        os.close(kept)


def _tail(file: Any) -> str:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - PRINTED, 0))
    text: str = file.read().decode("utf-8", "replace")
    return text
