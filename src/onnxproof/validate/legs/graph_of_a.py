"""File A's graph in float64 as the oracle of a comparison, and A in ONNX Runtime as its reference."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from onnxproof.graph import OnnxGraph, read_proto
from onnxproof.tensors import Field
from onnxproof.validate.exact.arrays import Array, Value
from onnxproof.validate.exact.block import Step
from onnxproof.validate.exact.constants import Proven
from onnxproof.validate.exact.errors import ExactError
from onnxproof.validate.legs.exact_graph import ExactLeg
from onnxproof.validate.legs.file_a import NotEvaluatedError, return_also, unoptimized
from onnxproof.validate.legs.leads import Leads
from onnxproof.validate.legs.leg import Answer, Arrays, Ports
from onnxproof.validate.legs.onnx_runtime import OrtLeg
from onnxproof.validate.trial import Settings

ORACLE = "A's graph in float64"


class GraphOfA:
    """Runs a file's graph in float64, and the file in ONNX Runtime. Both answers have the same margins.

    ``graph`` is the file's, and ``proven`` its constants. ``fields`` are those that are compared. The margins
    are those of labels (leads.py); a run without optimization measures the float error of scores that are no
    field.
    """

    def __init__(
        self, file: Path, graph: OnnxGraph, fields: Sequence[Field], settings: Settings, proven: Proven
    ) -> None:
        self.leads = Leads.of(graph, fields)
        self.graph = ExactLeg(
            file,
            settings.threads,
            constants=proven.exact,
            attributes=proven.attributes,
            own=proven.own,
            label="A, ",
        )
        self._deployed = OrtLeg(file, settings.providers, settings.threads)
        self._still: OrtLeg | None = None
        if self.leads.unranked:
            proto = read_proto(file)
            return_also(proto, self.leads.tensors)
            self._still = unoptimized(proto, settings.providers, settings.threads)

    @property
    def ports(self) -> Ports:
        """The file's inputs and outputs."""
        return self._deployed.ports

    def require(self, inputs: Arrays) -> None:
        """Raises NotEvaluatedError if an output cannot be evaluated on these inputs.

        ONNX Runtime runs first: a graph that takes all memory is refused there, and not evaluated.
        """
        try:
            self._deployed.run(inputs)
        except Exception as error:
            # ONNX Runtime's exceptions have no common public base below Exception.
            raise NotEvaluatedError("A does not run in ONNX Runtime") from error
        self._evaluated(inputs)

    def run(self, inputs: Arrays) -> tuple[Answer, Answer]:
        """The answers in float64 and in ONNX Runtime."""
        wanted = self._deployed.run(inputs).outputs
        exact = self._evaluated(inputs)
        still = {} if self._still is None else self._still.run(inputs).outputs
        margins = self.leads.margins(exact, wanted, still)
        return Answer({name: exact[name] for name in wanted}, margins), Answer(wanted, margins)

    def _evaluated(self, inputs: Arrays) -> dict[str, Array]:
        """The graph's outputs, and the tensors that leads are read from."""
        seen: dict[str, Array] = {}

        def watch(step: Step, _reads: tuple[Value, ...], writes: tuple[Value, ...]) -> None:
            for name, value in zip(step.writes, writes, strict=True):
                if name in self.leads.tensors:
                    seen[name] = np.asarray(value)

        try:
            outputs = self.graph.evaluate(inputs, watch)
        except ExactError as error:
            raise NotEvaluatedError(f"A's graph is not evaluated in float64: {error}") from error
        lacking = next(iter(self.graph.graph.unsupported), None)
        if lacking is not None:
            raise NotEvaluatedError(f"A's graph is not evaluated in float64: {lacking}")
        return {**seen, **outputs}
