"""An ONNX file in OpenVINO. Needs the extra ``openvino``."""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from onnxproof.errors import ModelFileError
from onnxproof.runtime.port import Port
from onnxproof.runtime.session import first_line
from onnxproof.validate.legs.leg import Answer, Arrays, Ports

TELEMETRY = "openvino_telemetry"


def _imported() -> Any:
    """OpenVINO without its telemetry.

    With it, the import alone tells Intel that it happened, and leaves a file in the home folder. OpenVINO
    does without the package where that cannot be imported.
    """
    absent = TELEMETRY not in sys.modules
    if absent:
        sys.modules[TELEMETRY] = None  # type: ignore[assignment]
    try:
        return importlib.import_module("openvino")
    finally:
        if absent:
            del sys.modules[TELEMETRY]


ov = _imported()

PRECISION = "INFERENCE_PRECISION_HINT"

FLOAT32 = {PRECISION: "f32", "EXECUTION_MODE_HINT": "ACCURACY"}
"""What makes OpenVINO compute a float32 file in float32. Left to itself, it takes bfloat16 on processors that
have it."""

DTYPES = {"f16": "float16", "f32": "float32", "f64": "float64", "bf16": "bfloat16", "boolean": "bool"}
"""NumPy's names for OpenVINO's element types; integers are "i8" to "u64"."""


class OpenVinoLeg:
    """An ONNX file on one of OpenVINO's devices.

    ``outputs`` are the names that the file's outputs are expected to have: OpenVINO may know a tensor by
    several. Unless ``chooses``, it is told to compute in float32. ``precision`` is what it computes in, as
    OpenVINO says: "float32" or "bfloat16", for example. Raises ModelFileError if OpenVINO does not take the
    file.
    """

    def __init__(
        self, name: str, file: Path, device: str, threads: int, outputs: Sequence[str], *, chooses: bool
    ) -> None:
        self.name = name
        settings: dict[str, Any] = {} if chooses else dict(FLOAT32)
        if threads and device == "CPU":
            settings["INFERENCE_NUM_THREADS"] = threads
        try:
            core = ov.Core()
            self._model = core.compile_model(core.read_model(file), device, settings)
        except RuntimeError as error:
            raise ModelFileError(f"OpenVINO does not take the file: {_said(error)}") from error
        self.precision = _precision(self._model.get_property(PRECISION))
        self._request = self._model.create_infer_request()
        self._names = tuple(_name(port, outputs) for port in self._model.outputs)
        self.ports = Ports(
            tuple(_port(port.get_any_name(), port) for port in self._model.inputs),
            tuple(_port(name, port) for name, port in zip(self._names, self._model.outputs, strict=True)),
        )

    def run(self, inputs: Arrays) -> Answer:
        self._request.infer(dict(inputs))
        found = (self._request.get_tensor(port).data.copy() for port in self._model.outputs)
        return Answer(dict(zip(self._names, found, strict=True)), {})


def devices() -> tuple[str, ...]:
    """The devices that OpenVINO finds here."""
    return tuple(ov.Core().available_devices)


def chosen_precision(device: str) -> str:
    """What OpenVINO computes float32 files in on a device if nobody tells it: "bfloat16", for example."""
    return _precision(ov.Core().get_property(device, PRECISION))


def _precision(kind: Any) -> str:
    return DTYPES.get(kind.get_type_name(), "its own precision")


def _name(port: Any, expected: Sequence[str]) -> str:
    """The name of an output: the expected one, if the tensor has that among its names."""
    return next((name for name in expected if name in port.names), port.get_any_name())


def _port(name: str, port: Any) -> Port:
    kind = port.element_type.get_type_name()
    integer = f"{'u' if kind.startswith('u') else ''}int{kind[1:]}"
    axes = tuple(None if axis.is_dynamic else axis.get_length() for axis in port.partial_shape)
    return Port(name, DTYPES.get(kind, integer), axes)


def _said(error: RuntimeError) -> str:
    """The line of OpenVINO's message that says what is wrong; the first ones name its source files."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("Exception from", "Check '"))]
    return told[0] if told else first_line(error)
