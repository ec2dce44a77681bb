"""Do tasks in several processes at once, and end them all when this one is stopped."""

import contextlib
import json
import os
import pickle
import queue
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field

from onnxproof.progress import Stages
from onnxproof.runs.slot import Message
from onnxproof.runs.task import Outcome, Task
from onnxproof.system.endings import Ending, ending
from onnxproof.system.files import staging_folder
from onnxproof.system.imports import PASSIVE
from onnxproof.system.memory import available_bytes
from onnxproof.validate.verdict import Verdict

START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from onnxproof.runs.slot import main; main()"
)

GRACE_S = 15.0
"""Seconds that a job's process has to clean up before it is killed. Python handles a signal between two of
its own steps, so a long call into a library delays it."""

HEED_S = 0.5
"""Seconds after which the wait for messages is interrupted, so that a signal is handled everywhere."""

Report = Callable[[str, str, int, int], None]
"""A Progress with the job's name in front."""


@dataclass(slots=True, eq=False)
class _Slot:
    """A process that does tasks, and what is known of the task that it does now."""

    process: "subprocess.Popen[bytes]"
    reader: threading.Thread | None = None
    number: int = 0
    task: Task | None = None
    stages: Stages | None = None
    result: Message | None = None

    def close(self) -> None:
        """Let go of a process that has ended."""
        if self.reader is not None:
            self.reader.join()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):  # what the process did not read
                    stream.close()


@dataclass(slots=True, eq=False)
class Pool:
    """Up to ``size`` processes. ``report`` is told of each job's progress."""

    size: int
    report: Report
    _slots: list[_Slot] = field(default_factory=list)
    _inbox: "queue.Queue[tuple[_Slot, Message | None]]" = field(default_factory=queue.Queue)
    _room: int | None = field(default_factory=available_bytes)

    def outcomes(self, tasks: Sequence[tuple[int, Task]]) -> Generator[tuple[int, Outcome]]:
        """Do the tasks, and yield each one's number and what came of it, as it ends.

        A task starts when a process is free and its memory fits beside what runs. When the caller leaves
        early, or this process is stopped, the processes are ended, and leave nothing half-written.
        """
        left = deque(tasks)
        try:
            while left or any(slot.task for slot in self._slots):
                self._start(left)
                slot, message = self._next()
                if message is None:
                    yield from self._ended(slot)
                elif message.kind == "progress" and slot.task is not None and slot.stages is not None:
                    slot.stages(*message.stage)
                elif message.kind == "result":
                    slot.result = message
                elif message.kind == "end":
                    yield self._done(slot, message)
        finally:
            self._end()

    def _start(self, left: "deque[tuple[int, Task]]") -> None:
        """Start the tasks for which there is a process and memory."""
        while left:
            running = [slot.task for slot in self._slots if slot.task is not None]
            if len(running) >= self.size or (running and not self._fits(left[0][1], running)):
                return
            slot = next((slot for slot in self._slots if slot.task is None), None) or self._new()
            slot.number, task = left.popleft()
            slot.task, slot.result = task, None
            slot.stages = Stages(lambda *stage, name=task.name: self.report(name, *stage))
            assert slot.process.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # it died: its end is in the inbox
                slot.process.stdin.write(pickle.dumps(task))
                slot.process.stdin.flush()

    def _fits(self, task: Task, running: Sequence[Task]) -> bool:
        return self._room is None or task.needed + sum(one.needed for one in running) <= self._room

    def _new(self) -> _Slot:
        arguments = [sys.executable, "-c", START, json.dumps(sys.path)]
        environment = {**PASSIVE, **os.environ} if self.size > 1 else None
        process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        slot = _Slot(process)
        self._slots.append(slot)
        slot.reader = threading.Thread(target=self._read, args=(slot,), daemon=True)
        slot.reader.start()
        return slot

    def _read(self, slot: _Slot) -> None:
        """Put a slot's messages into the inbox, and None when it has ended."""
        assert slot.process.stdout is not None
        try:
            while True:
                self._inbox.put((slot, pickle.load(slot.process.stdout)))
        except (EOFError, OSError, ValueError, pickle.UnpicklingError):
            self._inbox.put((slot, None))

    def _next(self) -> tuple[_Slot, Message | None]:
        while True:
            with contextlib.suppress(queue.Empty):
                return self._inbox.get(timeout=HEED_S)

    def _ended(self, slot: _Slot) -> Iterator[tuple[int, Outcome]]:
        """What came of the task whose slot has ended with it, if there is one."""
        code = slot.process.wait()
        self._slots.remove(slot)
        slot.close()
        if slot.task is not None:
            yield self._done(slot, Message("end", crashed=f"exit code {code}"))

    def _done(self, slot: _Slot, end: Message) -> tuple[int, Outcome]:
        task, result, stages = slot.task, slot.result, slot.stages
        slot.task = slot.stages = slot.result = None
        assert task is not None
        assert stages is not None
        stages.end()
        error, verdict = (None, None) if result is None else (result.error, result.verdict)
        if result is None:
            error = _crashed(task, end.crashed)
            _sweep(task)
        return slot.number, Outcome(
            task.name,
            task.source,
            task.axes,
            "made" if error is None else "failed",
            bundle=None if result is None else result.bundle,
            lowered=None if result is None else result.lowered,
            verdict=None if verdict is None else Verdict.from_json(verdict),
            error=error,
            notes=() if result is None else result.notes,
            stages=tuple(stages.seconds.items()),
            printed=end.printed,
        )

    def _end(self) -> None:
        """End all processes: at once those that do nothing, the others when they have cleaned up."""
        for slot in self._slots:
            if slot.task is not None:
                slot.process.terminate()
            elif slot.process.stdin is not None:
                with contextlib.suppress(OSError):
                    slot.process.stdin.close()
        until = time.monotonic() + GRACE_S
        killed = []
        try:
            for slot in self._slots:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    slot.process.wait(max(until - time.monotonic(), 0))
        finally:
            for slot in self._slots:
                if slot.process.poll() is None:
                    slot.process.kill()
                    slot.process.wait()
                    killed.append(slot)
                slot.close()
            self._slots.clear()
        for slot in killed:
            if slot.task is not None:
                _sweep(slot.task)


def _sweep(task: Task) -> None:
    """Remove what a process that died left beside the task's target."""
    if task.kind == "export" and task.target is not None:
        with contextlib.suppress(OSError), staging_folder(task.target):
            pass


def _crashed(task: Task, ended: str) -> Ending:
    """The error of a job whose process gave no result."""
    kind, code = ("ExportError", 3) if task.kind == "export" else ("CheckError", 4)
    message = f"the process of {task.name} ended without a result ({ended}): run it alone to see more"
    return ending(code, kind, message)
