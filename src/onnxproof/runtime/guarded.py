"""An ONNX Runtime session in a process of its own, with limits on time and memory.

It is for files whose structure says that ONNX Runtime may crash or hang on them (``look``). If it crashes,
hangs or runs out of memory, only the child ends, and ModelFileError is raised here.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxproof.system.confined import Confined, Limits


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


class GuardedSession:
    """The part of ``onnxruntime.InferenceSession`` that onnxproof uses.

    It is safe to call from several threads, which take turns. After a crash or a hang the session is closed,
    and every call raises ModelFileError.
    """

    def __init__(self, model: Path | bytes, settings: Any, name: str, risk: str) -> None:
        limits = Limits.from_environment()
        self.child = Confined("onnxproof.runtime._child", name, "ONNX Runtime", risk, limits)
        source = model if isinstance(model, bytes) else str(model)
        self._opened: Opened = self.child.ask((source, settings, limits), "loading")
        if not self._opened.limited:
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

        Raises ConfinedError if ONNX Runtime raises an error, ModelFileError if it crashes or hangs.
        """
        outputs: list[Any] = self.child.ask((list(names), dict(feeds)), "running")
        return outputs
