"""The wrapped model in PyTorch: the oracle in float64, the reference in float32."""

import copy
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onnxproof.errors import CheckError, UserCodeError
from onnxproof.runtime.port import Port
from onnxproof.tensors import TensorSpec
from onnxproof.usercode import no_exit
from onnxproof.validate.cases import Case, materialise
from onnxproof.validate.legs.choices import may_be_chosen
from onnxproof.validate.legs.leg import Answer, Arrays, Ports, Truth
from onnxproof.validate.legs.recorder import ChoiceRecorder
from onnxproof.validate.legs.repeats import differs_when_repeated
from onnxproof.wrappers.family import WrappedModel

ORACLE = "torch-float64"
REFERENCE = "torch-float32"


class TorchLeg:
    """The wrapped module in one float dtype, on the CPU.

    With ``dtype`` float64 it is the oracle: the same weights, every operation in double. Float inputs are
    converted to ``dtype``, from float32 without loss; others are passed as they are.
    """

    def __init__(self, model: WrappedModel, dtype: torch.dtype, threads: int) -> None:
        self.name = {torch.float64: ORACLE, torch.float32: REFERENCE}[dtype]
        self.ports = Ports(_ports(model.contract.inputs), _ports(model.contract.outputs))
        self._module = copy.deepcopy(model.module).to(dtype).eval()
        self._dtype = dtype
        self._threads = threads
        # Nothing is recorded if no output may be an integer that was chosen: following them costs time.
        self._has_choices = any(may_be_chosen(entry) for entry in model.contract.fields) and not hasattr(
            model.module, "forward_with_margins"
        )

    def run(self, inputs: Arrays) -> Answer:
        torch.set_num_threads(self._threads)
        tensors = [torch.from_numpy(np.ascontiguousarray(array)) for array in inputs.values()]
        tensors = [tensor.to(self._dtype) if tensor.is_floating_point() else tensor for tensor in tensors]
        recorder = ChoiceRecorder() if self._has_choices else None
        with torch.inference_mode(), no_exit("the module's forward"), recorder or nullcontext():
            outputs, margins = self._call(tensors)
        declared = [port.name for port in self.ports.outputs]
        if len(outputs) != len(declared):
            raise CheckError(
                f"the model returned {len(outputs)} outputs, its family declares {len(declared)}"
            )
        named = dict(zip(declared, outputs, strict=True))
        choices = {} if recorder is None else recorder.choices(named)
        return Answer(_to_numpy(named), _to_numpy(margins), choices)

    def _call(self, tensors: Sequence[Tensor]) -> tuple[Sequence[Tensor], Mapping[str, Tensor]]:
        with_margins = getattr(self._module, "forward_with_margins", None)
        if with_margins is not None:
            outputs, margins = with_margins(*tensors)
            return outputs, margins
        returned = self._module(*tensors)
        return (returned if isinstance(returned, tuple | list) else (returned,)), {}


def torch_truth(model: WrappedModel, case: Case, threads: int) -> Truth:
    """The wrapped model as oracle and reference.

    There is an oracle if the model runs on ``case`` in float64, for those of its float outputs that are
    float64. There is none if the model is unsteady: then it is no wonder if the two differ.
    """
    reference = TorchLeg(model, torch.float32, threads)
    arrays = materialise(case, model.contract.inputs, model.contract.preprocess)
    unsteady = _unsteady(reference, arrays)
    if unsteady is not None:
        return Truth(None, reference, unsteady=unsteady)
    try:
        oracle = TorchLeg(model, torch.float64, threads)
        answer = oracle.run(arrays)
    except UserCodeError:
        raise
    except Exception as error:  # noqa: BLE001
        # A module with a fixed dtype somewhere may raise any type.
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        return Truth(None, reference, dict.fromkeys((spec.name for spec in model.contract.outputs), reason))
    single = {
        name: f"it is {array.dtype} even then"
        for name, array in answer.outputs.items()
        if array.dtype.kind == "f" and array.itemsize < 8
    }
    return Truth(oracle, reference, single)


def _unsteady(reference: TorchLeg, arrays: Arrays) -> str | None:
    """How the reference differs from run to run. Returns None if it does not, or if it does not run at all:
    the sweep tells that with the case and its sizes."""
    try:
        return differs_when_repeated(reference, arrays)
    except UserCodeError:
        raise
    except Exception:  # noqa: BLE001
        # The model's own code runs here and may raise any type.
        return None


def _ports(specs: Sequence[TensorSpec]) -> tuple[Port, ...]:
    return tuple(Port(spec.name, spec.dtype, spec.shape) for spec in specs)


def _to_numpy(tensors: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    return {name: tensor.numpy() for name, tensor in tensors.items()}
