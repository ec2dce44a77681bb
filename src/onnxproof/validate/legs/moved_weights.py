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

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import numpy_helper

from onnxproof.errors import CheckError
from onnxproof.files import scratch_folder
from onnxproof.graph import OnnxGraph, attribute_of, read_proto
from onnxproof.tensors import Field
from onnxproof.validate.legs.leg import Answer, Arrays, Ports, Truth
from onnxproof.validate.legs.onnx_runtime import OrtLeg
from onnxproof.validate.measure import REACH

Array = NDArray[Any]

REFERENCE = "A"
ORACLE = "A moved by an ulp"

LINEAR = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN"})
"""Operators whose weights enter sums of products, so that a unit in their last place is float error."""

PASSING = frozenset({"Cast", "Concat", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
"""Operators that pass their input's values on unchanged."""

CHOOSING = frozenset({"ArgMax", "TopK"})
"""Operators that turn scores into a class index."""

LARGEST_PROTO = 2**31 - 1
"""Bytes that a protobuf message can hold."""


@dataclass(frozen=True, slots=True)
class Lead:
    """Where a label's lead over the next class is read: the tensor that its ArgMax takes, and its axis."""

    tensor: str
    axis: int


class TwoRuns:
    """Runs a file as it is and with its weights moved. Both answers have the same margins.

    The margin of a label is its lead over the next class, read at the ArgMax of the graph:

    - If the label ranks a field, the lead is in that field's unit.
    - If it ranks none, the lead is 0 if float error can undo it and infinite if not. A third run, without
      optimization and with the weights as they are, measures the float error.
    - If the lead cannot be read in either way, it is 0 if the two runs chose different classes and infinite
      if not, so only flips that A itself makes are excused.
    """

    def __init__(
        self, file: Path, fields: Sequence[Field], providers: Sequence[str], threads: int, seed: int
    ) -> None:
        proto = read_proto(file)
        graph = OnnxGraph(proto)
        self.labels = tuple(entry for entry in fields if entry.kind == "label")
        found = {entry.name: find_lead(graph, entry) for entry in self.labels}
        self.leads = {name: lead for name, lead in found.items() if lead is not None}
        self.fields = {entry.name: entry for entry in fields}
        outputs = {value.name for value in proto.graph.output}
        told = {lead.tensor for lead in self.leads.values()} - outputs
        proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in sorted(told))
        self._deployed = OrtLeg(file, providers, threads)
        alone = [name for name in self.leads if self.fields[name].ranks is None]
        self._still = _unoptimized(proto, providers, threads) if alone else None
        self.moved = move_weights(proto, np.random.default_rng(seed))
        self._moved = _unoptimized(proto, providers, threads)
        self._last: tuple[Arrays, Answer, Answer] | None = None

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
        return Truth(oracle=_Run(ORACLE, self, 0), reference=_Run(REFERENCE, self, 1))

    def run(self, inputs: Arrays) -> tuple[Answer, Answer]:
        """The answers with moved weights and as deployed. The last are kept, since both legs ask for them."""
        if self._last is None or self._last[0] is not inputs:
            wanted = self._deployed.run(inputs).outputs
            exact = dict(self._moved.run(inputs).outputs)
            still = {} if self._still is None else self._still.run(inputs).outputs
            margins = {entry.name: self._margins(entry, exact, wanted, still) for entry in self.labels}
            exact = {name: exact[name] for name in wanted}
            told = {name: lead for name, lead in margins.items() if lead is not None}
            self._last = (inputs, Answer(exact, told), Answer(wanted, told))
        return self._last[1:]

    def _margins(self, entry: Field, exact: Arrays, wanted: Arrays, still: Arrays) -> Array | None:
        here, there = (_channels(outputs[entry.output], entry) for outputs in (exact, wanted))
        if here.shape != there.shape:
            return None
        lead = self.leads.get(entry.name)
        if lead is not None and here.size:
            best, ahead = _lead(lead, exact)
            if ahead.size == here.size and entry.ranks is None:
                moves = np.subtract(exact[lead.tensor], still[lead.tensor], dtype=np.float64)
                return np.where(ahead <= 2 * (1 + REACH) * np.abs(moves).max(), 0.0, np.inf)
            ranked = self.fields.get(str(entry.ranks))
            # The lead can be compared with the error of the ranked field only if the scores are that field.
            if ranked is not None and np.array_equal(
                best.ravel(), _channels(exact[ranked.output], ranked).ravel()
            ):
                return ahead
        shape = here.shape[:-1] if here.ndim and here.shape[-1] == 1 else here.shape
        return np.where(here == there, np.inf, 0.0).reshape(shape)


@dataclass(slots=True, eq=False)
class _Run:
    """One of the two runs, as a leg."""

    name: str
    runs: TwoRuns
    place: int

    @property
    def ports(self) -> Ports:
        return self.runs.ports

    def run(self, inputs: Arrays) -> Answer:
        try:
            return self.runs.run(inputs)[self.place]
        except Exception as error:
            # ONNX Runtime's exceptions have no common public base below Exception.
            sizes = ", ".join(f"{name} {list(array.shape)}" for name, array in inputs.items())
            reason = str(error).strip().partition("\n")[0]
            raise CheckError(
                f"A itself cannot run the inputs {sizes}: {reason}; say which sizes it takes, "
                "--dim NAME=RANGE, and which of its axes are one, --inputs NAME=DTYPE[AXES]"
            ) from error


def _unoptimized(proto: onnx.ModelProto, providers: Sequence[str], threads: int) -> OrtLeg:
    """A graph in memory as a leg."""
    with scratch_folder() as folder:
        copy = folder / "model.onnx"
        onnx.save_model(proto, copy, save_as_external_data=proto.ByteSize() > LARGEST_PROTO)
        return OrtLeg(copy, providers, threads, "none")


def move_weights(proto: onnx.ModelProto, random: np.random.Generator) -> int:
    """Move every weight of the model's linear operators to the next float above or below.

    Zeros stay, since pruned weights cost no rounding. Returns how many tensors were moved.
    """
    graph, names = proto.graph, _weights(OnnxGraph(proto))
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


def _weights(graph: OnnxGraph) -> set[str]:
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


def find_lead(graph: OnnxGraph, entry: Field) -> Lead | None:
    """Where the lead of a label can be read: the scores that its ArgMax or TopK takes.

    Returns None if there is no such operator, or several.
    """
    pending: list[ir.Value | None] = [value for value in graph.outputs if value.name == entry.output]
    choosers: dict[str, ir.Node] = {}
    while pending:
        value = pending.pop()
        node = None if value is None else value.producer()
        if node is None:
            continue
        if node.op_type in CHOOSING:
            choosers[str(node.outputs[0].name)] = node
        elif node.op_type in PASSING:
            pending += node.inputs
    if len(choosers) != 1:
        return None
    (node,) = choosers.values()
    scores = node.inputs[0]
    if scores is None:
        return None
    return Lead(str(scores.name), int(attribute_of(node, "axis", -1 if node.op_type == "TopK" else 0)))


def _lead(lead: Lead, outputs: Arrays) -> tuple[Array, Array]:
    """The best of the scores along the axis, and its lead over the next (infinite with one class)."""
    scores = np.moveaxis(outputs[lead.tensor], lead.axis, -1)
    best = scores.max(axis=-1)
    if scores.shape[-1] == 1:
        return best, np.full_like(best, np.inf)
    return best, best - np.partition(scores, -2, axis=-1)[..., -2]


def _channels(values: Array, entry: Field) -> Array:
    return values[..., entry.channels] if values.ndim else values
