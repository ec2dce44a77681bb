"""Estimate the float error of an ONNX file from the file alone, without torch and without a checkpoint.

The file takes PyTorch's place and runs twice:

- as it is deployed, with every optimization. This run is the reference.
- without optimization, each weight of its linear operators moved up or down at random, with a fixed seed, by
  one unit in the last place. This run stands in for the oracle.

Moved weights make the two runs round differently everywhere, even if optimization changes nothing, and show
how well the file is conditioned. One unit is what another exporter, a folded batch norm or another order of
summation costs a weight. Parker's Monte Carlo arithmetic (1997) perturbs operands in the same way to learn
how many digits are significant.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import numpy_helper

from onnxproof.graph import OnnxGraph, read_proto
from onnxproof.tensors import Field
from onnxproof.validate.legs.file_a import return_also, truth_of, unoptimized
from onnxproof.validate.legs.leads import PASSING, Leads
from onnxproof.validate.legs.leg import Answer, Arrays, Ports, Truth
from onnxproof.validate.legs.onnx_runtime import OrtLeg

Array = NDArray[Any]

ORACLE = "A moved by an ulp"

LINEAR = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN"})
"""Operators whose weights enter sums of products, so that a unit in their last place is float error."""


class TwoRuns:
    """Runs a file as it is and with its weights moved. Both answers have the same margins.

    The margins are those of labels (leads.py). A third run, without optimization and with the weights as they
    are, measures the float error of scores that are no field.
    """

    def __init__(
        self, file: Path, fields: Sequence[Field], providers: Sequence[str], threads: int, seed: int
    ) -> None:
        proto = read_proto(file)
        graph = OnnxGraph(proto)
        self.leads, weights = Leads.of(graph, fields), weights_in(graph)
        self._deployed = OrtLeg(file, providers, threads)
        return_also(proto, self.leads.tensors)
        self._still = unoptimized(proto, providers, threads) if self.leads.unranked else None
        self.moved = move_weights(proto, weights, np.random.default_rng(seed))
        self._moved = unoptimized(proto, providers, threads)

    @property
    def ports(self) -> Ports:
        """The file's inputs and outputs."""
        return self._deployed.ports

    @property
    def notes(self) -> tuple[str, ...]:
        """A note if no weight could be moved."""
        if self.moved:
            return ()
        return ("A has no weights that could be moved: its float error is estimated from optimization alone",)

    def truth(self) -> Truth:
        """The two runs as the legs that a candidate is compared with."""
        return truth_of(self, ORACLE)

    def run(self, inputs: Arrays) -> tuple[Answer, Answer]:
        """The answers with moved weights and as deployed."""
        wanted = self._deployed.run(inputs).outputs
        exact = dict(self._moved.run(inputs).outputs)
        still = {} if self._still is None else self._still.run(inputs).outputs
        margins = self.leads.margins(exact, wanted, still)
        return Answer({name: exact[name] for name in wanted}, margins), Answer(wanted, margins)


def move_weights(proto: onnx.ModelProto, names: Collection[str], random: np.random.Generator) -> int:
    """Move the weights of these names to the next float above or below.

    Zeros stay, since pruned weights cost no rounding. Returns how many tensors were moved.
    """
    graph = proto.graph
    tensors = [tensor for tensor in graph.initializer if tensor.name in names]
    tensors += [
        attribute.t
        for node in graph.node
        if node.op_type == "Constant" and node.output[0] in names
        for attribute in node.attribute
        if attribute.name == "value"
    ]
    moved = 0
    for tensor in tensors:
        values = numpy_helper.to_array(tensor)
        if values.dtype.kind != "f":
            continue
        towards = np.where(random.random(values.shape) < 0.5, -np.inf, np.inf).astype(values.dtype)
        next_to = np.nextafter(values, towards)
        keep = (values == 0) | ~np.isfinite(values) | ~np.isfinite(next_to)
        tensor.CopyFrom(numpy_helper.from_array(np.where(keep, values, next_to), tensor.name))
        moved += 1
    return moved


def weights_in(graph: OnnxGraph) -> set[str]:
    """The names of constants that reach a linear operator, directly or through PASSING operators."""
    pending = [value for node in graph.top if node.op_type in LINEAR for value in node.inputs]
    seen: set[ir.Value] = set()
    while pending:
        value = pending.pop()
        if value is None or value in seen:
            continue
        seen.add(value)
        maker = value.producer()
        if maker is not None and maker.op_type in PASSING:
            pending += maker.inputs[:1]
    return {str(value.name) for value in seen} & graph.constants.keys()
