"""What a reported fault is, and how its healthy and its damaged file come about."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import onnx
import torch
from architectures.plain import by_dynamo
from soundness.fault import Edit, edited
from torch import nn

from onnxproof.export.make import make_graph
from onnxproof.job import Job
from onnxproof.job.document import override
from onnxproof.wrappers.family import WrappedModel
from onnxproof.wrappers.wrap import wrap_for_job

Run = Callable[..., Any]
"""A network's forward: takes the network, whose parts it reads, then the inputs."""

Made = Literal["tool", "surgery", "emulated", "runtime"]
"""How the damaged file comes about.

- ``tool``: the installed exporter writes it; the fault is still there.
- ``surgery``: the healthy graph is changed exactly as the report says that the tool changed it.
- ``emulated``: the file states what the faulty kernel, importer or pass computed.
- ``runtime``: the file is right, and the installed ONNX Runtime computes it wrongly.
"""

TRACED = ("export.exporter=torchscript", "export.simplify=none")
CAPTURED = ("export.exporter=torch.export", "export.simplify=none")
QUICK = ("validate.effort=quick", "validate.threads=1")


class Net(nn.Module):
    """Parts by name, and a forward that is a function of the network and its inputs."""

    def __init__(self, run: Run, **parts: nn.Module | nn.Parameter) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *inputs: torch.Tensor) -> Any:
        """What ``run`` makes of the inputs."""
        return self.run(self, *inputs)


@dataclass(frozen=True, slots=True)
class Reported:
    """A fault that somebody reported, and a small network that shows it.

    ``source`` is "owner/repository#number" or "arXiv:number". ``right`` says what is right, ``wrong`` what
    went wrong. ``build`` makes the network, seeded by ``network``. ``inputs`` and ``dims`` are those of
    ``onnxproof.export_module``. ``overrides`` say how the healthy file is exported. ``healthy`` is a forward
    to export in place of the network's own: the same function, in operators that are exported and run
    rightly.
    """

    name: str
    source: str
    right: str
    wrong: str
    made: Made
    build: Callable[[], Net]
    inputs: Mapping[str, str]
    dims: Mapping[str, str | int]
    damage: "Damage"
    overrides: tuple[str, ...] = TRACED
    healthy: Run | None = None

    def job(self, *more: str) -> Job:
        """The job that exports the network, with more overrides behind the fault's own."""
        document: dict[str, Any] = {
            "name": self.name,
            "model": {"family": "module", "task": "raw"},
            "inputs": dict(self.inputs),
            "dims": dict(self.dims),
        }
        changes = (*QUICK, *self.overrides, *more)
        return Job.from_document(override(document, changes), folder=Path(), source=self.name)

    def network(self) -> Net:
        """The network, the same at each call."""
        torch.manual_seed(0)
        network = self.build()
        network.eval()
        return network

    def model(self) -> WrappedModel:
        """The wrapped network."""
        return wrap_for_job(self.job(), self.network())

    def export(self, run: Run | None, *more: str) -> onnx.ModelProto:
        """The graph of the network, with another forward unless ``run`` is None."""
        job, network = self.job(*more), self.network()
        if run is not None:
            network.run = run
        return make_graph(job, wrap_for_job(job, network)).proto


Damage = Callable[[Reported, onnx.ModelProto, Path], onnx.ModelProto]
"""From the fault, its healthy graph and an empty folder to the damaged graph."""


@dataclass(frozen=True, slots=True)
class Pair:
    """The two files of a fault."""

    healthy: Path
    damaged: Path


def make_pair(fault: Reported, folder: Path) -> Pair:
    """Write both files into the folder."""
    pair = Pair(folder / "healthy.onnx", folder / "damaged.onnx")
    healthy = fault.export(fault.healthy)
    work = folder / "work"
    work.mkdir()
    onnx.save(healthy, pair.healthy)
    onnx.save(fault.damage(fault, healthy, work), pair.damaged)
    return pair


def surgery(edit: Edit) -> Damage:
    """The healthy graph, edited."""
    return lambda _fault, proto, folder: onnx.load(edited(edit)(proto, folder))


def instead(run: Run, *overrides: str) -> Damage:
    """The graph of the same parts with another forward."""
    return lambda fault, _proto, _folder: fault.export(run, *overrides)


def exported(*overrides: str) -> Damage:
    """The graph of the network itself, exported otherwise."""
    return lambda fault, _proto, _folder: fault.export(None, *overrides)


def plain() -> Damage:
    """The graph of the network itself as PyTorch's own exporter writes it."""
    return lambda fault, _proto, _folder: by_dynamo(fault.model())
