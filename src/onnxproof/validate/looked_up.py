"""Rows of tables that a file looks up by index, and that are not the checkpoint's; and cases that read them.

An embedding has a row for each id. Cases draw few of many ids, so a row that was changed may be read by none
of them. The file itself shows which rows these are. Where the indices are the numbers of an integer input,
cases are made that have these ids, and the links of the proof decide as on every other case. No such case is
made for a file whose tables are the checkpoint's.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir

from onnxproof.graph import STANDARD, OnnxGraph, Stored, UnreadableError, attribute_of
from onnxproof.tensors import TensorSpec
from onnxproof.validate.cases import Case, volume
from onnxproof.validate.exact.constants import Proven, Unproven
from onnxproof.validate.exact.known import Known
from onnxproof.validate.exact.layouts import Array
from onnxproof.validate.exact.nearest import MOSTLY, Near

LOOKS_UP = "Gather"
HANDS_ON = frozenset("Cast Clip Flatten Identity Reshape Squeeze Transpose Unsqueeze".split())
"""Operators behind which indices are still an input's own numbers."""
BOUNDS = frozenset("Max Min".split())
"""The same for operators of which one of two inputs is a constant."""
SAME_ROWS = frozenset("Cast Identity".split())
"""Operators behind which a table has the same rows."""

MOST_PARTS = 4
"""How many cases of each kind are made for one input. Of more rows than these read, those with the largest
changes are read."""

FEWEST_PLACES = 8
"""An input of fewer numbers is read with these ids only if the plan has no larger one."""

SHOWN = 5
"""How many rows a message names."""


@dataclass(frozen=True, slots=True)
class ChangedRows:
    """Rows of a constant that differ from the checkpoint's.

    ``rows`` are their numbers, those with the largest changes first. ``inputs`` are the integer inputs whose
    numbers are the indices; it is empty if the graph computes them. ``read`` are the rows that an id in the
    declared ranges reads, and ``tried`` those that cases read for certain. ``computed`` are the values of the
    graph that hold computed indices. ``moved`` says that no rounding explains the difference: the table's
    numbers stand in another order, or only a part of them differs.
    """

    constant: str
    rows: tuple[int, ...]
    inputs: tuple[str, ...]
    read: tuple[int, ...]
    tried: tuple[int, ...] = ()
    computed: tuple[str, ...] = ()
    moved: bool = False

    def __str__(self) -> str:
        """What is told of them in the note on the constant."""
        if not self.inputs:
            return f"{listed(self.rows)}, by indices that the graph computes"
        unread = sorted(set(self.rows) - set(self.read))
        told = f"{listed(self.read)}, which extra cases read" if self.read else ""
        if len(self.tried) < len(self.read):
            told = f"{listed(self.read)}, of which extra cases read {len(self.tried)}"
        if unread:
            told += f"{'; ' if told else ''}{listed(unread)}, which no declared id reads"
        return told


def changed_rows(
    graph: OnnxGraph, proven: Proven, known: Known, inputs: Sequence[TensorSpec], file: Path
) -> tuple[ChangedRows, ...]:
    """The changed rows of each table of a file that is looked up by index.

    External data is read from beside ``file``. Tables whose data cannot be read are left out.
    """
    return tuple(
        found for entry in proven.unproven for found in _of_constant(graph, entry, known, inputs, file)
    )


def with_cases(
    changed: Sequence[ChangedRows], inputs: Sequence[TensorSpec], cases: Sequence[Case]
) -> tuple[tuple[ChangedRows, ...], tuple[Case, ...]]:
    """The changed rows with those that are tried, and the cases that try them, at sizes that ``cases`` have.

    There are two cases for each part of the ids: in one all ids are of changed rows, in the other half.
    """
    more: list[Case] = []
    for spec in inputs:
        rows = tuple(dict.fromkeys(row for one in changed if spec.name in one.inputs for row in one.read))
        more += _cases_of(spec, rows, [case for case in cases if not case.native]) if rows else ()
    held = {
        name: {row for case in more for row in case.ids.get(name, ())}
        for one in changed
        for name in one.inputs
    }
    return (
        tuple(
            replace(
                one, tried=tuple(row for row in one.read if any(row in held[name] for name in one.inputs))
            )
            for one in changed
        ),
        tuple(more),
    )


def _cases_of(spec: TensorSpec, rows: Sequence[int], cases: Sequence[Case]) -> Iterator[Case]:
    """The cases of one input. ``rows`` are those that it reads."""
    if not cases:
        return
    places = {case.name: int(np.prod(spec.sized(case.sizes))) for case in cases}
    wanted = min(max(2 * len(rows), FEWEST_PLACES), max(places.values()))
    case = min((one for one in cases if places[one.name] >= wanted), key=lambda one: volume((one,)))
    at_once = max(places[case.name] // 2, 1)
    low, high = _declared(spec)
    label = "x".join(str(size) for size in case.sizes.values())
    for start in range(0, min(len(rows), MOST_PARTS * at_once), at_once):
        part = tuple(rows[start : start + at_once])
        told = "-".join(map(str, part[:1])) if len(part) == 1 else f"{min(part)}-to-{max(part)}"
        seed = zlib.crc32(repr((spec.name, part)).encode())
        others = np.random.default_rng(seed).integers(low, high, len(part), endpoint=True)
        for ids, kind in ((part, ""), ((*part, *map(int, others)), "-and-others")):
            name = f"{label}-{spec.name}-{told}{kind}"
            yield Case(name, case.sizes, "noise", seed, ids={spec.name: ids})


def _of_constant(
    graph: OnnxGraph, entry: Unproven, known: Known, inputs: Sequence[TensorSpec], file: Path
) -> Iterator[ChangedRows]:
    names = {
        name for near in entry.near if near.close and (near.differing or near.sparse) for name in near.names
    }
    names |= {entry.reordered} - {""}
    stored = graph.constants.get(entry.name)
    if not names or stored is None:
        return
    looked = list(lookups(stored))
    if not looked:
        return
    original = next(
        (
            known.weights.tensors[name]
            for name in (entry.name, *sorted(names))
            if name in known.weights.tensors and known.weights.tensors[name].shape == stored.shape
        ),
        None,
    )
    if original is None:
        return
    try:
        values = stored.array(file)
    except UnreadableError:
        return
    for axis in dict.fromkeys(axis for axis, _ in looked):
        rows = _differing(values, original, axis)
        sources = [(indices, source_of(indices, inputs)) for at, indices in looked if at == axis]
        found = [spec for _, spec in sources if spec is not None]
        computed = tuple(dict.fromkeys(str(indices.name) for indices, spec in sources if spec is None))
        read = tuple(row for row in rows if any(_reads(spec, row) for spec in found))
        if rows:
            named = tuple(dict.fromkeys(spec.name for spec in found))
            moved = bool(entry.reordered) or any(_in_part(near) for near in entry.near)
            yield ChangedRows(entry.name, rows, named, read, computed=computed, moved=moved)


def _in_part(near: Near) -> bool:
    """Whether a part of the numbers is equal to the bit. Rounding would move nearly all."""
    return near.close and 0 < near.unequal <= MOSTLY * near.count


def _differing(values: Array, original: Array, axis: int) -> tuple[int, ...]:
    """The rows along an axis in which the numbers differ, those with the largest difference first."""
    found = []
    for row, (own, theirs) in enumerate(
        zip(np.moveaxis(values, axis, 0), np.moveaxis(original, axis, 0), strict=True)
    ):
        if not np.array_equal(own, theirs.astype(own.dtype)):
            with np.errstate(invalid="ignore"):
                apart = np.abs(own.astype(np.float64) - theirs.astype(np.float64))
            found.append((-float(np.max(np.nan_to_num(apart, nan=np.inf))), row))
    return tuple(row for _, row in sorted(found))


def lookups(stored: Stored) -> Iterator[tuple[int, ir.Value]]:
    """The axis and the indices of each node that looks a table's rows up."""
    uses = list(stored.users)
    while uses:
        node, at = uses.pop()
        if node.domain != STANDARD or at:
            continue
        if node.op_type in SAME_ROWS:
            uses += [(use.node, use.idx) for use in node.outputs[0].uses()]
        elif node.op_type == LOOKS_UP and node.inputs[1] is not None and stored.shape:
            yield int(attribute_of(node, "axis", 0)) % len(stored.shape), node.inputs[1]


def source_of(indices: ir.Value, inputs: Sequence[TensorSpec]) -> TensorSpec | None:
    """The integer input whose numbers are indices; None if the graph computes them."""
    value: ir.Value | None = indices
    while value is not None and value.producer() is not None:
        node = value.producer()
        assert node is not None
        if node.domain != STANDARD:
            return None
        if node.op_type in HANDS_ON:
            value = node.inputs[0]
        elif node.op_type in BOUNDS:
            moving = [one for one in node.inputs if one is not None and not _is_constant(one)]
            value = moving[0] if len(moving) == 1 else None
        else:
            return None
    if value is None or not value.is_graph_input():
        return None
    spec = next((spec for spec in inputs if spec.name == value.name), None)
    return spec if spec is not None and spec.dtype.startswith(("int", "uint")) and not spec.mask else None


def _is_constant(value: ir.Value) -> bool:
    node = value.producer()
    return value.is_initializer() or (node is not None and node.op_type == "Constant")


def _declared(spec: TensorSpec) -> tuple[int, int]:
    low, high = spec.range or (0, 1)
    return int(low), int(high)


def _reads(spec: TensorSpec, row: int) -> bool:
    low, high = _declared(spec)
    return low <= row <= high


def listed(rows: Sequence[int]) -> str:
    more = len(rows) - SHOWN
    told = ", ".join(map(str, sorted(rows)[:SHOWN])) + (f" and {more} more" if more > 0 else "")
    return f"row{'' if len(rows) == 1 else 's'} {told}"
