"""The runtimes by name: what has to be installed for each, and the legs that it gives.

A leg's module is imported when the leg is opened, since it may need a package that is not there.
"""

import importlib.metadata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args

from onnxproof.contract import Contract
from onnxproof.errors import RequestError
from onnxproof.runtime.session import VERSION, Optimization, placed_elsewhere, require_providers
from onnxproof.system.extras import is_there, missing
from onnxproof.system.imports import imported
from onnxproof.validate.legs.leg import Leg
from onnxproof.validate.legs.onnx_runtime import OrtLeg, ort_name
from onnxproof.validate.runtimes.row import RuntimeRow

ORT, ORT_WEB, OPENVINO, OPENVINO_AUTO = "ort", "ort-web", "openvino", "openvino-auto"
REFERENCE = "reference"

PROVIDER = "ExecutionProvider"
"""How the names of ONNX Runtime's execution providers end. Other names are OpenVINO's devices."""

NOTES = MappingProxyType(
    {
        "CUDAExecutionProvider": "CUDA multiplies in TF32, 11 bits of significand where float32 has 24, "
        "unless its option use_tf32 is 0",
        "TensorrtExecutionProvider": "TensorRT multiplies in TF32, 11 bits of significand where float32 has "
        "24, unless the environment has NVIDIA_TF32_OVERRIDE=0",
        "CoreMLExecutionProvider": "Core ML computes in float16 on the GPU and on the neural engine",
    }
)
"""What execution providers compute otherwise by design. Source: ONNX Runtime's pages on its CUDA provider,
NVIDIA's on TF32, Apple's on typed execution."""

Open = Callable[[Path, Contract, int], tuple[Leg, RuntimeRow]]
"""Opens a file in a runtime, with so many threads (0: as many as it chooses): the leg, and its row with what
is known only now."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A leg that may be opened. ``open`` is None if its runtime is absent; the row says why."""

    row: RuntimeRow
    open: Open | None


@dataclass(frozen=True, slots=True)
class Asked:
    """What a user asked for besides a runtime's name.

    ``providers`` are the execution providers to run ONNX Runtime on, each by itself, or tuples of them that a
    session gets in order. ``devices`` are OpenVINO's.
    """

    providers: tuple[tuple[str, ...], ...]
    devices: tuple[str, ...]


Candidates = Callable[[Asked], Iterator[Candidate]]


def _ort(asked: Asked) -> Iterator[Candidate]:
    """ONNX Runtime at each of its levels. Raises RequestError if a provider is not there."""
    for providers in asked.providers:
        require_providers(providers)
        yield from (_ort_at(providers, level) for level in get_args(Optimization))


def _ort_at(providers: tuple[str, ...], level: Optimization) -> Candidate:
    row = ort_row(providers, level)

    def open_leg(file: Path, contract: Contract, threads: int) -> tuple[Leg, RuntimeRow]:  # noqa: ARG001
        leg = OrtLeg(file, providers, threads, level)
        notes = filter(None, (row.note, placed_elsewhere(leg.placed, providers[0])))
        return leg, replace(row, note="; ".join(notes))

    return Candidate(row, open_leg)


def ort_row(providers: Sequence[str], level: Optimization) -> RuntimeRow:
    """The row of a leg that runs in ONNX Runtime."""
    return RuntimeRow(
        ort_name(providers, level),
        "ONNX Runtime",
        VERSION,
        providers[0],
        level,
        note=NOTES.get(providers[0], ""),
    )


def _openvino(asked: Asked, *, chooses: bool) -> Iterator[Candidate]:
    """OpenVINO on each device: told to compute in float32, or as it ``chooses``."""
    for device in asked.devices:
        kind = "auto" if chooses else "f32"
        name = f"openvino-{device.lower()}{'-auto' if chooses else ''}"
        row = RuntimeRow(name, "OpenVINO", _version("openvino"), device, kind)
        if not is_there("openvino"):
            yield Candidate(replace(row, absent=str(missing("openvino", "the runtime openvino"))), None)
            continue
        yield Candidate(row, _opens_in_openvino(row, chooses=chooses))


def _opens_in_openvino(row: RuntimeRow, *, chooses: bool) -> Open:
    def open_leg(file: Path, contract: Contract, threads: int) -> tuple[Leg, RuntimeRow]:
        module: Any = imported("onnxproof.validate.legs.openvino_runtime")
        names = [spec.name for spec in contract.outputs]
        leg = module.OpenVinoLeg(row.leg, file, row.provider, threads, names, chooses=chooses)
        note = ""
        if chooses and leg.precision != "float32":
            note = f"OpenVINO chose {leg.precision} on this machine; the runtime openvino tells it float32"
        elif not chooses and module.chosen_precision(row.provider) != "float32":
            own = module.chosen_precision(row.provider)
            note = f"told to compute in float32; left to itself, OpenVINO takes {own} on this machine"
        return leg, replace(row, note=note)

    return open_leg


def _ort_web(asked: Asked) -> Iterator[Candidate]:  # noqa: ARG001
    """ONNX Runtime Web, through Node."""
    module: Any = imported("onnxproof.validate.legs.ort_web")
    row = RuntimeRow(ORT_WEB, "ONNX Runtime Web", provider="wasm")
    try:
        module.node()
        package, version = module.package()
    except RequestError as error:
        yield Candidate(replace(row, absent=str(error)), None)
        return
    row = replace(row, version=version)

    def open_leg(file: Path, contract: Contract, threads: int) -> tuple[Leg, RuntimeRow]:  # noqa: ARG001
        return module.OrtWebLeg(row.leg, file, package, threads), row

    yield Candidate(row, open_leg)


def _reference(asked: Asked) -> Iterator[Candidate]:  # noqa: ARG001
    """onnx's reference evaluator."""
    row = RuntimeRow(REFERENCE, "onnx reference evaluator", _version("onnx"), "NumPy")
    if not is_there("onnx"):
        yield Candidate(replace(row, absent=str(missing("onnx", "the runtime reference"))), None)
        return

    def open_leg(file: Path, contract: Contract, threads: int) -> tuple[Leg, RuntimeRow]:  # noqa: ARG001
        return imported("onnxproof.validate.legs.reference_evaluator").ReferenceLeg(row.leg, file), row

    yield Candidate(row, open_leg)


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


RUNTIMES: MappingProxyType[str, Candidates] = MappingProxyType(
    {
        ORT: _ort,
        ORT_WEB: _ort_web,
        OPENVINO: lambda asked: _openvino(asked, chooses=False),
        OPENVINO_AUTO: lambda asked: _openvino(asked, chooses=True),
        REFERENCE: _reference,
    }
)
"""The runtimes that a file can be tried in, by the name that a user gives."""
