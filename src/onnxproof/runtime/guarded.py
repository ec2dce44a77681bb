"""An ONNX Runtime session in a process of its own, with limits on time and memory.

It is for files whose structure says that ONNX Runtime may crash or hang on them (``look``). If it crashes,
hangs or runs out of memory, only the child ends, and ModelFileError is raised here.
"""

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import warnings
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxproof.errors import ModelFileError, RequestError

TIME_VARIABLE = "ONNXPROOF_TIME_LIMIT"
MEMORY_VARIABLE = "ONNXPROOF_MEMORY_LIMIT"
TIME_LIMIT_S = 60.0
"""Seconds that a load or a run may take."""
MEMORY_LIMIT_GIB = 8.0
"""GiB of memory that the child may use. A network with its weights rarely needs half of it."""

_START = "import sys; sys.path[:] = {path!r}; from onnxproof.runtime._child import main; main()"


@dataclass(frozen=True, slots=True)
class NodeArg:
    """An input or output, with the attributes of ONNX Runtime's class of this name."""

    name: str
    type: str
    shape: list[int | str | None]


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """A file's metadata, with the attributes of ONNX Runtime's class of this name."""

    custom_metadata_map: dict[str, str]
    description: str
    domain: str
    graph_name: str
    producer_name: str
    version: int


@dataclass(frozen=True, slots=True)
class Opened:
    """The child's answer after it has opened a file. ``limited`` says whether its memory is limited, and
    ``providers`` are those that started."""

    inputs: list[NodeArg]
    outputs: list[NodeArg]
    metadata: ModelMetadata
    limited: bool
    providers: list[str]


@dataclass(frozen=True, slots=True)
class Failed:
    """What ONNX Runtime raised in the child."""

    reason: str


class GuardedRuntimeError(RuntimeError):
    """ONNX Runtime raised in the child."""


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


class GuardedSession:
    """The part of ``onnxruntime.InferenceSession`` that onnxproof uses.

    It is safe to call from several threads, which take turns. After a crash or a hang the session is closed,
    and every call raises ModelFileError.
    """

    def __init__(self, model: Path | bytes, settings: Any, name: str, risk: str) -> None:
        self._name, self._risk = name, risk
        self._limits = Limits.from_environment()
        self._lock = threading.Lock()
        self._dead = ""
        self._child = subprocess.Popen(
            [sys.executable, "-I", "-c", _START.format(path=sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._close = weakref.finalize(self, end_child, self._child)
        source = model if isinstance(model, bytes) else str(model)
        opened: Opened = self._ask((source, settings, self._limits), "loading")
        self._opened = opened
        if not opened.limited:
            warnings.warn(
                f"{name} runs in a process of its own, since {risk}; this platform does not limit its memory",
                RuntimeWarning,
                stacklevel=2,
            )

    def get_inputs(self) -> list[NodeArg]:
        """The inputs."""
        return self._opened.inputs

    def get_outputs(self) -> list[NodeArg]:
        """The outputs."""
        return self._opened.outputs

    def get_modelmeta(self) -> ModelMetadata:
        """What the file says of itself."""
        return self._opened.metadata

    def get_providers(self) -> list[str]:
        """The execution providers that started."""
        return self._opened.providers

    def run(self, names: Sequence[str], feeds: Mapping[str, Any]) -> list[Any]:
        """The outputs of these names.

        Raises GuardedRuntimeError if ONNX Runtime raises an error, ModelFileError if it crashes or hangs.
        """
        outputs: list[Any] = self._ask((list(names), dict(feeds)), "running")
        return outputs

    def _ask(self, question: Any, doing: str) -> Any:
        """The child's answer."""
        with self._lock:
            if self._dead:
                raise ModelFileError(self._dead)
            late = threading.Event()
            timer = threading.Timer(self._limits.time_s, self._stop, (late,))
            timer.daemon = True
            timer.start()
            try:
                assert self._child.stdin is not None
                assert self._child.stdout is not None
                pickle.dump(question, self._child.stdin, pickle.HIGHEST_PROTOCOL)
                self._child.stdin.flush()
                answer = pickle.load(self._child.stdout)
            except (EOFError, OSError, pickle.UnpicklingError) as error:
                self._close()
                self._dead = self._what_happened(doing, late=late.is_set())
                raise ModelFileError(self._dead) from error
            except BaseException:
                self._dead = f"{self._name}: {doing} it was stopped; load it again"
                self._close()
                raise
            finally:
                timer.cancel()
        if isinstance(answer, Failed):
            raise GuardedRuntimeError(answer.reason)
        return answer

    def _stop(self, late: threading.Event) -> None:
        late.set()
        self._child.kill()

    def _what_happened(self, doing: str, *, late: bool) -> str:
        code = self._child.returncode
        if late:
            what = f"took more than {self._limits.time_s:g} s"
            advice = f"if you trust the file, give it more: {TIME_VARIABLE}=SECONDS"
        elif code == -signal.SIGABRT or (os.name == "posix" and code == -signal.SIGKILL):
            what = f"ended with {signal.Signals(-code).name}, most likely because it ran out of memory"
            advice = f"if you trust the file, give it more than {self._limits.memory_gib:g} GiB: "
            advice += f"{MEMORY_VARIABLE}=GIB"
        else:
            name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            what, advice = f"crashed ONNX Runtime ({name})", "export the model again, another way"
        return f"{doing} {self._name} {what} ({self._risk}): {advice}"


def end_child(child: "subprocess.Popen[bytes]") -> None:
    """Kill a child that is talked to through pipes, close them, and wait for it."""
    child.kill()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            # Closing flushes what is not written yet, for which there is no reader any more.
            with contextlib.suppress(OSError):
                pipe.close()
    child.wait()
