"""What a small network of a library is, and what keeps its numbers alive untrained."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from onnxproof.export.examples import capture_sizes, example_inputs
from onnxproof.job import Job
from onnxproof.job.document import override
from onnxproof.wrappers.family import WrappedModel
from onnxproof.wrappers.wrap import wrap_for_job

SEED = 0

BATCH_AXIS = "batch"
CALIBRATED_ON = 8
"""How many inputs give batch norms their statistics."""

STILL = 0.05
"""A vector of parameters whose largest magnitude is below this is as its initialization left it: a layer
scale of 1e-6, a bias of zeros, a gate that is shut."""

QUICK = ("validate.effort=quick", "validate.threads=1")

FREE = {"batch": "1..3", "height": "64..128 step 32", "width": "64..128 step 32"}
"""The sizes of a network that takes pictures of any size."""

FREE_PICTURE = {"image": "float32[batch, 3, height, width] in -2..2"}

BATCH = {"batch": "1..3"}

STEPS = {"batch": "1..3", "time": "4..12"}
"""The sizes of a network that takes sequences of any length."""

TOKENS = {"input_ids": "int64[batch, time] in 0..99", "attention_mask": "int64[batch, time] as mask"}


def picture(size: int) -> dict[str, str]:
    """The input of a network that takes pictures of one size."""
    return {"image": f"float32[batch, 3, {size}, {size}] in -2..2"}


class Chosen(nn.Module):
    """A network that is called with named inputs, and one of whose answers is kept.

    ``answer`` is its name or its place. ``more`` are arguments that are always the same.
    """

    def __init__(self, network: nn.Module, names: tuple[str, ...], answer: str | int, **more: Any) -> None:
        super().__init__()
        self.network = network
        self.names = names
        self.answer = answer
        self.more = more

    def forward(self, *inputs: Tensor) -> Any:
        """The chosen answer, with its tensors as the network nests them."""
        answers = self.network(**dict(zip(self.names, inputs, strict=True)), **self.more)
        return answers[self.answer]


def made(target: str, *arguments: Any, **options: Any) -> Any:
    """What "package.module:Class" makes of arguments. The package is imported now."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)(*arguments, **options)


def by(target: str, *arguments: Any, **options: Any) -> Callable[[], nn.Module]:
    """A ``build`` that calls "package.module:Class", and imports the package when it is called."""
    return partial(made, target, *arguments, **options)


@dataclass(frozen=True, slots=True)
class Architecture:
    """A small network of a library, seeded.

    ``inputs`` and ``dims`` are those of a job. ``build`` makes the network with random weights.
    """

    name: str
    library: str
    build: Callable[[], nn.Module]
    inputs: Mapping[str, str] = field(default_factory=lambda: FREE_PICTURE)
    dims: Mapping[str, str] = field(default_factory=lambda: FREE)

    def job(self, *overrides: str) -> Job:
        """The job of the architecture, with overrides behind its own."""
        document = {
            "name": self.name,
            "model": {"family": "module", "task": "raw"},
            "inputs": dict(self.inputs),
            "dims": dict(self.dims),
        }
        return Job.from_document(override(document, (*QUICK, *overrides)), folder=Path(), source=self.name)

    def network(self) -> nn.Module:
        """The network, its weights and statistics alive; the same at every call."""
        torch.manual_seed(SEED)
        network = self.build().eval()
        model = wrap_for_job(self.job(), network)
        sizes = {**capture_sizes(model.contract.dims), BATCH_AXIS: CALIBRATED_ON}
        enliven(model.module, *example_inputs(model.contract.inputs, sizes))
        return network

    def model(self) -> WrappedModel:
        """The wrapped network, the same at every call."""
        return wrap_for_job(self.job(), self.network())


def enliven(network: nn.Module, *inputs: Tensor) -> None:
    """Move what an initialization leaves at rest, and give batch norms the statistics of ``inputs``.

    Zero weights, shut gates and biases of zero would hide a fault, and so would norms that change nothing.
    """
    random = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.is_floating_point():
                continue
            noise = torch.randn(parameter.shape, generator=random, dtype=parameter.dtype)
            if parameter.ndim <= 1:
                still = bool(parameter.abs().max() < STILL)
                parameter.add_(noise, alpha=0.1 if not still else 0.2)
            elif parameter.min() == parameter.max():
                parameter.add_(noise, alpha=0.05)
        norms = [layer for layer in network.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.momentum = 1.0
            norm.train()
        if norms:
            network(*inputs)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()
