"""A file of lower precision: its graph in float64, and how far its own rounding can part two runtimes.

A graph with quantisers is not continuous. Where a number lies in the middle between two steps, the last bit
of a float32 sum decides which one it is rounded to, and all that follows is computed from another integer. So
two runtimes that are both right may differ by more than float32's rounding. How much more depends on the
network, and is measured: the graph is evaluated again with its scales moved a little, and each number that
lies that close to the middle between two steps is rounded to the other one.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from onnxproof.errors import CheckError
from onnxproof.graph import OnnxGraph
from onnxproof.tensors import Field
from onnxproof.validate.exact.arrays import Array, Value
from onnxproof.validate.exact.block import Step
from onnxproof.validate.exact.errors import ExactError
from onnxproof.validate.legs.exact_graph import ExactLeg
from onnxproof.validate.legs.leads import Leads
from onnxproof.validate.legs.leg import Answer, Arrays, Leg, Ports

SHARES = (2.0**-20, 2.0**-16, 2.0**-12, 2.0**-8)
"""By what share of itself a scale is moved at most. The first is eight roundings of float32, what a sum of
some hundred products errs. In a small network that rounds few numbers to another step; then the next share is
taken."""

DRAWS = 3
"""How many times the scales are moved. The errors of all draws are pooled."""

QUANTIZE = "QuantizeLinear"

HALVES = {"fp16": "float16", "bf16": "bfloat16"}


class LoweredRuns:
    """Runs a file's graph in float64, and the leg that the budget judged. Both answers have the same margins.

    ``mode`` is that of ``[precision]``, ``fields`` are those that are compared. The margins are those of
    labels (leads.py).
    """

    def __init__(self, file: Path, fields: Sequence[Field], deployed: Leg, mode: str, threads: int) -> None:
        graph = OnnxGraph.read(file)
        self.leads = Leads.of(graph, fields)
        self.deployed = deployed
        self._file, self._threads = file, threads
        self._own = (HALVES[mode],) if mode in HALVES else ()
        self.graph = ExactLeg(file, threads, own=self._own)
        scales = dict.fromkeys(
            str(node.inputs[1].name)
            for node in graph.top
            if node.op_type == QUANTIZE and node.inputs[1] is not None
        )
        held = self.graph.graph.constants
        self._scales = {name: np.asarray(held[name], np.float64) for name in scales if name in held}

    @property
    def ports(self) -> Ports:
        """The file's inputs and outputs."""
        return self.deployed.ports

    def run(self, inputs: Arrays) -> tuple[Answer, Answer]:
        """The answers in float64 and of the leg that was judged.

        Raises CheckError if the graph cannot be evaluated.
        """
        wanted = self.deployed.run(inputs).outputs
        exact = self._evaluated(self.graph, inputs)
        still = {}
        if self.leads.unranked:
            still = self._evaluated(self._moved(SHARES[0], 0), inputs)
        margins = self.leads.margins(exact, wanted, still)
        return Answer({name: exact[name] for name in wanted}, margins), Answer(wanted, margins)

    def moved(self) -> Iterator[tuple[ExactLeg, ...]]:
        """For each of SHARES the graph in float64 with its scales moved, once a draw.

        Nothing if the graph has no quantiser.
        """
        if self._scales:
            for share in SHARES:
                yield tuple(self._moved(share, seed) for seed in range(DRAWS))

    def _moved(self, share: float, seed: int) -> ExactLeg:
        random = np.random.default_rng(seed)
        scales = {
            name: scale * (1 + share * random.uniform(-1, 1, scale.shape))
            for name, scale in self._scales.items()
        }
        return ExactLeg(self._file, self._threads, constants=scales, own=self._own, label=f"moved {seed}, ")

    def _evaluated(self, leg: ExactLeg, inputs: Arrays) -> dict[str, Array]:
        """The graph's outputs, and the tensors that leads are read from."""
        seen: dict[str, Array] = {}

        def watch(step: Step, _reads: tuple[Value, ...], writes: tuple[Value, ...]) -> None:
            for name, value in zip(step.writes, writes, strict=True):
                if name in self.leads.tensors:
                    seen[name] = np.asarray(value)

        try:
            outputs = leg.evaluate(inputs, watch)
        except ExactError as error:
            raise CheckError(f"the graph is not evaluated in float64: {error}") from error
        lacking = next(iter(leg.graph.unsupported), None)
        if lacking is not None:
            raise CheckError(f"the graph is not evaluated in float64: {lacking}")
        return {**seen, **outputs}
