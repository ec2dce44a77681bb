"""Trace a module as TorchScript's exporter does, and record what Python reads of traced values on the way.

TorchScript records operations on tensors. Whatever Python computes from them (a condition, a number, a
list's length) becomes a constant of the graph. A trace with another answer to one reading shows what
depends on it.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.jit._trace import _get_trace_graph, _unique_state_dict
from torch.overrides import TorchFunctionMode

from onnxproof.export.alike import tensors_of
from onnxproof.export.depends import depends_on_data, depends_on_inputs
from onnxproof.export.quiet import quiet, tensors_only
from onnxproof.export.sized import Part
from onnxproof.export.torchscript import LIBRARY, of_library
from onnxproof.system.usercode import Place, place_outside

READERS: Mapping[Any, str] = {
    Tensor.__bool__: "bool",
    Tensor.__int__: "int",
    Tensor.__float__: "float",
    Tensor.__index__: "an index",
    Tensor.__len__: "len",
    Tensor.item: "item",
    Tensor.tolist: "tolist",
    Tensor.numpy: "numpy",
    Tensor.__array__: "numpy",
    torch.tensor: "torch.tensor",
    torch.as_tensor: "torch.as_tensor",
    torch.equal: "torch.equal",
    torch.allclose: "torch.allclose",
}
"""Functions that give Python a value which the trace does not follow, and what a message calls them."""


MOST_PARTS = 4
"""Of how many readings at one site the part is kept that computes them: a loop reads many."""


@dataclass(frozen=True, slots=True)
class Site:
    """A line that reads traced values, and the function that it reads them by."""

    place: Place
    reader: str


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """A value that was read, and that the trace does not follow.

    ``of_data`` says whether it depends on the inputs' contents, and not only on their sizes. If it does not,
    ``part`` computes it, as far as that was asked for.
    """

    site: Site
    value: Any
    of_data: bool
    part: Part | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Traced:
    """What one trace gave: its graph, what the module answered, and what was read, in order.

    ``followed`` are the lines that made a tensor which the trace does follow, or of Python's own numbers.
    """

    graph: Any
    answer: tuple[Tensor, ...]
    readings: tuple[Reading, ...]
    followed: frozenset[Place]

    def at(self, site: Site) -> list[Any]:
        """The values that were read at one site, in order."""
        return [reading.value for reading in self.readings if reading.site == site]

    def run(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """What the graph, with all that it keeps, answers on other inputs. Raises what torch raises."""
        function = torch._C._create_function_from_graph("traced", self.graph)
        with quiet(), torch.no_grad(), tensors_only(module):
            state = _unique_state_dict(module, keep_vars=True).values()  # type: ignore[no-untyped-call]
            return tensors_of(function(*inputs, *state))


Answers = Mapping[tuple[Site, int], Callable[[Any], Any]]
"""What to answer in place of the n-th value that is read at a site; the function gets the value, as
``plain`` gives it."""


class _Watched(TorchFunctionMode):
    """Records what is read, and changes what ``answers`` names."""

    def __init__(self, inputs: int, answers: Answers, *, parts: bool) -> None:
        super().__init__()
        self._inputs = inputs
        self._answers = answers
        self._parts = parts
        self._counts: dict[Site, int] = {}
        self.readings: list[Reading] = []
        self.followed: set[Place] = set()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        answer = func(*args, **(kwargs or {}))
        reader = READERS.get(func)
        if reader is None:
            return answer
        traced = list(_traced(args))
        place = _reads_at(sys._getframe(1))
        if place is None:
            return answer
        if not traced or any(depends_on_inputs(value, self._inputs) for value in _traced(answer)):
            self.followed.add(place)
            return answer
        site = Site(place, reader)
        count = self._counts[site] = self._counts.get(site, 0) + 1
        changed = self._answers.get((site, count - 1))
        if changed is not None:
            answer = _as(answer, changed(plain(answer)))
        of_data = any(depends_on_data(value, self._inputs) for value in traced)
        wanted = self._parts and not of_data and len(traced) == 1 and count <= MOST_PARTS
        part = Part.of(traced[0]) if wanted else None
        self.readings.append(Reading(site, plain(answer), of_data, part))
        return answer


def trace(
    module: nn.Module, inputs: tuple[Tensor, ...], answers: Answers | None = None, *, parts: bool = False
) -> Traced:
    """Trace the module, with the ``parts`` that compute what is read of sizes if these are asked for.

    Raises whatever the module, or torch, raises.
    """
    watched = _Watched(len(inputs), answers or {}, parts=parts)
    with quiet(), torch.no_grad(), _as_if_exporting(), tensors_only(module), watched:
        found: Any = _get_trace_graph(  # type: ignore[no-untyped-call]
            module, inputs, strict=False, _force_outplace=False
        )
    graph, answer = found
    return Traced(graph, tensors_of(answer), tuple(watched.readings), frozenset(watched.followed))


def plain(value: Any) -> Any:
    """A value that was read, in a form that compares and prints."""
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    return value.tolist() if isinstance(value, np.ndarray) else value


def _as(like: Any, value: Any) -> Any:
    """A plain value in the form of another one."""
    if isinstance(like, Tensor):
        return torch.tensor(value, dtype=like.dtype)
    return np.array(value, like.dtype) if isinstance(like, np.ndarray) else value


def _reads_at(frame: FrameType | None) -> Place | None:
    """The line that reads a value; None if it is one of torch's or torchvision's own."""
    while frame is not None and Place(frame.f_code.co_filename, 0, None).package in LIBRARY:
        if of_library(frame.f_code.co_filename):
            return None
        frame = frame.f_back
    return place_outside(frame, LIBRARY)


def _traced(values: Any) -> Iterator[Any]:
    """The trace's own values of the tensors among arguments."""
    if isinstance(values, Tensor):
        with contextlib.suppress(RuntimeError):  # a tensor that this trace does not know
            yield torch._C._get_value_trace(values)  # type: ignore[attr-defined]
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _traced(value)


@contextlib.contextmanager
def _as_if_exporting() -> Iterator[None]:
    """Let modules that ask whether they are exported take the way that they took while they were."""
    asked = torch.onnx.is_in_onnx_export
    torch.onnx.is_in_onnx_export = lambda: True
    try:
        yield
    finally:
        torch.onnx.is_in_onnx_export = asked
