"""Prove the constants of one file against those of another.

Two healthy exports of one checkpoint hold different roundings of the same numbers: one has a batch norm, the
other a convolution that it is folded into; one scales a query, the other a product. So each constant of B is
matched with what float64 makes of A's constants, as it is matched with a checkpoint's (constants.py). What
is left of B may be what A's constants were made from: then A's are matched with B's. Or both were made from
numbers that neither file holds, by a fold in float64 and one in float32: then they are equal but for the
roundings that a fold takes, and A's numbers stand for both.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import onnx_ir as ir

from onnxproof.graph import OnnxGraph, Stored, attribute_of
from onnxproof.tensors import HALVES
from onnxproof.validate.exact.checkpoint import Array, Weights
from onnxproof.validate.exact.constants import (
    FLOATS,
    SINGLE,
    Origin,
    Proven,
    prove_constants,
    replaceable,
)
from onnxproof.validate.exact.known import Known, Recorded
from onnxproof.validate.exact.later import Constant, Later, are_many, is_large
from onnxproof.validate.exact.layouts import find_layout, plain_layouts, same, shapes_agree, squeezed
from onnxproof.validate.exact.match import BIAS_ROUNDINGS, ROUNDINGS, roundings_of
from onnxproof.validate.exact.scalars import written

NORM = ("weight", "bias", "running_mean", "running_var")
"""The tensors of a batch norm, in the order of BatchNormalization's inputs after the first."""


NOTHING: Mapping[str, Array] = MappingProxyType({})

ALIKE = ROUNDINGS + 1
"""The most roundings that part two folds of one tensor: those of a fold in float32, and the one of a fold in
float64. Exports whose batch norms torch's own exporters folded measured up to 4.0."""

ALIKE_VECTORS = BIAS_ROUNDINGS + 1
"""The same for a vector, in roundings of its largest number: a bias is a sum, and its terms are not known.
Measured: up to 3.3."""


@dataclass(frozen=True, slots=True, eq=False)
class Twins:
    """What the constants of two files are. ``b.unproven`` is like nothing in A.

    ``a.exact`` has the constants of A that were rounded: numbers that are written in a simple form, and what
    was made from B's constants. ``a_alone`` are the names of A's constants that B holds in no form. ``known``
    is what B's constants were held to.
    """

    a: Proven
    b: Proven
    a_alone: tuple[str, ...]
    known: Known


def prove_twins(a: OnnxGraph, b: OnnxGraph, file_a: Path, file_b: Path) -> Twins:
    """Match the constants of B with those of A, and what is left of A with B's.

    Raises UnreadableError if external data cannot be read.
    """
    ours, theirs = _Tensors.of(a, file_a), _Tensors.of(b, file_b)
    alone = prove_constants(a, ours.known(), file_a)
    scalars = _numbers(a, file_a, (entry.name for entry in alone.unproven))
    likenesses = _likenesses(ours, theirs, replaceable(b))
    known = ours.known(scalars, also=theirs.some(likenesses))
    found = prove_constants(b, known, file_b)
    found = replace(
        found,
        exact={**found.exact, **{name: one.laid for name, one in likenesses.items()}},
        origins={**found.origins, **{name: one.origin for name, one in likenesses.items()}},
    )
    used = ours.behind(name for origin in found.origins.values() for name in origin.names)
    twins = Twins(alone, found, tuple(name for name in ours.names if name not in used), known)
    if not twins.b.unproven or not twins.a_alone:
        return twins
    return _with_what_b_made(twins, a, file_a, theirs.without(found.exact))


def _with_what_b_made(twins: Twins, a: OnnxGraph, file_a: Path, theirs: "_Tensors") -> Twins:
    """With those of A's constants that were made from constants of B. ``theirs`` are B's own."""
    back = prove_constants(a, theirs.known(), file_a)
    origins = {name: back.origins[name] for name in twins.a_alone if name in back.origins}
    made = {name: values for name, values in back.exact.items() if name in origins}
    behind = theirs.behind(name for origin in origins.values() for name in origin.names)
    return Twins(
        replace(twins.a, exact={**twins.a.exact, **made}),
        replace(twins.b, unproven=tuple(entry for entry in twins.b.unproven if entry.name not in behind)),
        tuple(name for name in twins.a_alone if name not in origins),
        twins.known,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Likeness:
    """A constant that differs from one of A's by roundings: A's numbers in float64, laid out as B's."""

    laid: Constant
    origin: Origin


def _likenesses(ours: "_Tensors", theirs: "_Tensors", may: Collection[str]) -> dict[str, _Likeness]:
    """The constants of B, among those that ``may`` be replaced, that are not equal to any of A's."""
    many = are_many(array.nbytes for array in theirs.weights.tensors.values())
    by_size: dict[int, list[tuple[str, Array]]] = defaultdict(list)
    for key, array in ours.weights.tensors.items():
        by_size[array.size].append((key, array))
    found = {}
    for key, values in theirs.weights.tensors.items():
        name = theirs.stored[key]
        likeness = _likeness(values, by_size[values.size], ours, many=many) if name in may else None
        if likeness is not None:
            found[name] = likeness
    return found


def _likeness(
    values: Array, sources: Iterable[tuple[str, Array]], ours: "_Tensors", *, many: bool
) -> _Likeness | None:
    """The first source that a constant is like; None if there is none, or if one holds its very numbers."""
    first: _Likeness | None = None
    for key, array in sources:
        laid = alike(array, values)
        if laid is None:
            continue
        if same(laid, values):
            return None
        if first is None:
            text = f"{ours.stored[key]}, rounded otherwise"
            origin = Origin(text, frozenset([key]), False, ALIKE / 2)
            later = many and is_large(laid.shape)
            first = _Likeness(_later(laid) if later else laid.astype(np.float64), origin)
    return first


def _later(laid: Array) -> Later:
    return Later(laid.shape, np.dtype(np.float64), lambda: laid.astype(np.float64))


def alike(source: Array, values: Array) -> Array | None:
    """The source, laid out as ``values``, if these differ from it by a fold's roundings alone.

    Returns None if they do not, in any order of the axes.
    """
    shape = squeezed(values).shape
    laid = squeezed(source)
    if sorted(laid.shape) != sorted(shape):
        return None
    scale = float(np.max(np.abs(source), initial=0.0)) if len(shape) < 2 else 0.0

    def fits(one: Array, other: Array) -> bool:
        terms = np.abs(one) + scale * ALIKE_VECTORS / ALIKE if scale else None
        return roundings_of(other, one, SINGLE, ALIKE, terms) <= ALIKE

    layouts = (layout for layout in plain_layouts(laid.shape) if shapes_agree(layout, laid.shape, shape))
    layout = find_layout(laid, squeezed(values), layouts, fits)
    return None if layout is None else layout.of(laid).reshape(values.shape)


@dataclass(frozen=True, slots=True, eq=False)
class _Tensors:
    """A graph's float constants, as if they were a checkpoint's.

    The tensors of a batch norm have the names that PyTorch gives them; ``stored`` has their names in the
    file. Single numbers are left out: they are matched by how they are written.
    """

    weights: Weights
    stored: Mapping[str, str]

    @classmethod
    def of(cls, graph: OnnxGraph, file: Path) -> "_Tensors":
        held = {
            stored.name: stored
            for stored in graph.stored
            if stored.dtype in FLOATS and np.prod(stored.shape) > 1
        }
        named, epsilons = _norms(graph, held)
        in_norms = set(named.values())
        named |= {name: name for name in held if name not in in_norms}
        tensors = {key: _readable(held[name].array(file)) for key, name in named.items()}
        kinds = {key: held[name].dtype.name.lower() for key, name in named.items()}
        halves = {key: kind for key, kind in kinds.items() if kind in HALVES}
        return cls(Weights(tensors, epsilons, halves), named)

    @property
    def names(self) -> tuple[str, ...]:
        """The constants' names in the file."""
        return tuple(dict.fromkeys(self.stored.values()))

    def behind(self, keys: Iterable[str]) -> frozenset[str]:
        """The names in the file of the tensors of these names."""
        return frozenset(self.stored[key] for key in keys if key in self.stored)

    def some(self, names: Collection[str]) -> dict[str, Array]:
        """The tensors of these names in the file."""
        return {key: array for key, array in self.weights.tensors.items() if self.stored[key] in names}

    def without(self, names: Collection[str]) -> "_Tensors":
        """All but those of these names in the file, which may be part of no norm then."""
        kept = {key: name for key, name in self.stored.items() if name not in names}
        tensors = {key: self.weights.tensors[key] for key in kept}
        return _Tensors(replace(self.weights, tensors=tensors), kept)

    def known(self, scalars: tuple[float, ...] = (), also: Mapping[str, Array] = NOTHING) -> Known:
        """What is known of the file, and of other tensors."""
        others = {f"{key} of B": array for key, array in also.items()}
        weights = replace(self.weights, tensors={**self.weights.tensors, **others})
        return Known(weights, lambda: Recorded(scalars=scalars))


def _norms(graph: OnnxGraph, held: Mapping[str, Stored]) -> tuple[dict[str, str], dict[str, float]]:
    """The tensors of the graph's batch norms by PyTorch's names, and the epsilons by the norms' names."""
    named: dict[str, str] = {}
    epsilons: dict[str, float] = {}
    for node in graph.nodes:
        if node.op_type != "BatchNormalization" or len(node.inputs) != 1 + len(NORM):
            continue
        read = [_stored_name(value) for value in node.inputs[1:]]
        if any(name not in held for name in read):
            continue
        norm = f"the batch norm of {node.outputs[0].name}"
        named |= {f"{norm}.{part}": str(name) for part, name in zip(NORM, read, strict=True)}
        epsilon = float(np.float32(attribute_of(node, "epsilon", 1e-5)))
        meant = written(epsilon, np.dtype(np.float32))
        epsilons[norm] = epsilon if meant is None else meant.value
    return named, epsilons


def _stored_name(value: ir.Value | None) -> str | None:
    """The name of the constant that a value is: TorchScript passes equal constants on by an Identity."""
    while value is not None:
        maker = value.producer()
        if maker is None or maker.op_type != "Identity":
            return str(value.name)
        value = maker.inputs[0]
    return None


def _numbers(graph: OnnxGraph, file: Path, names: Iterable[str]) -> tuple[float, ...]:
    """The single numbers among the constants of these names."""
    wanted = set(names)
    return tuple(
        float(stored.array(file).reshape(-1)[0])
        for stored in graph.stored
        if stored.name in wanted and np.prod(stored.shape) == 1
    )


def _readable(values: Array) -> Array:
    """bfloat16 as float32, which holds it exactly."""
    return values if values.dtype.kind == "f" else values.astype(np.float32)
