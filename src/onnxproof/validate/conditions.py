"""The conditions on an input's values in a graph, and what they were in a run.

A condition is what a comparison writes, or what logic or a move of elements makes of one. It is watched where
a node reads it that is none of these: a Where, an If, a cast to numbers.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxproof.graph import STANDARD, OnnxGraph, attribute_of, label, reads

COMPARISONS = frozenset("Greater GreaterOrEqual Less LessOrEqual Equal".split())
"""Not among them: IsNaN and IsInf, with which converters guard against what ordinary numbers never are."""
LOGICAL = frozenset("And Or Xor Not".split())
MOVERS = frozenset(
    "Identity Reshape Flatten Squeeze Unsqueeze Transpose Expand Tile Slice Split Gather Concat".split()
)
"""Operators whose result is boolean if what they read is."""
OF_SIZE = ("Shape", "Size")
"""Operators whose result depends on an input's sizes alone."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition that a node reads.

    ``node`` is the node's label and ``writes`` its first output; ``at`` is the place among its inputs.
    ``compared`` names the constants that the condition compares an order with, equality left out.
    """

    node: str
    writes: str
    at: int
    compared: frozenset[str]


@dataclass(eq=False)
class Seen:
    """What the conditions of a graph were in its runs so far, all over their tensors."""

    conditions: tuple[Condition, ...]
    values: dict[Condition, set[bool]] = field(default_factory=dict)

    @classmethod
    def of(cls, graph: OnnxGraph) -> "Seen":
        """The conditions of the graph itself; those of its branches, loops and functions are left out."""
        return cls(tuple(_conditions(graph)))

    @cached_property
    def _by_output(self) -> dict[str, list[Condition]]:
        found: dict[str, list[Condition]] = {}
        for condition in self.conditions:
            found.setdefault(condition.writes, []).append(condition)
        return found

    def watch(self, step: Any, read: tuple[Any, ...], _: tuple[Any, ...]) -> None:
        """Note what the conditions are that a node reads. The evaluator calls it after each node."""
        for condition in self._by_output.get(step.writes[0], ()):
            value = np.asarray(read[condition.at])
            if value.dtype == bool:
                self.values.setdefault(condition, set()).update(map(bool, np.unique(value)))


def _conditions(graph: OnnxGraph) -> Iterator[Condition]:
    dependent = {str(value.name) for value in graph.inputs}
    compared: dict[str, frozenset[str]] = {}
    for node in graph.top:
        read = [None if value is None else str(value.name) for value in node.inputs]
        if node.op_type in OF_SIZE or not any(str(value.name) in dependent for value in reads(node)):
            continue
        written = [str(value.name) for value in node.outputs]
        dependent.update(written)
        places = [at for at, name in enumerate(read) if name in compared]
        if _gives_condition(node):
            order = node.op_type in COMPARISONS and node.op_type != "Equal"
            known = [name for name in read if name in graph.constants and order]
            compared |= dict.fromkeys(written, frozenset(map(str, known)))
        elif places and node.op_type in LOGICAL | MOVERS:
            joined = frozenset[str]().union(*(compared[str(read[at])] for at in places))
            compared |= dict.fromkeys(written, joined)
        else:
            for at in places:
                yield Condition(label(node), written[0], at, compared[str(read[at])])


def _gives_condition(node: ir.Node) -> bool:
    cast = node.op_type == "Cast" and attribute_of(node, "to", 0) == ir.DataType.BOOL
    return node.domain == STANDARD and (cast or node.op_type in COMPARISONS)
