"""See how near a model's numbers come to where it cuts off or compares, and move inputs towards that."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from onnxproof.system.usercode import no_exit
from onnxproof.validate.legs.leg import Arrays, Ports
from onnxproof.wrappers.attention import without_fast_path
from onnxproof.wrappers.control_flow import unfolded
from onnxproof.wrappers.copies import copied
from onnxproof.wrappers.double.weights import lendable
from onnxproof.wrappers.family import WrappedModel
from onnxproof.wrappers.weights import tensor_of

Side = tuple[Any, float, bool]
"""What is cut off, at which number, and whether from above."""

FIXED: Mapping[str, tuple[tuple[float, bool], ...]] = {
    "relu": ((0.0, False),),
    "relu6": ((0.0, False), (6.0, True)),
    "hardswish": ((-3.0, False), (3.0, True)),
    "hardsigmoid": ((-3.0, False), (3.0, True)),
}
"""The numbers at which functions cut off that are not given them, and whether from above."""

NAMED: Mapping[str, tuple[tuple[str, float | None, bool], ...]] = {
    "hardtanh": (("min_val", -1.0, False), ("max_val", 1.0, True)),
    "clamp": (("min", None, False), ("max", None, True)),
    "clip": (("min", None, False), ("max", None, True)),
    "clamp_min": (("min", None, False),),
    "clamp_max": (("max", None, True),),
    "threshold": (("threshold", None, False),),
}
"""The arguments of functions at which they cut off, in order: the name, the default, whether from above."""

LARGER = {"maximum": False, "max": False, "minimum": True, "min": True}
"""Functions of two tensors that cut off one at the other, and whether from above."""

COMPARING = frozenset(
    "gt ge lt le greater greater_equal less less_equal".split(),
)

HUGE = 1e30
"""From this size on a bound bounds nothing."""

OVERRIDES = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")


@dataclass(frozen=True, slots=True)
class CutOff:
    """A number beyond which an operation does otherwise. ``call`` counts such operations of a run."""

    call: int
    operation: str
    number: float
    upper: bool

    def __str__(self) -> str:
        return f"{self.operation} {'above' if self.upper else 'below'} {self.number:.7g}"


class _Margins(TorchFunctionMode):
    """By how much what the model computes lies beyond each number at which it cuts off; negative if not."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[CutOff, Tensor] = {}
        self._calls = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "").strip("_")
        sides = [side for side in _sides(name, args, kwargs) if abs(side[1]) < HUGE]
        if sides:
            self._calls += 1
        for tensor, number, upper in sides:
            margin = tensor.max() - number if upper else number - tensor.min()
            self.found[CutOff(self._calls, name, number, upper)] = margin
        return func(*args, **kwargs)


def _sides(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[Side]:
    if not args or not isinstance(args[0], Tensor):
        return
    tensor = args[0]
    if name in FIXED and _holds_floats(tensor):
        for number, upper in FIXED[name]:
            yield tensor, number, upper
    elif name in NAMED and _holds_floats(tensor):
        for at, (argument, default, upper) in enumerate(NAMED[name], 1):
            given = _number(args[at] if at < len(args) else kwargs.get(argument, default))
            if given is not None:
                yield tensor, given, upper
    elif name in LARGER or name in COMPARING:
        for one, other in ((tensor, args[1]), (args[1], tensor)) if len(args) > 1 else ():
            given = _number(other)
            if given is not None and isinstance(one, Tensor) and _holds_floats(one):
                for upper in (LARGER[name],) if name in LARGER else (True, False):
                    yield one, given, upper
                return


def _holds_floats(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.numel() > 0


def _number(value: Any) -> float | None:
    """A single number; None for all else, and for what is computed from the inputs."""
    if isinstance(value, Tensor):
        known = value.numel() == 1 and not value.is_complex() and value.grad_fn is None
        return float(value) if known else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


class CutOffs:
    """A copy of a model that tells how near its numbers come to where it cuts off.

    ``is_large`` is whether the copy shares the parameters of the model, as a large one does.
    """

    def __init__(self, model: WrappedModel, threads: int) -> None:
        shared = lendable(model.module)
        self.is_large = bool(shared)
        self._module = copied(model.module, shared.values()).eval()
        self._ports = Ports.of(model.contract)
        self._threads = threads

    def margins(self, inputs: Arrays) -> Mapping[CutOff, float]:
        """By how much numbers lie beyond each cut-off on these inputs; negative if none does."""
        with torch.no_grad():
            return {cut: float(margin) for cut, margin in self._run(self._tensors(inputs)).items()}

    def slope(self, inputs: Arrays, cut: CutOff) -> tuple[float, Arrays]:
        """The margin of one cut-off, and its gradients by the inputs that hold floats and move it."""
        given = self._tensors(inputs)
        floats = {name: tensor for name, tensor in given.items() if tensor.is_floating_point()}
        for tensor in floats.values():
            tensor.requires_grad_()
        with torch.enable_grad():
            # The copies: a module may write into its inputs.
            margin = self._run({name: tensor.clone() for name, tensor in given.items()}).get(cut)
            if margin is None or margin.grad_fn is None:
                return float("-inf") if margin is None else float(margin), {}
            slopes = torch.autograd.grad(margin, list(floats.values()), allow_unused=True)
        found = {name: one.numpy() for name, one in zip(floats, slopes, strict=True) if one is not None}
        return float(margin), found

    def _tensors(self, inputs: Arrays) -> dict[str, Tensor]:
        return {
            port.name: tensor_of(np.array(array, order="C"), port.dtype)
            for port, array in zip(self._ports.inputs, inputs.values(), strict=True)
        }

    def _run(self, tensors: Mapping[str, Tensor]) -> Mapping[CutOff, Tensor]:
        torch.set_num_threads(self._threads)
        margins = _Margins()
        with (
            without_fast_path(),
            unfolded(),
            no_exit("the module's forward"),
            _as_written(),
            margins,
        ):
            self._module(*tensors.values())
        return margins.found


@contextlib.contextmanager
def _as_written() -> Iterator[None]:
    """PyTorch's functions in Python do not see the mode, so that it sees what they call."""
    module: Any = functional
    before = {name: getattr(module, name) for name in OVERRIDES}
    for name in OVERRIDES:
        setattr(module, name, lambda *_: False)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(module, name, value)
