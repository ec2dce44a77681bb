"""Prove a graph's float constants apart, each against the checkpoint.

A file holds its constants in float32. Most are the checkpoint's own numbers. The rest were computed by an
exporter or a simplifier, and rounded: batch norms folded into weights, scales merged into them, tables,
scalars that Python had in double. Each constant is matched with what float64 makes of the checkpoint,
within the roundings that such a computation takes. A graph that is evaluated with the exact values instead
of the file's differs from the model by no rounding of constants.

A match needs only the numbers to agree, so it says nothing about whether the graph uses the right tensor in
the right place. The graph's values do: they are compared with the model's.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxproof.graph import OnnxGraph, Stored, is_constant
from onnxproof.tensors import HALVES
from onnxproof.validate.exact.attributes import exact_attributes
from onnxproof.validate.exact.folds import folded, table_of, vector_of
from onnxproof.validate.exact.known import Known, Pool
from onnxproof.validate.exact.later import Constant, are_many
from onnxproof.validate.exact.layouts import Array
from onnxproof.validate.exact.match import SCALAR_ROUNDINGS, Match, roundings_of, unit
from onnxproof.validate.exact.nearest import SMALLEST, Near, nearest, nearly_own
from onnxproof.validate.exact.otherwise import otherwise
from onnxproof.validate.exact.own import explains_nothing, is_own, was_changed
from onnxproof.validate.exact.pieces import joined, shuffled, slice_of, whole
from onnxproof.validate.exact.scalars import Scalar, computed, merged, plain, short, traced, written

FLOATS = {ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16}

DISTINCT = 64
"""The most different numbers of a constant that is taken for scalars."""

SCALARS = 4
"""The most different numbers of a constant that is no changed tensor, whatever it is near to."""

GRID = 64.0
"""Numbers that are all multiples of 1 / GRID are exact in the file: sizes, strides, centres of cells."""

SINGLE_DTYPE = np.dtype(np.float32)
SINGLE = unit(SINGLE_DTYPE)


@dataclass(frozen=True, slots=True)
class Origin:
    """What a constant is made from, for a message, and the checkpoint's tensors among that.

    ``copied`` says that these are its own numbers, in whatever layout. ``ulps`` is the largest distance of
    its numbers from the exact ones, in units in float32's last place: of each number itself, or of what was
    added up for it. ``factor`` is a scalar that it is multiplied by.
    """

    text: str
    names: frozenset[str]
    copied: bool
    ulps: float
    factor: float = 1.0


@dataclass(frozen=True, slots=True)
class Unproven:
    """A constant that matches nothing known, or whose exact value cannot be put in its place.

    ``rounded`` says that it is the latter: its name means several constants. ``near`` is what it is like,
    however far; several entries tell of the parts of a recurrence's weights. ``reordered`` is the tensor of
    which it holds the numbers in another order, or "". ``rounding`` is how far rounding may have moved it, as
    a share of itself. ``own`` says that it is a tensor of the checkpoint but for its last digits, in a file
    of onnxproof's own: nobody rounded it.
    """

    name: str
    shape: tuple[int, ...]
    near: tuple[Near, ...] = ()
    reordered: str = ""
    rounded: bool = False
    rounding: float = SINGLE
    own: bool = False

    @property
    def changed(self) -> bool:
        """Whether it is a known tensor, and rounding did not change it: it is ``own``, or only a few of its
        numbers differ. Rounding would have moved all."""
        return not self.rounded and (self.own or any(one.sparse for one in self.near))

    def __str__(self) -> str:
        told = [str(near) for near in self.near if near.close]
        if self.reordered:
            told = [f"the numbers of {self.reordered} in another order"]
        size = f"{list(self.shape)}" if self.shape else "a single number"
        return f"{self.name} ({size}){' is ' if told else ''}{'; '.join(told)}"


@dataclass(frozen=True, slots=True, eq=False)
class Proven:
    """What a graph's float constants are.

    ``exact`` has the float64 numbers of each constant that the file holds rounded, in its shape; large ones
    are made where they are read. The file's own numbers are exact for the other constants in ``origins``.
    ``attributes`` has the exact value of float attributes, such as an epsilon, by the name of their node's
    first output and their own. ``own`` are the halves in which the model itself is held, as ``ExactGraph``
    takes them. ``otherwise`` tells of constants that are known, but by their names are others.
    """

    exact: Mapping[str, Constant]
    origins: Mapping[str, Origin]
    unproven: tuple[Unproven, ...]
    attributes: Mapping[tuple[str, str], float] = field(default_factory=dict)
    own: frozenset[str] = frozenset()
    otherwise: tuple[str, ...] = ()

    @property
    def farthest(self) -> float:
        """The largest distance of any proven constant from its exact value, in units in the last place."""
        return max((origin.ulps for origin in self.origins.values()), default=0.0)


def prove_constants(graph: OnnxGraph, known: Known, file: Path = Path("model.onnx")) -> Proven:
    """Prove the constants of a graph apart. External data is read from beside ``file``.

    The module runs only if a constant is neither the checkpoint's own nor a fold of a batch norm. Raises
    UnreadableError if external data cannot be read.
    """
    prover = _Prover(known)
    own = is_own(graph, known)
    may = replaceable(graph)
    many = are_many(stored.bytes for stored in graph.stored)
    exact: dict[str, Constant] = {}
    origins: dict[str, Origin] = {}
    unproven: dict[str, Unproven] = {}
    others: list[str] = []
    with np.errstate(all="ignore"):
        for stored in graph.stored:
            if stored.dtype not in FLOATS:
                continue
            values = _readable(stored.array(file))
            dtype = np.dtype(stored.dtype.numpy())
            match = prover.match(stored.name, values, dtype)
            if own and match is not None and explains_nothing(stored.name, values, match, known):
                match = None
            rounded = match is not None and match.exact is not None and match.roundings > 0
            if match is None or (rounded and stored.name not in may):
                told = _unproven(stored, values, known)
                unproven[stored.name] = replace(
                    told,
                    rounded=match is not None,
                    rounding=prover.rounding(dtype),
                    own=own and was_changed(values, told.near, known),
                )
                continue
            kept = match.kept(many=many)
            if rounded and kept is not None:
                exact[stored.name] = kept
            other = otherwise(stored.name, values, known) if match.exact is None or not match.names else None
            others += [] if other is None else [other]
            origins[stored.name] = Origin(
                match.text, match.names, match.exact is None, match.roundings / 2, match.factor
            )
    origins = {name: origin for name, origin in origins.items() if name not in unproven}
    attributes = exact_attributes(graph, prover.attribute)
    strange = tuple(unproven.values())
    return Proven(exact, origins, strange, attributes, known.weights.halves, tuple(others))


def replaceable(graph: OnnxGraph) -> frozenset[str]:
    """The names of constants that can be given another value: those that mean one dense tensor.

    Branches and functions may use one name for several constants.
    """
    counts = Counter(stored.name for stored in graph.stored)
    sparse = {entry.values.name for entry in graph.proto.graph.sparse_initializer}
    sparse |= {
        str(node.outputs[0].name)
        for node in graph.nodes
        if is_constant(node) and "sparse_value" in node.attributes
    }
    called = {(node.domain, node.op_type, node.overload) for node in graph.nodes}
    idle = {
        str(output.name)
        for key, function in graph.model.functions.items()
        if key not in called
        for node in function
        for output in node.outputs
    }
    return frozenset(name for name, count in counts.items() if count == 1 and name not in sparse | idle)


def _unproven(stored: Stored, values: Array, known: Known) -> Unproven:
    source = shuffled(values, known.stored)
    near = nearest(stored.name, values, known) if source is None else ()
    return Unproven(stored.name, stored.shape, near, "" if source is None else source.name)


def _readable(values: Array) -> Array:
    """A tensor in a float type of NumPy's own: bfloat16 as float32, which holds it exactly."""
    return values if values.dtype.kind == "f" else values.astype(np.float32)


class _Prover:
    """Matches one constant after the other with what is known."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self._dtype = SINGLE_DTYPE
        self._ways: tuple[Callable[[str, Array], Match | None], ...] = (
            self._stored,
            self._simple,
            self._folded,
            self._parts,
            self._recorded,
            self._scalars,
            self._computed,
        )

    def match(self, name: str, values: Array, dtype: np.dtype[Any]) -> Match | None:
        """The first way in which the constant is known, the strictest first; None if there is none.

        ``dtype`` is the constant's own: ``values`` hold bfloat16 in float32.
        """
        self._dtype = dtype
        if not values.size:
            return Match("no numbers")
        return next((match for way in self._ways if (match := way(name, values)) is not None), None)

    def attribute(self, value: float, dtype: np.dtype[Any], node: ir.Node) -> Scalar | None:
        """The number that a float attribute was rounded from, or computed from in float32. The factor of a
        fused product may be two factors, merged. The module runs only for one that nobody writes plainly."""
        if not self._may_hold(dtype):
            return None
        roundings = SCALAR_ROUNDINGS * self.rounding(dtype)
        found = plain(value, dtype) or computed(value, roundings)
        if found is None and node.op_type == "FusedMatMul":
            found = merged(value, roundings)
        return found or traced(value, dtype, self._known.recorded.scalars) or written(value, dtype)

    def _stored(self, name: str, values: Array) -> Match | None:
        """The checkpoint's own numbers. A single number counts only under its own name.

        Numbers that equal a tensor which the module computes with or into may be what it computed, as another
        program rounded it. What the run computed goes first.
        """
        known = self._known
        if values.size == 1 and name not in known.weights.tensors:
            return None
        match = whole(name, values, known.stored)
        if match is None or not any(map(known.is_computed, match.names)):
            return match
        if name in match.names and name not in known.rewritten:
            return match
        return self._recorded(name, values) or self._table(values) or match

    def rounding(self, dtype: np.dtype[Any]) -> float:
        """How far one rounding moves a number that was computed for a constant. Half precision counts only if
        the model itself is in it; a file that was converted to it holds other numbers than the model."""
        return unit(dtype) if dtype.name in self._known.weights.halves else SINGLE

    def _may_hold(self, dtype: np.dtype[Any]) -> bool:
        """Whether the model may hold numbers of that dtype: a half only if it is itself held in it."""
        return dtype.name not in HALVES or dtype.name in self._known.weights.halves

    def _simple(self, name: str, values: Array) -> Match | None:
        """Numbers that were not rounded: multiples of a sixty-fourth, or few and short ones."""
        if _sampled(values, _on_grid):
            few = values.size if values.size <= DISTINCT else 0
        else:
            # A number in double may have been computed in float32: those are no short numbers.
            dtype = SINGLE_DTYPE if self._dtype == np.float64 else self._dtype
            distinct = _distinct(values)
            if distinct is None or not short(distinct, dtype):
                return None
            few = distinct.size
        if self._changed(name, values, few):
            return None
        return Match(f"{values.reshape(-1)[0]:.9g}" if values.size == 1 else "short numbers")

    def _changed(self, name: str, values: Array, distinct: int) -> bool:
        """Whether numbers that look like scalars are a changed tensor: rounded to half precision, say."""
        if values.size < SMALLEST:
            return nearly_own(name, values, self._known)
        return distinct > SCALARS and any(near.close for near in nearest(name, values, self._known))

    def _folded(self, name: str, values: Array) -> Match | None:
        known = self._known
        rounding = self.rounding(self._dtype)
        if values.size == 1:
            return None
        return vector_of(values, known, rounding) or folded(name, values, known, known.stored, rounding)

    def _parts(self, name: str, values: Array) -> Match | None:
        stored = self._known.stored
        if values.size == 1:
            return whole(name, values, stored)
        return slice_of(values, stored) or joined(values, (stored,))

    def _recorded(self, name: str, values: Array) -> Match | None:
        """What the run computed, to the bit. A single number counts only in double: too many numbers have one
        of float32's. Numbers in double may have been computed in float32, and widened."""
        double, tables = values.dtype == np.float64, self._known.tables
        if values.size == 1 and not double:
            return None
        found = whole(name, values, tables)
        if found is None and double:
            single = values.astype(SINGLE_DTYPE)
            found = whole(name, single, tables) if np.array_equal(single, values) else None
        return found

    def _scalars(self, name: str, values: Array) -> Match | None:
        """Few numbers, each a scalar of the run or one that is written in a simple form."""
        distinct = _distinct(values)
        if distinct is None or self._changed(name, values, distinct.size):
            return None
        if not self._may_hold(self._dtype):
            return None
        if values.dtype == np.float64:
            return Match("numbers in double")
        found = [self._scalar(float(value)) for value in distinct]
        scalars = [scalar for scalar in found if scalar is not None]
        if len(scalars) < len(found):
            return None
        exact = np.array([scalar.value for scalar in scalars])[np.searchsorted(distinct, values)]
        text = ", ".join(scalar.text for scalar in scalars[:3])
        return Match(text, frozenset(), exact, roundings_of(values, exact, unit(self._dtype), np.inf))

    def _scalar(self, value: float) -> Scalar | None:
        return (
            traced(value, self._dtype, self._known.recorded.scalars)
            or written(value, self._dtype)
            or computed(value, SCALAR_ROUNDINGS * self.rounding(self._dtype))
        )

    def _table(self, values: Array) -> Match | None:
        """A whole tensor that the run computed, within roundings."""
        return table_of(values, self._known.tables.by_size.get(values.size, ()), self.rounding(self._dtype))

    def _computed(self, name: str, values: Array) -> Match | None:
        """What the run computed, within roundings; its slices; what is scaled by it."""
        known = self._known
        tables: Pool = known.tables
        rounding = self.rounding(self._dtype)
        return (
            self._table(values)
            or (vector_of(values, known, rounding) if values.size > 1 else None)
            or folded(name, values, known, known.stored, rounding)
            or folded(name, values, known, tables, rounding)
            or slice_of(values, tables)
            or joined(values, (known.stored, tables))
        )


def _sampled(values: Array, true: Callable[[Array], bool]) -> bool:
    """Whether something is true of a few numbers, and then of all."""
    flat = values.reshape(-1)
    return true(flat[:DISTINCT]) and true(flat)


def _on_grid(values: Array) -> bool:
    scaled = values.astype(np.float64) * GRID
    return bool(np.all((scaled == np.trunc(scaled)) & ((np.abs(scaled) < 2**24) | np.isinf(scaled))))


def _distinct(values: Array) -> Array | None:
    """The different numbers of a tensor, sorted; None if they are more than DISTINCT."""
    flat = values.reshape(-1)
    few = flat[:: max(1, flat.size // (4 * DISTINCT))]
    if np.unique(few).size > DISTINCT:
        return None
    distinct = np.unique(flat)
    return distinct if distinct.size <= DISTINCT else None
