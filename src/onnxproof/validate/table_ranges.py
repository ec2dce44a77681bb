"""Guess the ranges of integer inputs that nobody declared, from what a graph does with them.

An input whose numbers are indices of a table takes the table's rows. A divisor is not zero. Of others nothing
is known.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir

from onnxproof.graph import STANDARD, OnnxGraph, UnreadableError, attribute_of, constant_of

HANDS_ON = frozenset(
    "Abs Cast Clip Expand Flatten Identity Reshape Slice Split Squeeze Tile Transpose Unsqueeze".split()
)
"""Operators behind which some numbers are still those of their first input."""
HANDS_ON_ANY = frozenset("Concat Max Min".split())
"""The same of any of their inputs."""
SAME_ROWS = frozenset("Cast DequantizeLinear Identity".split())
"""Operators behind which a table has the same rows."""
ALONG_AN_AXIS = frozenset("Gather GatherElements Scatter ScatterElements".split())
ALONG_AXES = frozenset("GatherND ScatterND".split())
DIVIDES = frozenset("Div Mod".split())

MOST_DIVISOR = 64
"""The largest number of a guessed range that no table bounds."""

MOST_VISITED = 10_000
"""How many uses of an input's numbers are looked at."""


@dataclass(frozen=True, slots=True)
class Guess:
    """A range of an input, and why: ``rows`` of the table ``table``, or, if that is "", that it divides."""

    low: int
    high: int
    table: str = ""
    rows: int = 0

    def __str__(self) -> str:
        why = f"the {self.rows} rows of {self.table}" if self.table else "it divides"
        return f"{self.low}..{self.high} ({why})"


def guesses(graph: OnnxGraph, file: Path, names: Iterable[str]) -> dict[str, Guess]:
    """The guessed ranges of those inputs of a graph that look up or divide, by name.

    Of several tables the one with the fewest rows counts. External data is read from beside ``file``.
    """
    wanted = set(names)
    found = {}
    for value in graph.inputs:
        name = str(value.name)
        if name in wanted and value.dtype is not None and value.dtype.is_integer():
            uses = [*_uses(graph, file, value)]
            least = min(uses, key=lambda one: (one.high, not one.table), default=None)
            most = int(np.iinfo(value.dtype.numpy()).max)
            low = max((one.low for one in uses), default=0)
            if least is not None and low <= (high := min(least.high, most)):
                found[name] = replace(least, low=low, high=high)
    return found


def in_both(ours: Mapping[str, Guess], theirs: Mapping[str, Guess]) -> dict[str, Guess]:
    """For each input the guess of two files that holds in both."""
    found = dict(ours)
    for name, guess in theirs.items():
        if name not in found or guess.high < found[name].high:
            found[name] = guess
    return found


def _uses(graph: OnnxGraph, file: Path, value: ir.Value) -> Iterator[Guess]:
    """A guess for each table that is looked up by a value's numbers, and for each division by them."""
    left: list[_Moved] = [_Moved(value)]
    seen: set[_Moved] = set()
    while left and len(seen) < MOST_VISITED:
        now = left.pop()
        if now in seen:
            continue
        seen.add(now)
        for use in now.value.uses():
            node, at = use.node, use.idx
            if node.domain != STANDARD:
                continue
            if _hands_on(node, at):
                whole = now.whole and not _to_floats(node)
                left += [replace(now, value=output, whole=whole) for output in node.outputs]
            elif node.op_type == "Add" or (node.op_type == "Sub" and at == 0):
                added = _ends(graph, file, node.inputs[1 - at])
                if added is not None:
                    few, many = added if node.op_type == "Add" else (-added[1], -added[0])
                    left.append(replace(now, value=node.outputs[0], low=now.low + few, high=now.high + many))
            elif node.op_type in DIVIDES and at == 1 and now.whole:
                yield Guess(max(1 - now.low, 1), MOST_DIVISOR)
            elif at == 1 and (table := _table(node)) is not None:
                name, rows = table
                yield Guess(max(-now.low, 0), rows - 1 - now.high, name, rows)


@dataclass(frozen=True, slots=True)
class _Moved:
    """A value that holds an input's numbers plus something between ``low`` and ``high``. ``whole`` says that
    it is still of integers."""

    value: ir.Value
    low: int = 0
    high: int = 0
    whole: bool = True


def _hands_on(node: ir.Node, at: int) -> bool:
    if node.op_type == "Where":
        return at > 0
    return node.op_type in HANDS_ON_ANY or (node.op_type in HANDS_ON and at == 0)


def _to_floats(node: ir.Node) -> bool:
    return node.op_type == "Cast" and ir.DataType(attribute_of(node, "to", 1)).is_floating_point()


def _table(node: ir.Node) -> tuple[str, int] | None:
    """The name and the number of rows of what a node looks up; None if it does not, or if they are not
    known."""
    data, indices = node.inputs[:2]
    if data is None or node.op_type not in ALONG_AN_AXIS | ALONG_AXES:
        return None
    while data.shape is None or not all(isinstance(size, int) for size in data.shape):
        maker = data.producer()
        if maker is None or maker.op_type not in SAME_ROWS or maker.inputs[0] is None:
            break
        data = maker.inputs[0]
    sizes: Sequence[object] = () if data.shape is None else tuple(data.shape)
    if data.const_value is not None:
        sizes = tuple(data.const_value.shape)
    elif (maker := data.producer()) is not None and (tensor := constant_of(maker)) is not None:
        sizes = tuple(tensor.shape)
    if not sizes:
        return None
    if node.op_type in ALONG_AN_AXIS:
        chosen = [sizes[int(attribute_of(node, "axis", 0)) % len(sizes)]]
    else:
        last = None if indices is None or not indices.shape else indices.shape[-1]
        first = int(attribute_of(node, "batch_dims", 0))
        chosen = [*sizes[first : first + last]] if isinstance(last, int) else []
        if len(chosen) != last:
            return None
    rows = [size for size in chosen if isinstance(size, int)]
    return (str(data.name), min(rows)) if rows and len(rows) == len(chosen) and min(rows) > 0 else None


def _ends(graph: OnnxGraph, file: Path, value: ir.Value | None) -> tuple[int, int] | None:
    """The smallest and the largest number of an integer constant; None if the value is no such."""
    stored = None if value is None else graph.constants.get(str(value.name))
    if stored is None:
        return None
    try:
        numbers = np.asarray(stored.array(file))
    except UnreadableError:
        return None
    return (int(numbers.min()), int(numbers.max())) if numbers.size and numbers.dtype.kind in "iu" else None
