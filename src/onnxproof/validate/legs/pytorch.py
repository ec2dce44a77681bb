"""The wrapped model in PyTorch: the oracle in float64, the reference in the model's own dtype."""

import platform
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from onnxproof.errors import CheckError, UserCodeError
from onnxproof.system.usercode import no_exit
from onnxproof.validate.cases import Case, materialise
from onnxproof.validate.legs.choices import may_be_chosen
from onnxproof.validate.legs.leg import Answer, Arrays, Ports, Truth
from onnxproof.validate.legs.recorder import ChoiceRecorder
from onnxproof.validate.legs.repeats import differs_when_repeated
from onnxproof.validate.legs.ties import TossedTies
from onnxproof.wrappers.alone import alone
from onnxproof.wrappers.attention import without_fast_path
from onnxproof.wrappers.control_flow import unfolded
from onnxproof.wrappers.copies import copied
from onnxproof.wrappers.double.float64 import Float64
from onnxproof.wrappers.double.weights import Move, lendable
from onnxproof.wrappers.family import WrappedModel
from onnxproof.wrappers.rounding import Rounding, with_rounded_weights
from onnxproof.wrappers.weights import tensor_of

ORACLE = "torch-float64"

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
"""Where an object lies in memory, as Python prints it: another place in each run."""


class TorchLeg:
    """The wrapped module on the CPU: as it is, the reference.

    It is named after the dtype of the model's float outputs, for example "torch-float32", or after the one to
    which the model is rounded. It shares the parameters of a large module.
    """

    def __init__(self, model: WrappedModel, threads: int) -> None:
        answered = [spec.dtype for spec in model.contract.outputs if "float" in spec.dtype]
        self.name = f"torch-{answered[0] if answered else 'float32'}"
        self.ports = Ports.of(model.contract)
        self._threads = threads
        self._chooses = _chooses(model)
        self._rounding: AbstractContextManager[object] = nullcontext()
        if model.rounded_to == "float32":
            self._module = copied(model.module, lendable(model.module).values()).eval()
        else:
            self.name = f"torch-{model.rounded_to}"
            self._module = with_rounded_weights(model.module, model.rounded_to).eval()
            self._rounding = Rounding(model.rounded_to)

    def run(self, inputs: Arrays) -> Answer:
        torch.set_num_threads(self._threads)
        tensors = [
            tensor_of(np.asarray(array, order="C"), port.dtype)
            for port, array in zip(self.ports.inputs, inputs.values(), strict=True)
        ]
        recorder = ChoiceRecorder() if self._chooses else None
        with (
            alone(),
            torch.inference_mode(),
            without_fast_path(),
            unfolded(),
            no_exit("the module's forward"),
            recorder or nullcontext(),
            self._rounding,
        ):
            outputs, margins = _call(self._module, tensors, self.ports)
        choices = {} if recorder is None else recorder.choices(outputs)
        return Answer(_to_numpy(outputs), _to_numpy(margins), choices)


class OracleLeg:
    """The wrapped module in float64, on the CPU: the same weights, every operation in double.

    Whatever the module asks for in float32 it gets in float64 (wrappers/double). ``rounded`` has the
    outputs of the last run that went through float32 all the same, and for each the reason. ``rewritten``
    names the parameters and buffers that the runs so far replaced or wrote into. ``move`` gives other numbers
    in place of the module's floats, and ties that PyTorch leaves open are tossed (ties.py).
    """

    def __init__(self, model: WrappedModel, threads: int, move: Move | None = None) -> None:
        self.name = ORACLE
        self.ports = Ports.of(model.contract)
        self.rounded: Mapping[str, str] = {}
        self._threads = threads
        self._chooses = _chooses(model)
        self._exact = Float64(model.module, move)
        self._exact.module.eval()
        self._is_moved = move is not None

    @property
    def rewritten(self) -> frozenset[str]:
        return self._exact.rewritten

    def run(self, inputs: Arrays) -> Answer:
        """The inputs stand for the declared dtypes, also if they are given in float64."""
        torch.set_num_threads(self._threads)
        tensors = [
            self._exact.widen(torch.from_numpy(np.asarray(array, order="C")), getattr(torch, port.dtype))
            for port, array in zip(self.ports.inputs, inputs.values(), strict=True)
        ]
        recorder = ChoiceRecorder() if self._chooses else None
        tossed = TossedTies(0) if self._is_moved else nullcontext()
        with no_exit("the module's forward"), recorder or nullcontext(), self._exact.running(), tossed:
            outputs, margins = _call(self._exact.module, tensors, self.ports)
        choices = {} if recorder is None else recorder.choices(outputs)
        told = {name: self._exact.result(tensor) for name, tensor in outputs.items()}
        self.rounded = {name: reason for name, (_, reason) in told.items() if reason is not None}
        exact = {name: tensor for name, (tensor, _) in told.items()}
        return Answer(_to_numpy(exact), _to_numpy(margins), choices)


def torch_truth(model: WrappedModel, case: Case, threads: int) -> Truth:
    """The wrapped model as oracle and reference.

    There is an oracle if the model runs on ``case`` in float64. An output that goes through float32 there
    has no float64 value. There is no oracle if the model is unsteady: then it is no wonder if the two differ.
    """
    reference = TorchLeg(model, threads)
    arrays = materialise(case, model.contract.inputs, model.contract.preprocess)
    another = replace(case, seed=case.seed + 1)
    other = materialise(another, model.contract.inputs, model.contract.preprocess)
    unsteady = _unsteady(reference, arrays, other)
    if unsteady is not None:
        return Truth(None, reference, unsteady=unsteady)
    try:
        oracle = OracleLeg(model, threads)
        oracle.run(arrays)
    except UserCodeError:
        raise
    except Exception as error:  # noqa: BLE001
        # A module with a fixed dtype somewhere may raise any type.
        reason = _ADDRESS.sub("", str(error).strip().partition("\n")[0])
        if not isinstance(error, NotImplementedError):
            reason = f"{type(error).__name__}: {reason}"
        return Truth(None, reference, dict.fromkeys((spec.name for spec in model.contract.outputs), reason))
    return Truth(oracle, reference, oracle.rounded, rewritten=oracle.rewritten)


def processor() -> str:
    """The kind of this machine's processor, and by which of its instructions PyTorch chooses kernels."""
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"


def _chooses(model: WrappedModel) -> bool:
    """Whether an output may be an integer that was chosen. To follow such outputs costs time."""
    chosen = any(may_be_chosen(entry) for entry in model.contract.fields)
    return chosen and not hasattr(model.module, "forward_with_margins")


def _unsteady(reference: TorchLeg, arrays: Arrays, other: Arrays) -> str | None:
    """How the reference differs from run to run. Returns None if it does not, or if it does not run at all:
    the sweep tells that with the case and its sizes."""
    try:
        return differs_when_repeated(reference, arrays, other)
    except UserCodeError:
        raise
    except Exception:  # noqa: BLE001
        # The model's own code runs here and may raise any type.
        return None


def _call(
    module: nn.Module, tensors: Sequence[Tensor], ports: Ports
) -> tuple[dict[str, Tensor], Mapping[str, Tensor]]:
    """The module's outputs, by their declared names, and its margins."""
    margins: Mapping[str, Tensor] = {}
    with_margins = getattr(module, "forward_with_margins", None)
    if with_margins is not None:
        returned, margins = with_margins(*tensors)
    else:
        returned = module(*tensors)
    outputs = returned if isinstance(returned, tuple | list) else (returned,)
    declared = [port.name for port in ports.outputs]
    if len(outputs) != len(declared):
        raise CheckError(f"the model returned {len(outputs)} outputs, its family declares {len(declared)}")
    return dict(zip(declared, outputs, strict=True)), margins


def _to_numpy(tensors: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    """The tensors as arrays; NumPy has no bfloat16, so its numbers are held in float32."""
    plain = {name: one.float() if one.dtype == torch.bfloat16 else one for name, one in tensors.items()}
    return {name: one.numpy() for name, one in plain.items()}
