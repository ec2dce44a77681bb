"""Try a tensor of the module in a node's place: with the right one, the nodes behind it compute what the
module computes.

What lies nearest to a wrong value need not be what the node should give: a damaged convolution may be nearer
to the output of the ReLU behind it than to its own.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from onnxproof.errors import ModelFileError
from onnxproof.validate.bisect.fingerprint import Fingerprint, Shelf, distance
from onnxproof.validate.bisect.truth import Record
from onnxproof.validate.bisect.walk import EXACT, Walk, shelves_of
from onnxproof.validate.exact.arrays import Value, widen
from onnxproof.validate.exact.block import Step
from onnxproof.validate.exact.errors import ExactError
from onnxproof.validate.exact.graph import ExactGraph
from onnxproof.validate.exact.later import made

Array = NDArray[Any]

MOST_STEPS = 12
"""Nodes behind the named one that run with a tensor in its place."""

Fetch = Callable[[Collection[str], Step], Mapping[str, Value]]
"""Gives the values of these names as the graph computes them, in a run that ends at a node."""


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of a tensor: how many values behind it are then the module's, and whether ``whole``, all are
    that depend on it."""

    ties: int
    whole: bool


NOTHING = Tried(0, False)


@dataclass(frozen=True, slots=True, eq=False)
class Replay:
    """The nodes behind one output of a node, ready to run with another tensor in its place.

    ``behind`` are those nodes in order, and ``held`` what else they read. ``readers`` counts the nodes of the
    graph that read a value, and the graph's output as one. ``shelves`` has the module's tensors that are the
    counterpart of no value yet. ``limit`` is how far a value may be from its counterpart.
    """

    name: str
    behind: tuple[Step, ...]
    held: Mapping[str, Value]
    readers: Mapping[str, int]
    shelves: Mapping[tuple[str, int], Shelf]
    limit: float
    graph: ExactGraph

    @classmethod
    def of(cls, name: str, walked: Walk, unused: Collection[Record], graph: ExactGraph, fetch: Fetch) -> Self:
        """The replay of the value ``name``. ``unused`` are the tensors that are no value's counterpart."""
        readers = dict.fromkeys((port.name for port in graph.outputs), 1)
        descended = {name}
        behind: list[Step] = []
        for step in walked.steps:
            if step.proto.op_type in ("Shape", "Size"):
                continue
            for read in set(step.reads):
                readers[read] = readers.get(read, 0) + 1
            if len(behind) < MOST_STEPS and not descended.isdisjoint(step.reads):
                behind.append(step)
                descended.update(filter(None, step.writes))
        needed = {read for step in behind for read in step.reads if read} - descended
        held = {**walked.constants, **(fetch(needed, behind[-1]) if behind else {})}
        limit = walked.places[name].limit
        return cls(name, tuple(behind), held, readers, shelves_of(unused), limit, graph)

    def tried(self, tensor: Array) -> Tried:
        """What comes of a tensor in the value's place. Ends as soon as that is known."""
        own = Fingerprint.of(tensor)
        held = {**self.held, self.name: widen(tensor)}
        left = {self.name: self.readers.get(self.name, 0)}
        ties = 0
        for step in self.behind:
            if any(read and read not in held for read in step.reads):
                continue
            try:
                values = [made(held[read]) if read else None for read in step.reads]
                computed = self.graph.run_node(step, values)
            except (ExactError, ModelFileError):
                return NOTHING
            follows = [read for read in set(step.reads) if read in left]
            for read in follows:
                left[read] -= 1
            for written, value in zip(step.writes, computed, strict=True):
                held[written] = value
                if not follows or not written:
                    continue
                if self._is_tied(value, own):
                    ties += 1
                else:
                    left[written] = self.readers.get(written, 0)
            if ties and not any(left.values()):
                return Tried(ties, True)
        return Tried(ties, False)

    def _is_tied(self, value: Value, own: Fingerprint) -> bool:
        """Whether a value is a tensor of the module that is no other value's, and not the one that is tried:
        a Reshape passes that on."""
        found = Fingerprint.of(value) if isinstance(value, np.ndarray) else None
        if found is None or found.kind != "f" or found.alike:
            return False
        shelf = self.shelves.get((found.kind, found.size))
        if shelf is None or distance(found, own) <= EXACT:
            return False
        return bool((shelf.distances(found) <= max(self.limit, EXACT)).any())
