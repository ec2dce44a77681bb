"""The ways to run a wrapped model: PyTorch in float64, PyTorch in float32, ONNX Runtime."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from onnxproof.errors import CheckError
from onnxproof.runtime.predictor import QUIET, open_session
from onnxproof.tensors import TensorSpec
from onnxproof.validate.facts import Answer, Arrays

ORACLE = "torch-float64"
REFERENCE = "torch-float32"


class Leg(Protocol):
    """One way to run the model. ``name`` is how the verdict calls it."""

    name: str

    def run(self, inputs: Arrays) -> Answer:
        """The outputs on one case. Raises whatever the backend raises."""


class TorchLeg:
    """The wrapped module in one float dtype, on the CPU.

    ``dtype`` float64 makes the oracle: the same weights, every operation in double. Inputs in float
    are converted to it exactly; others are passed as they are.
    """

    def __init__(
        self, module: nn.Module, dtype: torch.dtype, outputs: Sequence[TensorSpec], threads: int
    ) -> None:
        self.name = {torch.float64: ORACLE, torch.float32: REFERENCE}[dtype]
        self._module = copy.deepcopy(module).to(dtype).eval()
        self._dtype = dtype
        self._outputs = tuple(spec.name for spec in outputs)
        self._threads = threads

    def run(self, inputs: Arrays) -> Answer:
        torch.set_num_threads(self._threads)
        tensors = [torch.from_numpy(np.ascontiguousarray(array)) for array in inputs.values()]
        tensors = [tensor.to(self._dtype) if tensor.is_floating_point() else tensor for tensor in tensors]
        with torch.inference_mode():
            outputs, margins = self._call(tensors)
        if len(outputs) != len(self._outputs):
            raise CheckError(
                f"the model returned {len(outputs)} outputs, its family declares {len(self._outputs)}"
            )
        named = dict(zip(self._outputs, outputs, strict=True))
        return Answer(_to_numpy(named), _to_numpy(margins))

    def _call(self, tensors: Sequence[Tensor]) -> tuple[Sequence[Tensor], Mapping[str, Tensor]]:
        with_margins = getattr(self._module, "forward_with_margins", None)
        if with_margins is not None:
            outputs, margins = with_margins(*tensors)
            return outputs, margins
        returned = self._module(*tensors)
        return (returned if isinstance(returned, tuple | list) else (returned,)), {}


class OrtLeg:
    """An ONNX file in ONNX Runtime at its default optimization level.

    Raises ModelFileError where the file cannot be loaded.
    """

    def __init__(self, file: Path, providers: Sequence[str], threads: int) -> None:
        provider = providers[0].removesuffix("ExecutionProvider").lower()
        self.name = f"ort-{provider}"
        options = ort.SessionOptions()
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


def _to_numpy(tensors: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    return {name: tensor.numpy() for name, tensor in tensors.items()}
