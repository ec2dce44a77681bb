"""An ONNX file in ONNX Runtime."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import onnxruntime as ort

from onnxproof.runtime.plain import Port
from onnxproof.runtime.predictor import QUIET, metadata_of, open_session
from onnxproof.validate.legs.leg import Answer, Arrays, Ports

Optimization = Literal["none", "basic", "extended", "all"]

LEVELS = {
    "none": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
"""ONNX Runtime's levels of graph optimization by the names that a job uses; "all" is its default."""


class OrtLeg:
    """An ONNX file in ONNX Runtime at one of its optimization levels.

    ``metadata`` is the file's own, by key. ``label`` stands before the name. Raises ModelFileError if the
    file cannot be loaded.
    """

    def __init__(
        self,
        file: Path,
        providers: Sequence[str],
        threads: int,
        optimization: Optimization = "all",
        label: str = "",
    ) -> None:
        provider = providers[0].removesuffix("ExecutionProvider").lower()
        level = "" if optimization == "all" else f"-{optimization}"
        self.name = f"{label}ort-{provider}{level}"
        options = ort.SessionOptions()
        options.graph_optimization_level = LEVELS[optimization]
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = QUIET
        # Legs take turns on the same cores: a spinning thread pool would steal them from PyTorch's.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Memory planned for one size is kept for the next; with many sizes that only grows.
        options.enable_mem_pattern = False
        self._session = open_session(file, options, providers)
        self.ports = Ports(
            tuple(map(Port.of, self._session.get_inputs())), tuple(map(Port.of, self._session.get_outputs()))
        )
        self.metadata = metadata_of(self._session, file)

    def run(self, inputs: Arrays) -> Answer:
        names = [port.name for port in self.ports.outputs]
        returned = self._session.run(names, dict(inputs))
        return Answer(dict(zip(names, returned, strict=True)), {})
