"""Record what the wrapped module computes in float64: a fingerprint of every operation's output.

The tensors themselves are not kept. To fetch one, the module runs again. The tensors after it are then held
too, up to a budget of bytes, since a walk of the graph needs those next.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from onnxproof.errors import CheckError, UserCodeError
from onnxproof.tensors import TensorSpec
from onnxproof.usercode import no_exit
from onnxproof.validate.exact.record import Recorder, Visit
from onnxproof.wrappers.double.float64 import Float64

Array = NDArray[Any]

BUDGET = 256 * 2**20
"""Bytes of float64 intermediates that are held at once."""

SAMPLES = 64
"""Elements of a tensor that make its fingerprint."""


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """One tensor that the module computed.

    ``number`` is its place in the order of computation, the module's inputs first. ``path`` is the innermost
    module that was running. ``sources`` are the numbers of the tensors that it was computed from. ``kind`` is
    "f", "i" or "b". ``sample`` has the values at ``positions(shape)``, float64 [up to SAMPLES].
    """

    number: int
    operation: str
    path: str
    shape: tuple[int, ...]
    kind: str
    sources: tuple[int, ...]
    sample: Array


@lru_cache(maxsize=4096)
def positions(shape: tuple[int, ...]) -> tuple[Array, ...]:
    """Seeded places in a tensor of a shape, the same in every run: an index array for each axis."""
    size = int(np.prod(shape))
    flat: Array = np.arange(size)
    if size > SAMPLES:
        flat = np.sort(np.random.default_rng(size).choice(size, SAMPLES, replace=False))
    return np.unravel_index(flat, shape) if shape else ()


def kind_of(dtype: str) -> str:
    """ "f" for floats, "b" for bool, "i" for integers, "" for what is not compared."""
    if dtype.startswith(("float", "bfloat")):
        return "f"
    return "b" if dtype == "bool" else "i" if "int" in dtype else ""


class Truth:
    """The wrapped module in float64 on one case.

    ``records`` has every tensor's fingerprint, by number. ``outputs`` has the numbers of the module's
    outputs, by name. ``peak`` is the most bytes of tensors that were held at once. Raises CheckError if the
    module does not run in float64.
    """

    def __init__(
        self,
        module: nn.Module,
        inputs: Mapping[str, Array],
        outputs: Sequence[TensorSpec],
        *,
        budget: int = BUDGET,
    ) -> None:
        self._exact = Float64(module)
        self._module = self._exact.module.eval()
        self._paths: list[str] = []
        for name, part in self._module.named_modules():
            part.register_forward_pre_hook(self._entering(name))
            part.register_forward_hook(self._leaving, always_call=True)
        self._inputs = dict(inputs)
        self._budget = budget
        self._held: dict[int, Array] = {}
        self.peak = 0
        self.runs = 0
        self.records: list[Record] = []
        try:
            with no_exit("the module's forward"):
                # A module that caches something in its first run computes less in the second.
                self._run(lambda *_: None)
                self._paths.clear()
                returned = self._run(self._fingerprint)
        except UserCodeError:
            raise
        except Exception as error:
            # The model's own code runs here and may raise any type.
            reason = str(error).strip().partition("\n")[0]
            raise CheckError(
                f"the model does not run in float64 ({type(error).__name__}: {reason}), and bisect measures "
                "every node against that: keep the model's dtypes free, or compare whole files with validate"
            ) from error
        if len(returned) != len(outputs):
            raise CheckError(
                f"the model returned {len(returned)} outputs, its family declares {len(outputs)}"
            )
        self.outputs = {spec.name: number for spec, number in zip(outputs, returned, strict=True)}
        self.inputs = {name: number for number, name in enumerate(self._inputs)}
        self.consumers: dict[int, list[int]] = {}
        for record in self.records:
            for source in record.sources:
                self.consumers.setdefault(source, []).append(record.number)

    def fetch(self, number: int) -> Array:
        """The tensor of that number: floats as float64, integers and bools as they were."""
        if number not in self._held:
            self._refill(number)
        return self._held[number]

    def _entering(self, name: str) -> Callable[..., None]:
        def enter(*_: object) -> None:
            self._paths.append(name)

        return enter

    def _leaving(self, *_: object) -> None:
        if self._paths:
            self._paths.pop()

    def _fingerprint(self, number: int, operation: str, tensor: Tensor, sources: tuple[int, ...]) -> None:
        shape = tuple(tensor.shape)
        index = tuple(torch.from_numpy(axis) for axis in positions(shape))
        sample = (tensor[index] if index else tensor).reshape(-1).to(torch.float64).numpy()
        kind = kind_of(str(tensor.dtype).removeprefix("torch."))
        path = self._paths[-1] if self._paths else ""
        self.records.append(Record(number, operation, path, shape, kind, sources, np.array(sample)))

    def _refill(self, wanted: int) -> None:
        """Hold the tensor ``wanted`` and those computed after it, up to the budget."""
        self._held.clear()
        held = 0

        def keep(number: int, _: str, tensor: Tensor, __: tuple[int, ...]) -> None:
            nonlocal held
            if number < wanted:
                return
            if self.records[number].shape != tuple(tensor.shape):
                raise CheckError(
                    "the model does not compute the same in two runs on one input, so no node can be "
                    "compared with it: take out what is random or remembered from run to run"
                )
            size = tensor.numel() * tensor.element_size()
            if number > wanted and held + size > self._budget:
                raise _Enough
            self._held[number] = np.array(tensor.numpy())
            held += size

        with contextlib.suppress(_Enough):
            self._run(keep)
        self.peak = max(self.peak, held)

    def _run(self, visit: Visit) -> list[int]:
        """Run the module under a recorder. Returns the numbers of its outputs."""
        self.runs += 1
        self._paths.clear()
        tensors = [torch.from_numpy(np.array(array)) for array in self._inputs.values()]
        tensors = [self._exact.widen(tensor) for tensor in tensors]
        recorder = Recorder(visit)
        with torch.no_grad():
            for tensor in tensors:
                recorder.note("input", tensor, ())
            with recorder, self._exact.running():
                returned = self._module(*tensors)
            flat = returned if isinstance(returned, tuple | list) else (returned,)
            return [recorder.number_of(self._exact.result(tensor)[0]) for tensor in flat]


class _Enough(BaseException):
    """Ends a forward pass whose rest is not needed. It is no Exception, since some models catch those in
    their ``forward``."""


def near(truth: Truth, numbers: Iterator[int] | Sequence[int], depth: int) -> dict[int, int]:
    """The records that are computed from the given ones in up to ``depth`` steps, with their distances."""
    reached = dict.fromkeys(numbers, 0)
    edge = list(reached)
    for distance in range(1, depth + 1):
        edge = [after for number in edge for after in truth.consumers.get(number, ()) if after not in reached]
        reached.update(dict.fromkeys(edge, distance))
    return {number: distance for number, distance in reached.items() if distance}
