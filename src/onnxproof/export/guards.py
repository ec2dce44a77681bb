"""The conditions on sizes that torch.export takes for granted while it follows a module, and at which lines.

torch.export names no line where it made a size a constant, and forgets conditions with divisions by floats
(``int(n / 2)``: 2.15). It notes each of them in its log, so they are collected there.
"""

import contextlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch._guards import TracingContext
from torch.fx.experimental.symbolic_shapes import ShapeEnv, canonicalize_bool_expr
from torch.utils._sympy import functions

from onnxproof.system.usercode import Place, innermost_line, stack_of
from onnxproof.tensors import Dim

STEPS = "_steps"
"""What is behind a dim's name in the name of the symbol that counts its steps."""


@dataclass(frozen=True, slots=True)
class Axis:
    """A symbol of torch.export's: the dim that it stands for, and how many of its sizes make one."""

    dim: Dim
    factor: int


class Guards:
    """The conditions that one capture took for granted, in order, each with its line of code."""

    def __init__(self) -> None:
        self._places: dict[Any, Place | None] = {}
        self._shapes: Any = None

    @contextlib.contextmanager
    def noting(self) -> Iterator[None]:
        """Collect what torch.export takes for granted inside."""
        log = getattr(ShapeEnv, "_log_guard", None)
        if log is None:
            yield
            return

        def noted(shapes: Any, prefix: str, guard: Any, *more: Any, **options: Any) -> Any:
            self._shapes = shapes
            self._places.setdefault(canonicalize_bool_expr(guard), _here())
            return log(shapes, prefix, guard, *more, **options)

        ShapeEnv._log_guard = noted  # type: ignore[assignment, method-assign]
        try:
            yield
        finally:
            ShapeEnv._log_guard = log  # type: ignore[method-assign]

    @property
    def conditions(self) -> tuple[tuple[Any, Place | None], ...]:
        """Each condition and its line. Returns None for a line that is not known."""
        return tuple(self._places.items())

    @property
    def forgotten(self) -> tuple[tuple[Any, Place | None], ...]:
        """Those that torch.export writes into no program: it has no operators for what is in them."""
        without = (functions.ToFloat, functions.TruncToInt, functions.CeilToInt)
        return tuple((each, place) for each, place in self._places.items() if each.has(*without))

    def about(self, symbol: Any) -> Place | None:
        """The first line that took something for granted of a symbol, or of a size that it stands for."""
        replaced = {} if self._shapes is None else self._shapes.replacements
        names = {symbol, *(old for old, new in replaced.items() if symbol in new.free_symbols)}
        return next(
            (place for each, place in self._places.items() if place and names & each.free_symbols), None
        )

    def axes(self, dims: Mapping[str, Dim]) -> dict[Any, Axis]:
        """The dim behind each symbol of the conditions that stands for a dim, or for its steps."""
        found: dict[Any, Axis] = {}
        if self._shapes is None:
            return found
        told = self._shapes.source_name_to_debug_name
        for symbol, sources in self._shapes.var_to_sources.items():
            for source in sources:
                name = source.name if isinstance(source.name, str) else source.name()
                axis = _axis(told.get(name, name), dims)
                if axis is not None:
                    found[symbol] = axis
        return found


def _axis(name: str, dims: Mapping[str, Dim]) -> Axis | None:
    """What a size is called: "width", "32*width_steps" for a size in steps, "width_steps" for their count."""
    multiple, _, last = name.rpartition("*")
    if last in dims:
        return Axis(dims[last], 1)
    dim = dims.get(last.removesuffix(STEPS))
    return None if dim is None else Axis(dim, 1 if multiple else dim.multiple)


def _here() -> Place | None:
    """The line of the model's code that torch.export is at."""
    followed = TracingContext.extract_stack()  # where it follows bytecode, Python's own stack is torch's
    if followed:
        return innermost_line([Place(frame.filename, frame.lineno or 0, frame.name) for frame in followed])
    return innermost_line(stack_of(sys._getframe(2)))


def told(expression: Any, axes: Mapping[Any, Axis]) -> str:
    """A condition in the names of the dims, as in ``Eq(int(height/32), 2)``."""
    named = expression.xreplace({symbol: _named(symbol, axis) for symbol, axis in axes.items()})
    text = str(named)
    for function, plain in PLAIN.items():
        text = text.replace(f"{function}(", f"{plain}(")
    return text


PLAIN = {
    "FloatTrueDiv": "div",
    "IntTrueDiv": "div",
    "TruncToInt": "int",
    "CeilToInt": "ceil",
    "FloorToInt": "floor",
    "ToFloat": "float",
}
"""What torch calls functions of sizes, and what a message does."""


def _named(symbol: Any, axis: Axis) -> Any:
    """The dim's name in place of the symbol, as in ``height/32``."""
    return type(symbol)(axis.dim.name, integer=True, positive=True) / axis.factor
