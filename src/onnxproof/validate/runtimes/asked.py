"""Which runtimes a user asked for, and their legs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from onnxproof.contract import Contract
from onnxproof.errors import ModelFileError, RequestError
from onnxproof.runtime.session import CPU, available_providers, provider_names
from onnxproof.system.extras import is_there
from onnxproof.system.imports import imported
from onnxproof.text import meant
from onnxproof.validate.legs.leg import Leg, Ports
from onnxproof.validate.legs.refused import NotTakenLeg
from onnxproof.validate.runtimes.known import OPENVINO, ORT, PROVIDER, RUNTIMES, Asked, Candidate
from onnxproof.validate.runtimes.row import RuntimeRow
from onnxproof.validate.verdict import Check

DEVICE = "CPU"
"""OpenVINO's device, if none is named."""


def plan_runtimes(
    names: Sequence[str], providers: str | Sequence[str] = (), default: Sequence[str] = (CPU,)
) -> tuple[Candidate, ...]:
    """The legs that are asked for, before a file is opened; those of absent runtimes, too.

    ``names`` are those of RUNTIMES, each alone or several with commas between. ``providers`` are ONNX
    Runtime's execution providers, and OpenVINO's devices; where none is named, ONNX Runtime gets the
    ``default``, in order. Providers alone ask for their own runtime. Raises RequestError for a name that is
    not known, and for a provider or a device that is not there.
    """
    asked = [part.strip() for name in names for part in name.split(",") if part.strip()]
    if names and not asked:
        raise RequestError(f"no runtime is named; there are: {', '.join(RUNTIMES)}")
    for name in asked:
        if name not in RUNTIMES:
            known = ", ".join(RUNTIMES)
            raise RequestError(f"there is no runtime {name!r}; there are: {known}{meant(name, RUNTIMES)}")
    given = provider_names(providers)
    own = tuple(name for name in given if name.endswith(PROVIDER))
    devices = tuple(name for name in given if not name.endswith(PROVIDER))
    if own and ORT not in asked:
        asked.append(ORT)
    if devices and not any(name.startswith(OPENVINO) for name in asked):
        asked.append(OPENVINO)
    _require_devices(devices)
    about = Asked(tuple((name,) for name in own) or (tuple(default),), devices or (DEVICE,))
    return tuple(one for name in dict.fromkeys(asked) for one in RUNTIMES[name](about))


def _require_devices(devices: Sequence[str]) -> None:
    """Raise RequestError for a name that is neither an execution provider nor a device of OpenVINO."""
    if not devices:
        return
    there = imported("onnxproof.validate.legs.openvino_runtime").devices() if is_there("openvino") else ()
    for name in devices:
        if name not in there:
            told = f"OpenVINO's devices are {', '.join(there)}" if there else "OpenVINO is not installed"
            raise RequestError(
                f'provider "{name}" is not there; ONNX Runtime has {", ".join(available_providers())}; {told}'
            )


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """The legs that were opened, and a row for each of them and for each that is absent."""

    legs: tuple[Leg, ...]
    rows: tuple[RuntimeRow, ...]

    @property
    def skipped(self) -> tuple[Check, ...]:
        """A check for each runtime that is absent."""
        return tuple(Check("runs", "skipped", row.absent, leg=row.leg) for row in self.rows if row.absent)


def opened(
    candidates: Sequence[Candidate], file: Path, contract: Contract, threads: int, known: Sequence[str] = ()
) -> Opened:
    """Open a file in each runtime that is there, except for the legs that are ``known`` by name.

    A runtime that does not take the file gives a leg that answers nothing. Raises RequestError if a provider
    does not start, or runs none of the file's nodes.
    """
    legs, rows = [], []
    for leg, row in _opened(candidates, file, contract, threads, known):
        rows.append(row)
        if leg is not None:
            legs.append(leg)
    return Opened(tuple(legs), tuple(rows))


def _opened(
    candidates: Sequence[Candidate], file: Path, contract: Contract, threads: int, known: Sequence[str]
) -> Iterator[tuple[Leg | None, RuntimeRow]]:
    for candidate in candidates:
        row = candidate.row
        if row.leg in known:
            continue
        if candidate.open is None:
            yield None, row
            continue
        try:
            yield candidate.open(file, contract, threads)
        except ModelFileError as error:
            reason = str(error).replace(str(file), file.name)
            yield NotTakenLeg(row.leg, Ports.of(contract), reason), replace(row)
