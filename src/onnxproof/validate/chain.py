"""The graph that ONNX Runtime runs at a level of optimization, node by node.

The graph is taken as ONNX Runtime writes it after optimizing. Each node is a model of its own, with its
constants as initializers, so that it runs the kernel that it runs in the whole graph. Asking a session for
intermediate values instead would undo what it fuses.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from onnxproof.runtime.session import SessionSettings, open_bytes, open_session
from onnxproof.system.scratch import scratch_folder
from onnxproof.validate.bisect.nodes import Graph, read_inlined
from onnxproof.validate.exact.arrays import Array, Value
from onnxproof.validate.exact.block import Step
from onnxproof.validate.exact.graph import ExactGraph

ALIGNMENT = 64
"""Bytes. ONNX Runtime aligns its own tensors so. Kernels sum in another order if an array is not aligned."""


@dataclass(frozen=True, slots=True, eq=False)
class Ran:
    """A node that was run. ``inputs`` are the values of ``step.reads`` and ``outputs`` those of
    ``step.writes``, as the runtime computed them."""

    step: Step
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]


class Chain:
    """The optimized graph of a file, ready to be run node by node in ONNX Runtime or in float64.

    ``outputs`` are those that are computed, and ``steps`` the nodes that they need. ``graph`` is the
    optimized graph taken apart, and ``exact`` the same in float64, where casts to ``own`` do not round.
    """

    def __init__(
        self, optimized: Path, settings: SessionSettings, outputs: Sequence[str], own: Collection[str] = ()
    ) -> None:
        self.exact = ExactGraph(optimized, own=own)
        self.outputs = tuple(outputs)
        self.graph = Graph(read_inlined(optimized), optimized.parent)
        self._settings = replace(settings, optimization="none", optimized_to=None)
        self.steps = _needed(self.exact.nodes, outputs)
        read_last = {name: at for at, step in enumerate(self.steps) for name in (*step.writes, *step.reads)}
        self._frees: list[list[str]] = [[] for _ in self.steps]
        for name, at in read_last.items():
            if name not in self.outputs:
                self._frees[at].append(name)

    def walk(self, inputs: Mapping[str, Array]) -> Iterator[Ran]:
        """Run every node in ONNX Runtime on what the nodes before it computed there.

        Values are freed after their last use. Raises whatever ONNX Runtime raises.
        """
        held: dict[str, Value] = dict(inputs)
        for at, step in enumerate(self.steps):
            yield self._ran(at, step, held)

    def answer(self, inputs: Mapping[str, Array], runtime: int) -> dict[str, Array]:
        """The outputs if the first ``runtime`` nodes run in ONNX Runtime and the others in float64.

        Raises whatever ONNX Runtime and ``ExactGraph.run_node`` raise.
        """
        held: dict[str, Value] = dict(inputs)
        for at, step in enumerate(self.steps):
            if at < runtime:
                self._ran(at, step, held)
                continue
            self.keep(at, step, self.computed(step, held), held)
        return {name: np.asarray(held[name]) for name in self.outputs}

    def _inputs(self, step: Step, held: Mapping[str, Value]) -> tuple[Value, ...]:
        constants = self.graph.constants
        return tuple(
            None if not name else held[name] if name in held else constants[name] for name in step.reads
        )

    def _ran(self, at: int, step: Step, held: dict[str, Value]) -> Ran:
        inputs = self._inputs(step, held)
        outputs = self._run(step, held)
        self.keep(at, step, outputs, held)
        return Ran(step, inputs, outputs)

    def computed(self, step: Step, held: Mapping[str, Value]) -> tuple[Value, ...]:
        """What a step writes in float64, on ``held``. Raises what ``ExactGraph.run_node`` raises."""
        return self.exact.run_node(step, self._inputs(step, held))

    def keep(self, at: int, step: Step, outputs: Sequence[Value], held: dict[str, Value]) -> None:
        """Put what a step wrote into ``held``, and drop what no later step reads."""
        held |= {name: value for name, value in zip(step.writes, outputs, strict=True) if name}
        for name in self._frees[at]:
            held.pop(name, None)

    def _run(self, step: Step, held: Mapping[str, Value]) -> tuple[Value, ...]:
        node = self.graph.writer[next(filter(None, step.writes))]
        feeds = {name: aligned(held[name]) for name in self.graph.given(node)}
        model = self.graph.model([node], feeds, node.outputs)
        session = open_bytes(model.SerializeToString(), "the node's own model", self._settings)
        returned = dict(zip(node.outputs, session.run(list(node.outputs), feeds), strict=True))
        return tuple(returned[name] if name else None for name in step.writes)


@contextmanager
def open_chain(
    file: Path, settings: SessionSettings, outputs: Sequence[str], own: Collection[str] = ()
) -> Iterator[Chain]:
    """The chain of a file. It is valid inside the ``with``, where the optimized graph is on the disk.

    Raises ModelFileError if the file cannot be loaded.
    """
    with scratch_folder() as scratch:
        optimized = scratch / "optimized.onnx"
        open_session(file, replace(settings, optimized_to=optimized))
        yield Chain(optimized, settings, outputs, own)


def aligned(value: Any) -> Any:
    """The array at an address that ONNX Runtime's own tensors have; any other value as it is."""
    if not isinstance(value, np.ndarray) or value.dtype == object:
        return value
    if value.flags.c_contiguous and not value.ctypes.data % ALIGNMENT:
        return value
    room = np.empty(value.nbytes + ALIGNMENT, np.uint8)
    start = -room.ctypes.data % ALIGNMENT
    placed = room[start : start + value.nbytes].view(value.dtype).reshape(value.shape)
    placed[...] = value
    return placed


def _needed(steps: Sequence[Step], outputs: Sequence[str]) -> tuple[Step, ...]:
    """The steps that the outputs need, in order."""
    needed, kept = set(outputs), []
    for step in reversed(steps):
        if not needed.isdisjoint(filter(None, step.writes)):
            needed |= set(filter(None, step.reads))
            kept.append(step)
    return tuple(reversed(kept))
