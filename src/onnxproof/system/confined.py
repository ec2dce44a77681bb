"""A process of its own for work on a file that nobody vouches for, with limits on time and memory.

If the child crashes, hangs or runs out of memory, only the child ends, and ModelFileError is raised here. It
is talked to in turns: one question, one answer, each a pickle. The child's side is ``answering``.
"""

import contextlib
import faulthandler
import os
import pickle
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from onnxproof.errors import ModelFileError, RequestError

try:
    import resource
except ModuleNotFoundError:  # Windows has none
    resource = None  # type: ignore[assignment]

TIME_VARIABLE = "ONNXPROOF_TIME_LIMIT"
MEMORY_VARIABLE = "ONNXPROOF_MEMORY_LIMIT"
TIME_LIMIT_S = 60.0
"""Seconds that a load or a run may take."""
MEMORY_LIMIT_GIB = 8.0
"""GiB of memory that the child may use. A network with its weights rarely needs half of it."""

GIB = 2**30
SPARE_S = 5.0
"""Seconds after the limit at which the child ends itself, in case its parent is gone."""

_START = "import sys; sys.path[:] = {path!r}; from {module} import main; main()"


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds for a load or a run, and GiB of memory."""

    time_s: float
    memory_gib: float

    @classmethod
    def from_environment(cls) -> "Limits":
        """The limits in the environment's variables, or the defaults. Raises RequestError for other text."""
        return cls(_number(TIME_VARIABLE, TIME_LIMIT_S), _number(MEMORY_VARIABLE, MEMORY_LIMIT_GIB))


def _number(variable: str, default: float) -> float:
    text = os.environ.get(variable, "")
    try:
        value = float(text) if text else default
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise RequestError(f"{variable} is {text!r}; expected a number above 0")
    return value


@dataclass(frozen=True, slots=True)
class Failed:
    """What was raised in the child."""

    reason: str


class ConfinedError(RuntimeError):
    """Something was raised in the child."""


class Confined:
    """A child process that runs ``main`` of a module.

    ``name`` is the file, ``tool`` what works on it and ``why`` the reason for the process, for messages.
    It is safe to ask from several threads, which take turns. After a crash or a hang every question raises
    ModelFileError.
    """

    def __init__(self, module: str, name: str, tool: str, why: str, limits: Limits) -> None:
        self.name, self.limits = name, limits
        self._tool, self._why = tool, why
        self._lock = threading.Lock()
        self._dead = ""
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-c", _START.format(path=sys.path, module=module)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self.close = weakref.finalize(self, end_child, self.process)

    def ask(self, question: Any, doing: str) -> Any:
        """The child's answer.

        Raises ConfinedError if the child raised an error, ModelFileError if it crashed or took too long.
        """
        with self._lock:
            if self._dead:
                raise ModelFileError(self._dead)
            late = threading.Event()
            timer = threading.Timer(self.limits.time_s, self._stop, (late,))
            timer.daemon = True
            timer.start()
            try:
                assert self.process.stdin is not None
                assert self.process.stdout is not None
                pickle.dump(question, self.process.stdin, pickle.HIGHEST_PROTOCOL)
                self.process.stdin.flush()
                answer = pickle.load(self.process.stdout)
            except (EOFError, OSError, pickle.UnpicklingError) as error:
                self.close()
                self._dead = self._what_happened(doing, late=late.is_set())
                raise ModelFileError(self._dead) from error
            except BaseException:
                self._dead = f"{self.name}: {doing} it was stopped; load it again"
                self.close()
                raise
            finally:
                timer.cancel()
        if isinstance(answer, Failed):
            raise ConfinedError(answer.reason)
        return answer

    def _stop(self, late: threading.Event) -> None:
        late.set()
        self.process.kill()

    def _what_happened(self, doing: str, *, late: bool) -> str:
        code = self.process.returncode
        if late:
            what = f"took more than {self.limits.time_s:g} s"
            advice = f"if you trust the file, give it more: {TIME_VARIABLE}=SECONDS"
        elif code == -signal.SIGABRT or (os.name == "posix" and code == -signal.SIGKILL):
            what = f"ended with {signal.Signals(-code).name}, most likely because it ran out of memory"
            what += ", or somebody ended it" if code == -signal.SIGKILL else ""
            advice = f"if you trust the file, give it more than {self.limits.memory_gib:g} GiB: "
            advice += f"{MEMORY_VARIABLE}=GIB"
        else:
            name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            what, advice = f"crashed {self._tool} ({name})", "export the model again, another way"
        return f"{doing} {self.name} {what} ({self._why}): {advice}"


def end_child(child: "subprocess.Popen[bytes]") -> None:
    """Kill a child that is talked to through pipes, close them, and wait for it."""
    child.kill()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            # Closing flushes what is not written yet, for which there is no reader any more.
            with contextlib.suppress(OSError):
                pipe.close()
    child.wait()


def answering(answer: Callable[[Any], Any], limits: Limits, answers: Any) -> None:
    """The child's side: write what ``answer`` makes of each question, until there are no more."""
    while True:
        try:
            question = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        say(outcome(answer, question, limits), answers)


def outcome(answer: Callable[[Any], Any], question: Any, limits: Limits) -> Any:
    """What ``answer`` makes of a question, or Failed. This process ends where that takes too long."""
    faulthandler.dump_traceback_later(limits.time_s + SPARE_S, exit=True)
    try:
        return answer(question)
    except MemoryError:
        return Failed(f"it needs more than {limits.memory_gib:.3g} GiB of memory")
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent raises it
        return Failed(str(error) or type(error).__name__)


def say(answer: Any, answers: Any) -> None:
    """Write an answer, from which on time does not count."""
    pickle.dump(answer, answers, pickle.HIGHEST_PROTOCOL)
    answers.flush()
    faulthandler.cancel_dump_traceback_later()


def answers_alone() -> Any:
    """The stream for answers. What a library prints from now on goes to standard error."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return answers


def limit_memory(limits: Limits) -> bool:
    """Limit the memory of this process. Returns whether the platform can."""
    if resource is None:
        return False
    size = int(limits.memory_gib * GIB)
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    size = size if hard == resource.RLIM_INFINITY else min(size, hard)
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (size, hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (OSError, ValueError):
        return False
    return True
