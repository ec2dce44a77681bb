"""An ONNX file in ONNX Runtime Web, through Node. Needs Node, and the package onnxruntime-web of npm."""

import json
import os
import shutil
import struct
import subprocess
import threading
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from onnxproof.document import read_json
from onnxproof.errors import ModelFileError, RequestError
from onnxproof.runtime.folder import data_of
from onnxproof.runtime.port import Port
from onnxproof.system.confined import TIME_VARIABLE, Limits, end_child
from onnxproof.validate.golden.kit import decoded, encoded
from onnxproof.validate.legs.leg import Answer, Arrays, Ports

PACKAGE = "onnxruntime-web"
HOST = Path(__file__).with_suffix(".mjs")
HEAD = struct.Struct("<I")
"""The length of a message's head."""


class OrtWebError(RuntimeError):
    """ONNX Runtime Web raised an error."""


class OrtWebLeg:
    """An ONNX file in ONNX Runtime Web's WebAssembly, in a process of Node.

    ``package`` is the folder of onnxruntime-web. A load and a run may take as long as those of
    ``GuardedSession``. Raises ModelFileError if ONNX Runtime Web does not take the file.
    """

    def __init__(self, name: str, file: Path, package: Path, threads: int) -> None:
        self.name = name
        self._seconds = Limits.from_environment().time_s
        self._child = subprocess.Popen(
            [node(), str(HOST)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._close = weakref.finalize(self, end_child, self._child)
        data = data_of(file)
        beside = [{"path": data.name, "data": str(data.resolve())}] if data.is_file() else []
        asked = {
            "package": str(package),
            "file": str(file.resolve()),
            "data": beside,
            "threads": threads or 1,
        }
        try:
            opened = self._ask(asked)
        except OrtWebError as error:
            raise ModelFileError(f"ONNX Runtime Web does not take the file: {error}") from error
        self.ports = Ports(*(tuple(map(_port, opened[kind])) for kind in ("inputs", "outputs")))

    def run(self, inputs: Arrays) -> Answer:
        """Raises OrtWebError if ONNX Runtime Web raises an error, ModelFileError if it crashes or hangs."""
        contents = [encoded(array) for array in inputs.values()]
        told = [
            {"name": name, "dtype": array.dtype.name, "shape": array.shape, "bytes": len(content)}
            for (name, array), content in zip(inputs.items(), contents, strict=True)
        ]
        found = self._ask({"inputs": told}, contents)
        arrays = {
            one["name"]: decoded(one["content"], one["dtype"], one["shape"]) for one in found["outputs"]
        }
        return Answer({port.name: arrays[port.name] for port in self.ports.outputs}, {})

    def _ask(self, head: dict[str, Any], contents: Sequence[bytes] = ()) -> dict[str, Any]:
        """The answer to a question."""
        late = threading.Event()
        timer = threading.Timer(self._seconds, self._stop, (late,))
        timer.daemon = True
        timer.start()
        try:
            assert self._child.stdin is not None
            text = json.dumps(head).encode()
            for part in (HEAD.pack(len(text)), text, *contents):
                self._child.stdin.write(part)
            self._child.stdin.flush()
            answer = self._answer()
        except (EOFError, OSError) as error:
            self._close()
            what = f"took more than {self._seconds:g} s: {TIME_VARIABLE}=SECONDS gives it more"
            if not late.is_set():
                what = "crashed, and Node with it: try another version of onnxruntime-web, and report it"
            raise ModelFileError(f"ONNX Runtime Web {what}") from error
        finally:
            timer.cancel()
        if "error" in answer:
            raise OrtWebError(answer["error"])
        return answer

    def _answer(self) -> dict[str, Any]:
        (length,) = HEAD.unpack(self._read(HEAD.size))
        answer: dict[str, Any] = read_json(self._read(length).decode()).value
        for one in answer.get("outputs", ()):
            if "bytes" in one:
                one["content"] = self._read(one["bytes"])
        return answer

    def _read(self, count: int) -> bytes:
        assert self._child.stdout is not None
        content = self._child.stdout.read(count)
        if len(content) < count:
            raise EOFError
        return content

    def _stop(self, late: threading.Event) -> None:
        late.set()
        self._child.kill()


def _port(told: dict[str, Any]) -> Port:
    return Port(told["name"], told["dtype"], tuple(axis or None for axis in told["shape"]))


def node() -> str:
    """The program Node. Raises RequestError if it is not on PATH."""
    found = shutil.which("node")
    if found is None:
        raise RequestError("ONNX Runtime Web needs Node, and there is no node on PATH: install it")
    return found


def package() -> tuple[Path, str]:
    """The folder of onnxruntime-web that Node would find from here, and its version.

    Raises RequestError if there is none.
    """
    for folder in _places():
        about = folder / PACKAGE / "package.json"
        if about.is_file():
            return about.parent, str(read_json(about.read_text(encoding="utf-8")).value["version"])
    raise RequestError(
        f"the package {PACKAGE} is not in a node_modules of this folder or of one above it: "
        f"npm install {PACKAGE}"
    )


def _places() -> Iterator[Path]:
    """Where Node looks for packages."""
    here = Path.cwd()
    yield from (folder / "node_modules" for folder in (here, *here.parents))
    yield from map(Path, filter(None, os.environ.get("NODE_PATH", "").split(os.pathsep)))
