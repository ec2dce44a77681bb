"""One process of the benchmark: it exports one architecture by one contestant, or checks one file.

    python -m any_model.child export MODULE NAME CONTESTANT FOLDER LIMIT_S MEMORY_GIB
    python -m any_model.child check MODULE NAME CONTESTANT FOLDER LIMIT_S MEMORY_GIB
    python -m any_model.child list

"export" writes ``row.json`` and, for a peer, ``model.onnx`` to the folder. "check" judges that file and
completes the row. "list" prints each architecture's module, name and library, and whether that is installed.
"""

import json
import os
import resource
import signal
import sys
import time
import traceback
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import torch

BEGUN = time.perf_counter()

from architectures.architecture import Architecture
from architectures.catalogue import MODULES, architectures_of, everything, installed

import onnxproof
from any_model.contestants import CONTESTANTS, OVERRIDES, SkippedError, told
from any_model.row import Row
from any_model.words import cause, plain
from onnxproof.errors import ModelFileError, OnnxproofError
from onnxproof.wrappers.wrap import wrap_for_job

IMPORTED_S = time.perf_counter() - BEGUN
"""How long the imports took that no peer needs."""

GIB = 2**30
MODEL = "model.onnx"


class Clock:
    """The seconds since this process began, less ``own``: those that the benchmark itself took."""

    def __init__(self) -> None:
        stat = Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        uptime = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
        self._age = uptime - int(stat[19]) / os.sysconf("SC_CLK_TCK")
        self._start = time.perf_counter()
        self.own = 0.0

    @property
    def seconds(self) -> float:
        """What counts so far."""
        return self._age + time.perf_counter() - self._start - self.own


def peak_mib() -> float:
    """The largest memory of this process, or of one that it started."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    kib = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    return max(kib, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024


def main() -> None:
    mode, *rest = sys.argv[1:]
    if mode == "list":
        listed()
        return
    module, name, contestant, folder, limit_s, memory_gib = rest
    signal.setitimer(signal.ITIMER_REAL, float(limit_s))  # its default action ends the process
    most = int(float(memory_gib) * GIB)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    target = Path(folder) / "row.json"
    if mode == "export":
        exported(module, name, contestant, Path(folder)).write(target)
    else:
        checked(module, name, Row.read(target), Path(folder)).write(target)


def listed() -> None:
    """Print all architectures as JSON."""
    everything()
    found = [(module, one) for module in MODULES for one in architectures_of(module).values()]
    print(json.dumps([(module, one.name, one.library, installed(one.library)) for module, one in found]))


def exported(module: str, name: str, contestant: str, folder: Path) -> Row:
    """Let a contestant export an architecture, and say what came of it."""
    clock = Clock()
    architecture = architectures_of(module)[name]
    built: list[float] = []

    def build() -> Any:
        start = time.perf_counter()
        network = architecture.build()
        built.append(time.perf_counter() - start)
        return network

    start = time.perf_counter()
    network = replace(architecture, build=build).network()
    clock.own += time.perf_counter() - start - built[0]  # what moves the weights
    row = Row(name, architecture.library, contestant, "none")
    try:
        if contestant == "onnxproof":
            row = by_onnxproof(row, architecture, network, folder)
        else:
            start = time.perf_counter()
            model = wrap_for_job(architecture.job(), network)
            clock.own += time.perf_counter() - start + IMPORTED_S
            with torch.no_grad():
                CONTESTANTS[contestant](architecture, network, model, folder / MODEL)
            row = replace(row, outcome="undecided", reason="not checked yet")
    except SkippedError as error:
        row = replace(row, outcome="skipped", reason=str(error))
    except OnnxproofError as error:
        row = replace(row, reason=plain(str(error)))
    except (Exception, SystemExit) as error:  # noqa: BLE001
        # Exporters raise what the traced code and their own passes raise: any type at all.
        if contestant == "onnxproof":
            row = replace(row, outcome="crash", reason=plain(traceback.format_exc()[-1500:], 1500))
        else:
            row = replace(row, reason=plain(cause(error)))
    return replace(row, seconds=clock.seconds, peak_mib=peak_mib())


def by_onnxproof(row: Row, architecture: Architecture, network: torch.nn.Module, folder: Path) -> Row:
    """Our export with its verdict."""
    bundle = onnxproof.export_module(
        network,
        inputs=architecture.inputs,
        dims=architecture.dims,
        out=folder / "bundle",
        set=OVERRIDES,
    )
    manifest, verdict = bundle.manifest, bundle.verdict
    assert verdict is not None
    notes = {note.partition(": ")[0]: plain(note.partition(": ")[2]) for note in bundle.notes}
    return replace(
        told(row, verdict),
        exporter=manifest.exporter,
        rungs=tuple(text for note, text in notes.items() if note.startswith("captured by")),
        simplifier=manifest.simplify,
        kept=notes.get("not simplified", ""),
    )


def checked(module: str, name: str, row: Row, folder: Path) -> Row:
    """Judge a peer's file by our links."""
    from onnxproof.export.capture import opset_of  # noqa: PLC0415 - it imports what a peer's clock has to show

    architecture = architectures_of(module)[name]
    network = architecture.network()
    start = time.perf_counter()
    try:
        job = architecture.job(*OVERRIDES, f"export.opset={opset_of(onnx.load(folder / MODEL))}")
        verdict = onnxproof.validate(job, model=network, onnx=folder / MODEL)
        row = told(replace(row, reason=""), verdict)
    except ModelFileError as error:
        row = replace(row, outcome="none", reason=plain(f"ONNX Runtime refuses the file: {error}"))
    except OnnxproofError as error:
        row = replace(row, reason=plain(str(error)))
    except Exception:  # noqa: BLE001
        # Whatever reaches the user here is a fault of ours, and the row says so.
        row = replace(row, outcome="crash", reason=plain(traceback.format_exc()[-1500:], 1500))
    return replace(row, checked_seconds=time.perf_counter() - start)


if __name__ == "__main__":
    main()
