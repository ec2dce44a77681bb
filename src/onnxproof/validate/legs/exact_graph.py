"""An ONNX file's graph in float64: what the file states, without the error of any runtime."""

from collections.abc import Collection, Mapping
from os import PathLike
from types import MappingProxyType

import torch
from onnx import ModelProto

from onnxproof.validate.exact.arrays import Array
from onnxproof.validate.exact.block import Watch
from onnxproof.validate.exact.graph import ExactGraph
from onnxproof.validate.exact.later import Constant
from onnxproof.validate.legs.leg import GRAPH, Answer, Arrays, Ports


class ExactLeg:
    """A graph evaluated in float64, on the CPU with ``threads`` threads.

    ``model``, ``constants``, ``attributes`` and ``own`` are those of ``ExactGraph``, and so are the errors
    raised. Float outputs are float64, whatever the ports declare. An output that depends on an operator that
    is not evaluated here is left out of the answer; ``graph.unsupported`` names it. ``label`` is a prefix of
    the leg's name. ``watch`` is called in each ``run``, as that of ``ExactGraph.run``.
    """

    def __init__(
        self,
        model: ModelProto | str | PathLike[str],
        threads: int,
        *,
        constants: Mapping[str, Constant] = MappingProxyType({}),
        attributes: Mapping[tuple[str, str], float] = MappingProxyType({}),
        own: Collection[str] = (),
        label: str = "",
        watch: Watch | None = None,
    ) -> None:
        self.name = f"{label}{GRAPH}"
        self.graph = ExactGraph(model, constants=constants, attributes=attributes, own=own)
        self.ports = Ports(self.graph.inputs, self.graph.outputs)
        self._threads = threads
        self._watch = watch

    def run(self, inputs: Arrays) -> Answer:
        return Answer(self.evaluate(inputs, self._watch), {})

    def evaluate(self, inputs: Arrays, watch: Watch | None = None) -> dict[str, Array]:
        """The outputs by name. ``watch`` is that of ``ExactGraph.run``."""
        torch.set_num_threads(self._threads)
        return self.graph.run(inputs, watch=watch)
