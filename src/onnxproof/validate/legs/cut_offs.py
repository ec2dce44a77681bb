"""See how near a model's numbers come to where it cuts off or compares, and move inputs towards that."""

import contextlib
import functools
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from onnxproof.system.usercode import no_exit
from onnxproof.validate.exact.known import HUGE
from onnxproof.validate.legs.leg import Arrays, Ports
from onnxproof.wrappers.attention import without_fast_path
from onnxproof.wrappers.control_flow import unfolded
from onnxproof.wrappers.copies import copied
from onnxproof.wrappers.double.weights import lendable
from onnxproof.wrappers.family import WrappedModel
from onnxproof.wrappers.weights import tensor_of

Side = tuple[Tensor, float | Tensor, bool]
"""What is cut off, at which number, and whether from above. A number that is computed is a tensor of one."""

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

COMPARING = frozenset("gt ge lt le greater greater_equal less less_equal".split())
"""Functions that compare with a number. What they are for may do otherwise on either side."""

EQUALITY = frozenset(("eq", "ne"))
"""Functions that ask whether a number is equal to another. They cut off nothing."""

SORTING = {"bucketize": (("input", "boundaries"), 0), "searchsorted": (("sorted_sequence", "input"), 1)}
"""Functions that compare with several numbers in order: their first two arguments, and which of them is
compared."""

MOST_BOUNDARIES = 256
"""How many such numbers are looked at; of more, none."""

ROUNDING: Mapping[str, float] = {"floor": 0.0, "ceil": 0.0, "trunc": 0.0, "fix": 0.0, "round": 0.5}
"""Functions that round to integers, and where between two integers the result changes."""

CASTING = frozenset("long int short char to".split())
"""Functions that may cast a float to an integer, which rounds it towards 0."""

OPERATIONS = frozenset((*FIXED, *NAMED, *LARGER, *COMPARING, *SORTING, *ROUNDING, *CASTING))
"""The functions that are looked at, without the underscores of their names."""

OVERRIDES = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")


@dataclass(frozen=True, slots=True)
class CutOff:
    """A number beyond which an operation does otherwise: above it if ``upper``, else below.

    ``call`` counts the OPERATIONS of a run. Two runs may compute another ``number``. ``place`` is that of the
    number among those that a call compares with.
    """

    call: int
    operation: str
    number: float = field(compare=False)
    upper: bool
    place: int = 0

    def __str__(self) -> str:
        return f"{self.operation} {'above' if self.upper else 'below'} {self.number:.7g}"


@dataclass(frozen=True, slots=True, eq=False)
class Ran:
    """A run: by how much numbers lie beyond each cut-off, negative if none does; the outputs by name; the
    names of the functions that it called, without underscores; and the numbers that floats are asked to be
    ``equal`` to."""

    margins: Mapping[CutOff, float]
    outputs: Arrays
    functions: frozenset[str]
    equal: frozenset[float] = frozenset()


class _FoundError(BaseException):
    """The cut-off that a run was made for is measured. No ``except Exception`` of a model may hold it up."""


class _Margins(TorchFunctionMode):
    """Measures the margins of a run: the largest of each cut-off, or all of those that are ``sought``.

    At the last of those that are sought the run ends, with _FoundError, and before the operation may write
    into what it reads: the margins have gradients. ``seen`` are the names of all functions of the run,
    ``equal`` the numbers that it asks floats to be equal to.
    """

    def __init__(self, sought: Collection[CutOff] = ()) -> None:
        super().__init__()
        self.found: dict[CutOff, Tensor] = {}
        self.seen: set[str] = set()
        self.equal: set[float] = set()
        self._sought = frozenset(sought)
        self._calls = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "").strip("_")
        self.seen.add(name)
        if name in EQUALITY:
            self.equal.update(_equal_to(args, kwargs))
        if name in OPERATIONS:
            self._calls += 1
            places: Counter[bool] = Counter()
            steps = {cut.number for cut in self._sought if cut.call == self._calls}
            for tensor, number, upper in _sides(name, args, kwargs, steps):
                known = float(number.detach() if isinstance(number, Tensor) else number)
                cut = CutOff(self._calls, name, known, upper, places[upper])
                places[upper] += 1
                if cut in self._sought:
                    self.found[cut] = tensor - number if upper else number - tensor
                elif abs(known) < HUGE and not self._sought:
                    self.found[cut] = tensor.max() - number if upper else number - tensor.min()
                if self._sought and self._sought == self.found.keys():
                    raise _FoundError
        return func(*args, **kwargs)


def _sides(
    name: str, args: Sequence[Any], kwargs: Mapping[str, Any], steps: Collection[float]
) -> Iterator[Side]:
    """The sides of a call. ``steps`` are the numbers that are sought in it, if it rounds; if there are none,
    the last step below its largest number is taken."""
    if name in SORTING:
        yield from _of_boundaries(name, args, kwargs)
        return
    if not args or not isinstance(args[0], Tensor):
        return
    tensor = args[0]
    if name in ROUNDING or (name in CASTING and _casts_to_integers(name, args, kwargs)):
        if _holds_floats(tensor):
            yield from ((tensor, step, True) for step in steps or _last_step(name, tensor))
        return
    if name in FIXED and _holds_floats(tensor):
        for fixed, upper in FIXED[name]:
            yield tensor, fixed, upper
    elif name in NAMED and _holds_floats(tensor):
        for at, (argument, default, upper) in enumerate(NAMED[name], 1):
            given = _number(args[at] if at < len(args) else kwargs.get(argument, default))
            if given is not None:
                yield tensor, given, upper
    elif name in LARGER or name in COMPARING:
        other = args[1] if len(args) > 1 else kwargs.get("other")
        if name in LARGER and not isinstance(other, Tensor):
            return  # the largest along an axis
        for one, number in ((tensor, _number(other)), (other, _number(tensor))):
            if number is not None and isinstance(one, Tensor) and _holds_floats(one):
                for upper in (LARGER[name],) if name in LARGER else (True, False):
                    yield one, number, upper
                return


def _equal_to(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[float]:
    """The number that floats are asked to be equal to."""
    one, other = (*args, *kwargs.values())[:2]
    for tensor, number in ((one, _number(other)), (other, _number(one))):
        if number is not None and isinstance(tensor, Tensor) and _holds_floats(tensor):
            yield float(number)
            return


def _casts_to_integers(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a call of a casting function asks for integers."""
    if name != "to":
        return True
    dtypes = (one for one in (*args, *kwargs.values()) if isinstance(one, torch.dtype))
    return any(not one.is_floating_point and not one.is_complex and one != torch.bool for one in dtypes)


def _last_step(name: str, tensor: Tensor) -> Iterator[float]:
    """The last number below a tensor's largest at which what it is rounded to changes."""
    between = ROUNDING.get(name, 0.0)
    largest = float(tensor.detach().max())
    if np.isfinite(largest):
        yield float(np.ceil(largest - between) - 1 + between)


def _of_boundaries(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[Side]:
    names, at = SORTING[name]
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    compared, boundaries = given[names[at]], given[names[1 - at]]
    if not isinstance(compared, Tensor) or not _holds_floats(compared):
        return
    if boundaries.dim() == 1 and boundaries.numel() <= MOST_BOUNDARIES:
        for number in boundaries.to(compared):
            for upper in (True, False):
                yield compared, number, upper


def _holds_floats(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.numel() > 0


def _number(value: Any) -> float | Tensor | None:
    """A single number; None for all else."""
    if isinstance(value, Tensor):
        return value.reshape(()) if value.numel() == 1 and not value.is_complex() else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


class CutOffs:
    """A copy of a model that tells how near its numbers come to where it cuts off.

    ``is_large`` is whether the copy shares the parameters of the model, as a large one does, ``parameters``
    how many numbers they are. The methods raise whatever the model's own code raises.
    """

    def __init__(self, model: WrappedModel, threads: int) -> None:
        shared = lendable(model.module)
        self.is_large = bool(shared)
        self._module = copied(model.module, shared.values()).eval()
        self.parameters = sum(tensor.numel() for tensor in self._module.parameters())
        if not self.is_large:
            self._module.requires_grad_(False)
        self._ports = Ports.of(model.contract)
        self._threads = threads

    def run(self, inputs: Arrays) -> Ran:
        """The margins of all cut-offs on these inputs, and the outputs, in the model's own dtypes."""
        margins = _Margins()
        with torch.no_grad():
            returned = self._run(self._tensors(inputs).values(), margins)
        outputs = returned if isinstance(returned, tuple | list) else (returned,)
        named = zip(self._ports.outputs, outputs, strict=True)
        return Ran(
            {cut: float(margin) for cut, margin in margins.found.items()},
            {port.name: output.numpy() for port, output in named},
            frozenset(margins.seen),
            frozenset(margins.equal),
        )

    def slope(self, inputs: Arrays, cuts: Collection[CutOff], moved: Collection[str]) -> tuple[float, Arrays]:
        """The margin of a cut-off, and its gradients by those inputs that hold floats and are ``moved``.

        The margin of several is that of the place at which all of them are passed; the gradients are of the
        sum of what they lack there. It is -inf if the run does not come to one of them. There are no
        gradients if the margin is positive, and none by an input on which it does not depend. Raises
        RuntimeError if the cut-offs are of tensors whose places do not correspond.
        """
        given = self._tensors(inputs)
        floats = {name: given[name] for name in moved if given[name].is_floating_point()}
        for tensor in floats.values():
            tensor.requires_grad_()
        margins = _Margins(cuts)
        with torch.enable_grad(), contextlib.suppress(_FoundError):
            # The copies: a module may write into its inputs.
            self._run([tensor.clone() for tensor in given.values()], margins)
        sides = list(margins.found.values())
        if len(sides) < len(cuts):
            return float("-inf"), {}
        margin = functools.reduce(torch.minimum, sides).max()
        lacking = margin
        if len(sides) > 1:
            lacking = functools.reduce(torch.add, [side.clamp(max=0) for side in sides]).max()
        if margin > 0 or lacking.grad_fn is None:
            return float(margin.detach()), {}
        slopes = torch.autograd.grad(lacking, list(floats.values()), allow_unused=True)
        found = {name: one.numpy() for name, one in zip(floats, slopes, strict=True) if one is not None}
        return float(margin.detach()), found

    def _tensors(self, inputs: Arrays) -> dict[str, Tensor]:
        return {
            port.name: tensor_of(np.array(array, order="C"), port.dtype)
            for port, array in zip(self._ports.inputs, inputs.values(), strict=True)
        }

    def _run(self, tensors: Iterable[Tensor], margins: _Margins) -> Any:
        torch.set_num_threads(self._threads)
        with (
            without_fast_path(),
            unfolded(),
            no_exit("the module's forward"),
            _as_written(),
            margins,
        ):
            return self._module(*tensors)


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
