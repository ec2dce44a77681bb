"""The ways to run a model, and the one that needs no torch: an ONNX file in ONNX Runtime."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import onnxruntime as ort

from onnxproof.runtime.predictor import QUIET, open_session
from onnxproof.validate.facts import Answer, Arrays

Optimization = Literal["none", "basic", "extended", "all"]

LEVELS = {
    "none": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
"""ONNX Runtime's levels of graph optimization by the names that a job uses; "all" is its default."""


class Leg(Protocol):
    """One way to run the model. ``name`` is how the verdict calls it."""

    name: str

    def run(self, inputs: Arrays) -> Answer:
        """The outputs on one case. Raises whatever the backend raises."""


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What candidates are held against: the oracle, None where there is none for the reason in
    ``oracle_missing``, and the reference."""

    oracle: Leg | None
    reference: Leg
    oracle_missing: str | None = None


class OrtLeg:
    """An ONNX file in ONNX Runtime at one of its optimization levels.

    Raises ModelFileError where the file cannot be loaded.
    """

    def __init__(
        self, file: Path, providers: Sequence[str], threads: int, optimization: Optimization = "all"
    ) -> None:
        provider = providers[0].removesuffix("ExecutionProvider").lower()
        self.name = f"ort-{provider}" if optimization == "all" else f"ort-{provider}-{optimization}"
        options = ort.SessionOptions()
        options.graph_optimization_level = LEVELS[optimization]
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = QUIET
        # Legs take turns on the same cores: a spinning thread pool would steal them from PyTorch's.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Memory planned for one size is kept for the next; with many sizes that only grows.
        options.enable_mem_pattern = False
        self.session = open_session(file, options, providers)
        self.output_names = tuple(output.name for output in self.session.get_outputs())

    def run(self, inputs: Arrays) -> Answer:
        returned = self.session.run(list(self.output_names), dict(inputs))
        return Answer(dict(zip(self.output_names, returned, strict=True)), {})
