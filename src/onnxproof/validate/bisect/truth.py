"""Record what the wrapped module computes in float64: a fingerprint of every operation's output.

The tensors themselves are not kept. To fetch some, the module runs again.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from onnxproof.errors import CheckError, UserCodeError
from onnxproof.system.usercode import no_exit
from onnxproof.tensors import TensorSpec
from onnxproof.validate.bisect.fingerprint import Fingerprint
from onnxproof.validate.exact.record import Recorder, Visit
from onnxproof.wrappers.double.float64 import Float64

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """One tensor that the module computed.

    ``number`` is its place in the order of computation, the module's inputs first. ``path`` is the innermost
    module that was running. ``sources`` are the numbers of the tensors that it was computed from.
    """

    number: int
    operation: str
    path: str
    sources: tuple[int, ...]
    print: Fingerprint


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What the module computes on one case.

    ``records`` are in the order of their numbers. ``inputs`` and ``outputs`` have the numbers of the module's
    inputs and outputs, by name.
    """

    records: tuple[Record, ...]
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]


class Oracle:
    """The wrapped module in float64, watched."""

    def __init__(self, module: nn.Module, outputs: Sequence[TensorSpec]) -> None:
        self._exact = Float64(module)
        self._module = self._exact.module.eval()
        self._outputs = tuple(outputs)
        self._paths: list[str] = []
        self._warm = False
        for name, part in self._module.named_modules():
            part.register_forward_pre_hook(self._entering(name))
            part.register_forward_hook(self._leaving, always_call=True)

    def truth(self, inputs: Mapping[str, Array]) -> Truth:
        """What the module computes on these inputs. Raises CheckError if it does not run in float64."""
        records: list[Record] = []

        def note(number: int, operation: str, tensor: Tensor, sources: tuple[int, ...]) -> None:
            path = self._paths[-1] if self._paths else ""
            records.append(Record(number, operation, path, sources, Fingerprint.of(_numpy(tensor))))

        try:
            with no_exit("the module's forward"):
                if not self._warm:
                    # A module that caches something in its first run computes less in the second.
                    self._run(inputs, lambda *_: None)
                    self._warm = True
                returned = self._run(inputs, note)
        except UserCodeError:
            raise
        except Exception as error:
            # The model's own code runs here and may raise any type.
            reason = str(error).strip().partition("\n")[0]
            raise CheckError(
                f"the model does not run in float64 ({type(error).__name__}: {reason}), and bisect measures "
                "every node against that: keep the model's dtypes free, or compare whole files with validate"
            ) from error
        if len(returned) != len(self._outputs):
            raise CheckError(
                f"the model returned {len(returned)} outputs, its family declares {len(self._outputs)}"
            )
        names = [spec.name for spec in self._outputs]
        return Truth(
            tuple(records),
            {name: number for number, name in enumerate(inputs)},
            dict(zip(names, returned, strict=True)),
        )

    def fetch(self, inputs: Mapping[str, Array], truth: Truth, numbers: Collection[int]) -> dict[int, Array]:
        """The tensors of these numbers: floats as float64, integers and bools as they are.

        Raises CheckError if the module computes something else in this run.
        """
        found: dict[int, Array] = {}

        def keep(number: int, _: str, tensor: Tensor, __: tuple[int, ...]) -> None:
            if number in numbers:
                found[number] = np.array(_numpy(tensor))

        if numbers:
            self._run(inputs, keep)
        shapes = {number: truth.records[number].print.shape for number in numbers}
        if {number: array.shape for number, array in found.items()} != shapes:
            raise CheckError(
                "the model does not compute the same in two runs on one input, so no node can be compared "
                "with it: take out what is random or remembered from run to run"
            )
        return found

    def _entering(self, name: str) -> Callable[..., None]:
        def enter(*_: object) -> None:
            self._paths.append(name)

        return enter

    def _leaving(self, *_: object) -> None:
        if self._paths:
            self._paths.pop()

    def _run(self, inputs: Mapping[str, Array], visit: Visit) -> list[int]:
        """Run the module under a recorder. Returns the numbers of its outputs."""
        self._paths.clear()
        tensors = [self._exact.widen(torch.from_numpy(np.array(array))) for array in inputs.values()]
        recorder = Recorder(visit)
        with torch.no_grad():
            for tensor in tensors:
                recorder.note("input", tensor, ())
            with recorder, self._exact.running():
                returned = self._module(*tensors)
            flat = returned if isinstance(returned, tuple | list) else (returned,)
            return [recorder.number_of(self._exact.result(tensor)[0]) for tensor in flat]


def _numpy(tensor: Tensor) -> Array:
    """The tensor's numbers; half precision, which NumPy may not know, as float64."""
    plain = tensor.detach().resolve_conj().resolve_neg()
    narrow = plain.is_floating_point() and plain.dtype != torch.float64
    return (plain.to(torch.float64) if narrow else plain).numpy()
