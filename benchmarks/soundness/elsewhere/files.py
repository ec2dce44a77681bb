"""Each architecture's files: exported by us in several ways, and by PyTorch alone as its users do."""

import re
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import onnx
import torch
from architectures.architecture import Architecture
from architectures.plain import by_dynamo, by_torchscript
from soundness.healthy import variants
from torch import nn

from onnxproof.errors import OnnxproofError
from onnxproof.export.finish import stamped
from onnxproof.export.make import make_graph
from onnxproof.export.quiet import quiet
from onnxproof.export.torchscript import no_graph_dump
from onnxproof.export.write import manifest_of
from onnxproof.job import Job
from onnxproof.wrappers.family import WrappedModel

DEFAULT = "as export makes it"
"""The file that a user of onnxproof gets: torch.export, or TorchScript where that fails; opset 20, folded,
simplified."""

CHOSEN = (
    "torch.export, opset 25, none",
    "torch.export, opset 20, none, not folded",
    "torchscript, opset 17, onnxsim",
    "torchscript, opset 18, none",
    "torchscript, opset 20, none, not folded",
)
"""The other variants of ``healthy.py``, as far as ``fits`` leaves them."""

COLOURS = re.compile(r"\x1b\[\d*m")
"""What PyTorch's exporter writes for a terminal."""

Source = Literal["ours", "elsewhere"]
Make = Callable[[Job, WrappedModel], tuple[onnx.ModelProto, str]]


@dataclass(frozen=True, slots=True)
class Way:
    """A way to export a model.

    ``source`` is "elsewhere" if PyTorch exports it without us. ``make`` returns the graph and the name of the
    exporter that captured it.
    """

    name: str
    source: Source
    overrides: tuple[str, ...]
    make: Make


@dataclass(frozen=True, slots=True)
class Made:
    """A file, or why there is none: then ``refusal`` is not empty. ``seconds`` is the export's time."""

    way: Way
    path: Path
    exporter: str
    refusal: str
    seconds: float


def ours(job: Job, model: WrappedModel) -> tuple[onnx.ModelProto, str]:
    """Our export, stamped with its manifest as a bundle's file is."""
    graph = make_graph(job, model)
    manifest = manifest_of(job, model, None, graph.captured.exporter, graph.simplifier)
    return stamped(graph.proto, manifest), graph.captured.exporter


def plainly(
    export: Callable[[WrappedModel], onnx.ModelProto], exporter: str, _: Job, model: WrappedModel
) -> tuple[onnx.ModelProto, str]:
    """An export without us, and its exporter's name."""
    return export(model), exporter


PLAIN = (
    Way("torch.onnx.export, dynamo", "elsewhere", (), partial(plainly, by_dynamo, "torch.export")),
    Way("torch.onnx.export, TorchScript", "elsewhere", (), partial(plainly, by_torchscript, "torchscript")),
)
WAYS = (
    Way(DEFAULT, "ours", (), ours),
    *(
        Way(variant.name, "ours", variant.overrides, ours)
        for variant in variants(traced=False)
        if variant.name in CHOSEN
    ),
    *PLAIN,
)
"""All ways, the default first."""

FAULTY = (DEFAULT, *(way.name for way in PLAIN))
"""The ways whose files are damaged."""


def normed(network: nn.Module) -> bool:
    """Whether a network has batch norms."""
    return any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in network.modules())


def fits(way: Way, network: nn.Module) -> bool:
    """Whether a way says something of a network that the other ways do not.

    Batch norms are left unfolded where there are some. There, opset 25 is left out: torch.export takes most
    of the benchmark's time, and opset 25 is seen on the others.
    """
    if "not folded" in way.name:
        return normed(network)
    return "opset 25" not in way.name or not normed(network)


def made(
    architecture: Architecture, folder: Path, chosen: Callable[[str], bool] = lambda _: True
) -> Iterator[Made]:
    """Export an architecture in its (``chosen``) ways.

    Each export gets a model of its own: some networks keep what a trace left in them.
    """
    for number, way in enumerate(WAYS):
        if not chosen(way.name):
            continue
        model = architecture.model()
        if not fits(way, model.module):
            continue
        path = folder / f"{number}.onnx"
        start = time.perf_counter()
        finish = partial(_finished, way, path, start)
        try:
            with warnings.catch_warnings(), torch.no_grad(), quiet(), no_graph_dump():
                warnings.simplefilter("ignore")
                proto, exporter = way.make(architecture.job(*way.overrides), model)
                onnx.save(proto, path)
        except OnnxproofError as error:
            yield finish("", str(error))
        except Exception as error:  # noqa: BLE001
            # Exporters raise what the traced code and their own passes raise: any type at all.
            yield finish("", _cause(error))
        else:
            yield finish(exporter, "")


def _cause(error: BaseException) -> str:
    """The first line of what an exporter's error goes back to."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {COLOURS.sub('', str(error)).strip().partition(chr(10))[0]}"


def _finished(way: Way, path: Path, start: float, exporter: str, refusal: str) -> Made:
    return Made(way, path, exporter, refusal, time.perf_counter() - start)
