"""Fail a file whose tables hold other rows than the checkpoint's where no case reads them.

Such a row changes no answer that was compared, so the numbers of the verdict cannot tell of it. It changes
answers all the same, unless the declared ranges keep every index from it.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxproof.graph import STANDARD, OnnxGraph, UnreadableError, attribute_of, bodies_of
from onnxproof.tensors import TensorSpec
from onnxproof.validate.checks import Check
from onnxproof.validate.conditions import OF_SIZE
from onnxproof.validate.exact.constants import Proven
from onnxproof.validate.exact.known import Known
from onnxproof.validate.looked_up import LOOKS_UP, ChangedRows, listed, lookups, source_of

TABLES = "tables"

Interval = tuple[float, float]

UNKNOWN: Interval = (-math.inf, math.inf)

DEEPEST = 64
"""How many nodes an index is followed back."""

KEEPS = frozenset(
    "Cast Expand Flatten Gather Identity Reshape Slice Squeeze Tile Transpose Unsqueeze".split()
)
"""Operators whose results are among the numbers of their first input."""
ROUNDS = frozenset("Ceil Floor Round".split())

Evaluate = Callable[[Callable[..., None]], Iterable[None]]
"""Evaluates a graph on its cases with a watch, as ``stated.evaluated`` does."""


def unread_checks(
    changed: Sequence[ChangedRows],
    graph: OnnxGraph,
    file: Path,
    inputs: Sequence[TensorSpec],
    evaluate: Evaluate,
    *,
    leg: str,
    guessed: frozenset[str] = frozenset(),
    whose: str = "the checkpoint's",
) -> tuple[Check, ...]:
    """A failed check for each table with other rows than the checkpoint's that no case reads.

    Where an input's numbers are the indices, rows beyond its declared range do not count. ``guessed`` are
    the inputs and dims for which nobody declared any; an input without a range is one, too. Where the graph
    computes the indices, a row counts unless the declared ranges keep the indices from it. The graph is
    evaluated if there are such rows, to see which are read.
    """
    open_to = {spec.name for spec in inputs if spec.range is None and not spec.mask} | guessed
    bounds = _Bounds(graph, file, {spec.name: spec for spec in inputs if spec.name not in open_to})
    values = {str(value.name): value for node in graph.nodes for value in node.inputs if value is not None}
    reach = {
        one.constant: _reached(one, [values[name] for name in one.computed], bounds, guessed)
        for one in changed
        if one.moved
    }
    read = _read(reach, {name for one in changed for name in one.computed}, graph, evaluate)
    checks = []
    for one in (one for one in changed if one.moved):
        rows = tuple(row for row in reach.get(one.constant, ()) if row not in read.get(one.constant, set()))
        why = "the graph computes the indices, and no declared range excludes these"
        if not rows and open_to & set(one.inputs):
            rows = tuple(row for row in one.rows if row not in one.read)
            names = ", ".join(one.inputs)
            why = f"nobody declared the range of {names}"
        if rows:
            are, them = ("is", "it") if len(rows) == 1 else ("are", "them")
            reason = f"{listed(rows)} of {one.constant} {are} not {whose}, and no case reads {them}: {why}"
            checks.append(Check(TABLES, "fail", reason, len(rows), 0, leg))
    return tuple(checks)


def short_checks(
    graph: OnnxGraph,
    proven: Proven,
    known: Known,
    inputs: Sequence[TensorSpec],
    *,
    leg: str,
    guessed: frozenset[str] = frozenset(),
) -> tuple[Check, ...]:
    """A failed check for each table that is a part of a checkpoint's table, cut along the axis that an input
    looks it up by, if nobody declared that input's range. ``guessed`` is as for ``unread_checks``."""
    checks = []
    for name, origin in proven.origins.items():
        stored = graph.constants[name]
        for axis, indices in lookups(stored):
            spec = source_of(indices, inputs)
            if spec is None or (spec.range is not None and spec.name not in guessed):
                continue
            wholes = [
                (whole, known.weights.tensors[whole].shape[axis])
                for whole in sorted(origin.names)
                if whole in known.weights.tensors
                and _longer(known.weights.tensors[whole].shape, stored.shape, axis)
            ]
            if wholes:
                whole, rows = wholes[0]
                reason = (
                    f"{name} has {stored.shape[axis]} of the {rows} rows of {whole}; if no id is above "
                    f"{stored.shape[axis] - 1}, declare the range of {spec.name}"
                )
                checks.append(Check(TABLES, "fail", reason, rows - stored.shape[axis], 0, leg))
    return tuple(dict.fromkeys(checks))


def _longer(one: tuple[int, ...], other: tuple[int, ...], axis: int) -> bool:
    """Whether a shape is another but for a larger axis."""
    rest = [[*shape[:axis], *shape[axis + 1 :]] for shape in (one, other)]
    return len(one) == len(other) and rest[0] == rest[1] and one[axis] > other[axis]


def _reached(
    one: ChangedRows, indices: Sequence[ir.Value], bounds: "_Bounds", guessed: frozenset[str]
) -> tuple[int, ...]:
    """The changed rows that computed indices may read. Indices that sizes alone give are those of the cases,
    if somebody declared the sizes."""
    ranges = [bounds.of(value) for value in indices if guessed or bounds.depends(value)]
    # An index below zero counts from the end, and the number of rows is not at hand.
    return tuple(row for row in one.rows if any(low < 0 or low <= row <= high for low, high in ranges))


def _read(
    reach: dict[str, tuple[int, ...]], indices: set[str], graph: OnnxGraph, evaluate: Evaluate
) -> dict[str, set[int]]:
    """The rows of each constant that the cases read, of those that are reached."""
    wanted = {name for name, rows in reach.items() if rows}
    if not wanted:
        return {}
    # The table may be handed on by a Cast; the looked-up value's own name tells which it is.
    tables = {
        str(node.outputs[0].name): name
        for node in graph.nodes
        if node.op_type == LOOKS_UP and node.inputs[1] is not None and str(node.inputs[1].name) in indices
        for name in wanted
        if _comes_from(node.inputs[0], name)
    }
    read: dict[str, set[int]] = {name: set() for name in wanted}

    def watch(step: Any, values: tuple[Any, ...], _: tuple[Any, ...]) -> None:
        name = tables.get(step.writes[0]) if step.writes else None
        if name is not None:
            table, found = (np.asarray(value) for value in values[:2])
            size = table.shape[step.attributes.get("axis", 0)]
            read[name].update(int(row) % size for row in np.unique(found))

    for _ in evaluate(watch):
        pass
    return read


def _comes_from(value: ir.Value | None, name: str) -> bool:
    while value is not None:
        if str(value.name) == name:
            return True
        node = value.producer()
        value = node.inputs[0] if node is not None and node.inputs else None
    return False


@dataclass(frozen=True, eq=False)
class _Bounds:
    """Between which numbers a value of the graph lies, by the declared ranges in ``known``."""

    graph: OnnxGraph
    file: Path
    known: dict[str, TensorSpec]
    found: dict[str, Interval] = field(default_factory=dict)

    def depends(self, value: ir.Value) -> bool:
        """Whether a value depends on an input's numbers, and not on sizes and constants alone."""
        left, seen = [value], set()
        while left:
            one = left.pop()
            if one in seen or self._stored(one) is not None:
                continue
            seen.add(one)
            node = one.producer()
            if node is None:
                return True
            if node.op_type in OF_SIZE and node.domain == STANDARD:
                continue
            if any(True for _ in bodies_of(node)):
                return True
            left += [read for read in node.inputs if read is not None]
        return False

    def of(self, value: ir.Value | None, depth: int = 0) -> Interval:
        """The interval of a value. Unknown where an operator is not followed."""
        if value is None or depth > DEEPEST:
            return UNKNOWN
        name = str(value.name)
        if name not in self.found:
            self.found[name] = self._of(value, depth)
        return self.found[name]

    def _of(self, value: ir.Value, depth: int) -> Interval:
        stored = self._stored(value)
        if stored is not None:
            return _ends(stored)
        node = value.producer()
        if node is None:
            return self._declared(value)
        if node.domain != STANDARD or any(True for _ in bodies_of(node)):
            return UNKNOWN
        parts = [self.of(one, depth + 1) for one in node.inputs]
        first = parts[0] if parts else UNKNOWN
        match node.op_type:
            case name if name in KEEPS:
                return first
            case name if name in ROUNDS:
                return _rounded(first[0], math.floor), _rounded(first[1], math.ceil)
            case "Clip":
                return self._clipped(node, first, parts)
            case "Min":
                return min(low for low, _ in parts), min(high for _, high in parts)
            case "Max":
                return max(low for low, _ in parts), max(high for _, high in parts)
            case "Concat":
                return min(low for low, _ in parts), max(high for _, high in parts)
            case "Where":
                return min(low for low, _ in parts[1:]), max(high for _, high in parts[1:])
            case "Mod" if not attribute_of(node, "fmod", 0) and parts[1][0] > 0:
                return 0, parts[1][1] - 1
            case "Add":
                return first[0] + parts[1][0], first[1] + parts[1][1]
            case "Sub":
                return first[0] - parts[1][1], first[1] - parts[1][0]
            case "Mul" if not any(math.isinf(end) for part in parts for end in part):
                ends = [one * other for one in first for other in parts[1]]
                return min(ends), max(ends)
            case _:
                return UNKNOWN

    def _clipped(self, node: ir.Node, first: Interval, parts: Sequence[Interval]) -> Interval:
        low, high = first
        if len(node.inputs) > 1 and node.inputs[1] is not None:
            low, high = max(low, parts[1][0]), max(high, parts[1][1])
        if len(node.inputs) > 2 and node.inputs[2] is not None:
            low, high = min(low, parts[2][0]), min(high, parts[2][1])
        return low, high

    def _declared(self, value: ir.Value) -> Interval:
        spec = self.known.get(str(value.name)) if value.is_graph_input() else None
        if spec is None:
            return UNKNOWN
        return (0, 1) if spec.mask or spec.dtype == "bool" else spec.range or UNKNOWN

    def _stored(self, value: ir.Value) -> np.ndarray[Any, Any] | None:
        stored = self.graph.constants.get(str(value.name))
        if stored is None:
            return None
        try:
            return stored.array(self.file)
        except UnreadableError:
            return np.zeros(0)


def _rounded(end: float, way: Callable[[float], int]) -> float:
    return end if math.isinf(end) else way(end)


def _ends(values: np.ndarray[Any, Any]) -> Interval:
    if not values.size or values.dtype.kind not in "iufb":
        return UNKNOWN
    low, high = float(values.min()), float(values.max())
    return UNKNOWN if math.isnan(low + high) else (low, high)
