"""The leads of the labels that a graph returns: how far a label's score is ahead of the next class's.

A lead is no output. It is read at the ArgMax or TopK of the graph that makes the label.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxproof.graph import OnnxGraph, attribute_of
from onnxproof.tensors import Field
from onnxproof.validate.legs.leg import Arrays
from onnxproof.validate.measure import REACH

Array = NDArray[Any]

PASSING = frozenset({"Cast", "Concat", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
"""Operators that pass their input's values on unchanged."""

CHOOSING = frozenset({"ArgMax", "TopK"})
"""Operators that turn scores into a class index."""


@dataclass(frozen=True, slots=True)
class Lead:
    """Where a label's lead over the next class is read: the tensor that its ArgMax takes, and its axis."""

    tensor: str
    axis: int


@dataclass(frozen=True, slots=True)
class Leads:
    """Where the leads of a file's labels are read, by the label field's name. ``fields`` are all fields."""

    fields: tuple[Field, ...]
    found: Mapping[str, Lead]

    @classmethod
    def of(cls, graph: OnnxGraph, fields: Sequence[Field]) -> "Leads":
        """The leads that can be read in the graph."""
        labels = [entry for entry in fields if entry.kind == "label"]
        found = {entry.name: find_lead(graph, entry) for entry in labels}
        return cls(tuple(fields), {name: lead for name, lead in found.items() if lead is not None})

    @property
    def tensors(self) -> frozenset[str]:
        """The names of the tensors that leads are read from."""
        return frozenset(lead.tensor for lead in self.found.values())

    @property
    def unranked(self) -> bool:
        """Whether a lead belongs to a label that ranks no field. Its scores have to be measured apart."""
        return any(entry.ranks is None for entry in self.fields if entry.name in self.found)

    def margins(self, exact: Arrays, wanted: Arrays, still: Arrays) -> dict[str, Array]:
        """The margin of each label, by the field's name; less the labels of which the two runs returned
        different shapes.

        ``exact`` has the oracle's outputs and the tensors that leads are read from, ``wanted`` the
        reference's outputs. ``still`` has those tensors in float32. A margin is:

        - the lead, in the unit of the field that the label ranks, if it ranks one;
        - 0 if it ranks none and float error can undo the lead, infinite if it cannot;
        - 0 if the lead cannot be read and the two runs chose different classes, infinite if they chose the
          same. Then only flips that the file itself makes are excused.
        """
        return dict(self._margins(exact, wanted, still))

    def _margins(self, exact: Arrays, wanted: Arrays, still: Arrays) -> Iterator[tuple[str, Array]]:
        for entry in self.fields:
            if entry.kind != "label":
                continue
            here, there = (_channels(outputs[entry.output], entry) for outputs in (exact, wanted))
            if here.shape == there.shape:
                yield entry.name, self._margin(entry, here, there, exact, still)

    def _margin(self, entry: Field, here: Array, there: Array, exact: Arrays, still: Arrays) -> Array:
        lead = self.found.get(entry.name)
        if lead is not None and here.size:
            best, ahead = _lead(lead, exact)
            if ahead.size == here.size and entry.ranks is None:
                moves = np.subtract(exact[lead.tensor], still[lead.tensor], dtype=np.float64)
                return np.where(ahead <= 2 * (1 + REACH) * np.abs(moves).max(), 0.0, np.inf)
            ranked = next((field for field in self.fields if field.name == entry.ranks), None)
            # The lead can be compared with the error of the ranked field only if the scores are that field.
            if ranked is not None and np.array_equal(
                best.ravel(), _channels(exact[ranked.output], ranked).ravel()
            ):
                return ahead
        shape = here.shape[:-1] if here.ndim and here.shape[-1] == 1 else here.shape
        return np.where(here == there, np.inf, 0.0).reshape(shape)


def find_lead(graph: OnnxGraph, entry: Field) -> Lead | None:
    """Where the lead of a label can be read: the scores that its ArgMax or TopK takes.

    Returns None if there is no such operator, or several.
    """
    pending: list[ir.Value | None] = [value for value in graph.outputs if value.name == entry.output]
    choosers: dict[str, ir.Node] = {}
    while pending:
        value = pending.pop()
        node = None if value is None else value.producer()
        if node is None:
            continue
        if node.op_type in CHOOSING:
            choosers[str(node.outputs[0].name)] = node
        elif node.op_type in PASSING:
            pending += node.inputs
    if len(choosers) != 1:
        return None
    (node,) = choosers.values()
    scores = node.inputs[0]
    if scores is None:
        return None
    return Lead(str(scores.name), int(attribute_of(node, "axis", -1 if node.op_type == "TopK" else 0)))


def _lead(lead: Lead, outputs: Arrays) -> tuple[Array, Array]:
    """The best of the scores along the axis, and its lead over the next (infinite with one class)."""
    scores = np.moveaxis(outputs[lead.tensor], lead.axis, -1)
    best = scores.max(axis=-1)
    if scores.shape[-1] == 1:
        return best, np.full_like(best, np.inf)
    return best, best - np.partition(scores, -2, axis=-1)[..., -2]


def _channels(values: Array, entry: Field) -> Array:
    return values[..., entry.channels] if values.ndim else values
