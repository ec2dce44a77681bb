"""What ``bench`` times: each contestant in a process of its own, which runs when it is its turn."""

import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from onnxproof import errors
from onnxproof.errors import ModelFileError, OnnxproofError
from onnxproof.runtime.session import SessionSettings, first_line, open_session
from onnxproof.system.confined import end_child
from onnxproof.system.imports import PASSIVE

try:
    import resource
except ModuleNotFoundError:  # Windows has none
    resource = None  # type: ignore[assignment]

Array = NDArray[Any]
Feeds = Mapping[str, Array]
Outputs = list[Array]
Run = Callable[[], Outputs]

_START = (
    "import sys; sys.path[:] = {path!r}; from onnxproof.deploy.contestant import serve; "
    "from {module} import open_it; serve(open_it)"
)

TURN_S = 0.02
"""How long a turn lasts at least, in seconds: a shorter run is repeated."""
MOST_RUNS = 50
"""Runs of a turn at most."""
WARM_UPS = 3


class Opened(Protocol):
    """What a contestant's process opens. ``module`` has ``open_it``, which takes this and the inputs, and
    returns what runs on them, and notes."""

    module: ClassVar[str]


class FailedError(Exception):
    """A contestant does not run, and the reason is not the user's request."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a contestant's process is told: what to open, the inputs, and when it was started
    (``time.perf_counter`` of the parent, which is the same clock)."""

    what: Any
    feeds: Feeds
    started: float


@dataclass(frozen=True, slots=True)
class Ready:
    """The first result, the seconds from the start of the process to it, and what is to be said."""

    outputs: Outputs
    first: float
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """What was raised in a contestant's process; ``kind`` is one of ``onnxproof.errors``, or empty."""

    kind: str
    reason: str


class Contestant:
    """A process that has opened a model, and answers when asked. Use it as a context: it ends with it."""

    def __init__(self, name: str, what: Opened, feeds: Feeds, threads: int) -> None:
        """Start the process, and let it open ``what``.

        Raises as opening raises, and FailedError for what is none of onnxproof's errors.
        """
        self.name = name
        started = time.perf_counter()
        self._child = subprocess.Popen(
            [sys.executable, "-I", "-c", _START.format(path=sys.path, module=what.module)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # Threads that spin while they wait would take the cores from the one whose turn it is.
            env={**os.environ, **PASSIVE, "OMP_NUM_THREADS": str(threads)},
        )
        try:
            self.ready: Ready = self._ask(Asked(what, feeds, started))
            self._runs = 1
            seconds = min(self.turn() for _ in range(WARM_UPS))[0]
            self._runs = max(1, min(MOST_RUNS, int(TURN_S / seconds)))
        except BaseException:
            end_child(self._child)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        end_child(self._child)

    def turn(self) -> list[float]:
        """The seconds of each run of a turn, after one that is not counted if there are several."""
        seconds: list[float] = self._ask(self._runs)
        return seconds

    def peak(self) -> int | None:
        """The most memory that the process has taken, in bytes, its libraries included. None if not told."""
        found: int | None = self._ask(0)
        return found

    def _ask(self, question: Any) -> Any:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        try:
            pickle.dump(question, self._child.stdin, pickle.HIGHEST_PROTOCOL)
            self._child.stdin.flush()
            answer = pickle.load(self._child.stdout)
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            code = self._child.wait()
            raise FailedError(f"its process ended with exit code {code}") from error
        if isinstance(answer, Problem):
            known = getattr(errors, answer.kind, None) if answer.kind else None
            raise FailedError(answer.reason) if known is None else known(answer.reason)
        return answer


def serve(open_it: Callable[[Any, Feeds], tuple[Run, tuple[str, ...]]]) -> None:
    """The life of a contestant's process: open what is asked for, run once, then answer turns."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not mix with the answers
    questions = sys.stdin.buffer

    def say(answer: Any) -> None:
        pickle.dump(answer, answers, pickle.HIGHEST_PROTOCOL)
        answers.flush()

    asked: Asked = pickle.load(questions)
    try:
        run, notes = open_it(asked.what, asked.feeds)
        outputs = run()
        say(Ready([np.asarray(one) for one in outputs], time.perf_counter() - asked.started, notes))
        while True:
            count = pickle.load(questions)
            say(_turn(run, count) if count else _peak())
    except EOFError:
        return
    except OnnxproofError as error:
        say(Problem(type(error).__name__, str(error)))
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent tells it
        say(Problem("", f"{type(error).__name__}: {first_line(error)}"))


def _turn(run: Run, count: int) -> list[float]:
    if count > 1:
        run()
    seconds = []
    for _ in range(count):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return seconds


def _peak() -> int | None:
    try:
        # Not getrusage, which on Linux begins with what the parent had taken.
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    if resource is None:
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


@dataclass(frozen=True, slots=True)
class OnnxFile:
    """An ONNX file in ONNX Runtime."""

    module: ClassVar[str] = "onnxproof.deploy.contestant"
    file: str
    settings: SessionSettings


def open_it(what: OnnxFile, feeds: Feeds) -> tuple[Run, tuple[str, ...]]:
    """Open a file in ONNX Runtime. Raises ModelFileError if it does not run on the inputs."""
    session = open_session(Path(what.file), what.settings)
    given = dict(feeds)
    try:
        # ONNX Runtime's exceptions have no common public base below Exception.
        session.run(None, given)
    except Exception as error:
        listed = ", ".join(f"{name} {array.dtype}{list(array.shape)}" for name, array in feeds.items())
        raise ModelFileError(
            f"{what.file} does not run on {listed} ({first_line(error)}): give a file with the bundle's "
            "inputs"
        ) from error
    return lambda: session.run(None, given), ()
