"""Walk a graph with true values: feed each node what the module computes in float64, and look its output up
among the module's own tensors.

A value is *tied* to a tensor of the module if the two are equal within the limit. Later nodes then get the
module's tensor. A value without a counterpart (arithmetic on constants, a layout of the exporter's) is passed
on as the node computed it. After a wrong node nothing ties any more. So the fault is where the untied values
that lead to a wrong output begin.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from onnxproof.errors import ModelFileError
from onnxproof.progress import Progress, silent
from onnxproof.validate.bisect.deviation import LIMIT_MAX, LIMIT_RMS, Deviation, deviation, move
from onnxproof.validate.bisect.nodes import Graph, Node, NodeRunner, Value
from onnxproof.validate.bisect.truth import Record, Truth, kind_of, positions

Array = NDArray[Any]

ALIKE = 1e-2
"""Tensors whose fingerprints differ by less than this, rms over rms, are compared in full."""

COMPARED = 4
"""How many tensors of the module an output is compared with in full."""

MOVES = 4
"""How often more an output's inputs are moved before it counts as untied."""

HELD = 256 * 2**20
"""Bytes of true values that are held at once behind the walk."""

LARGEST_FLOOR = 2**30
LARGEST_SHARE = 16
"""A node's output may have this many bytes, or this many times those of the module's largest tensor in
float64, whichever is more. A graph that keeps doubling a tensor would otherwise fill the memory."""

Status = Literal["tied", "open", "neutral", "failed"]


@dataclass(frozen=True, slots=True)
class Tie:
    """A value's counterpart in the module, and how far from it the node's output was."""

    number: int
    deviation: Deviation


@dataclass(frozen=True, slots=True)
class Place:
    """What is known of one value of the graph.

    ``status`` is one of

    - "tied": it has a counterpart in the module, ``tie``;
    - "open": it is a float without a counterpart; ``near`` is the nearest tensor, if any is close;
    - "neutral": it is no float, or all its numbers are equal, so that it cannot be recognised;
    - "failed": the node did not run; ``reason`` says why.

    ``anchors`` are the numbers of the tied values and inputs that it depends on. ``data`` says whether it
    depends on the numbers of an open value, and not only on its shape.
    """

    name: str
    status: Status
    tie: Tie | None
    anchors: frozenset[int]
    data: bool = True
    dtype: str = "float32"
    near: Tie | None = None
    reason: str = ""


@dataclass(slots=True)
class Fed:
    """True values by name, and the same values moved by about a rounding."""

    true: dict[str, Value] = field(default_factory=dict)
    moved: dict[str, Value] = field(default_factory=dict)

    def nbytes(self) -> int:
        """Bytes held."""
        values = (*self.true.values(), *self.moved.values())
        return sum(value.nbytes for value in values if isinstance(value, np.ndarray))


class Walker:
    """Runs nodes on true values and ties their outputs. Shared by the walk and by the steps after it."""

    def __init__(self, graph: Graph, truth: Truth) -> None:
        self.graph, self.truth = graph, truth
        self.runner = NodeRunner(graph)
        self.random = np.random.default_rng(0)
        elements = max((math.prod(record.shape) for record in truth.records), default=0)
        self.largest = max(LARGEST_FLOOR, LARGEST_SHARE * elements * np.dtype(np.float64).itemsize)
        self._by_shape: dict[tuple[str, tuple[int, ...]], tuple[list[int], Array]] = {}
        grouped: dict[tuple[str, tuple[int, ...]], list[Record]] = {}
        for record in truth.records:
            grouped.setdefault((record.kind, record.shape), []).append(record)
        for key, records in grouped.items():
            samples = np.stack([record.sample for record in records])
            self._by_shape[key] = [record.number for record in records], samples
        self.fed_constants = {
            name: move(value, self.random)
            for name, value in graph.constants.items()
            if value.dtype.kind == "f"
        }

    def run(self, node: Node, feeds: Mapping[str, Value]) -> dict[str, Value]:
        """The node's outputs for true values.

        Raises ModelFileError if one is too large to go on with, and whatever ONNX Runtime raises.
        """
        found = self.runner.run(node, feeds)
        for name, value in found.items():
            if isinstance(value, np.ndarray) and value.nbytes > self.largest:
                raise ModelFileError(
                    f"its output {name} takes {value.nbytes / 2**30:.1f} GiB; expected at most "
                    f"{self.largest / 2**30:.1f} GiB, by the size of the module's largest tensor"
                )
        return found

    def run_moved(
        self, node: Node, moved: Mapping[str, Value], outputs: Mapping[str, Value]
    ) -> dict[str, Value]:
        """The node's outputs for moved values; ``outputs`` if a move changes a shape or the node fails."""
        floats = any(_is_float(moved.get(name)) for name in node.inputs) or any(
            name in self.fed_constants for name in node.inputs
        )
        if not floats:
            return dict(outputs)
        feeds = {name: self.fed_constants[name] for name in node.inputs if name in self.fed_constants}
        try:
            found = self.runner.run(node, {**feeds, **moved})
        except Exception:  # noqa: BLE001
            # ONNX Runtime's exceptions have no common public base below Exception.
            return dict(outputs)
        return {
            name: found[name] if _same_form(found[name], value) else value for name, value in outputs.items()
        }

    def tie(
        self,
        node: Node,
        value: Value,
        moved: Value,
        again: Callable[[], Value],
        among: Sequence[int] | None = None,
    ) -> tuple[Tie | None, Tie | None]:
        """The module's tensor that a node's output equals within the limit, or else the nearest beyond it.

        Each is None if there is none. ``again`` gives the output for inputs moved once more. ``among`` are
        the numbers of the tensors to compare with; None for all of the same shape.
        """
        numbers = self.candidates(value, ALIKE) if among is None else among
        shifted: list[Value] = [moved]
        nearest: Tie | None = None
        for number in numbers[:COMPARED]:
            record = self.truth.records[number]
            if record.shape != value.shape or record.kind != kind_of(value.dtype.name):
                continue
            wanted = self.truth.fetch(number)
            found = _judge(node, value, shifted, wanted)
            if not within(found) and _close(found):
                while len(shifted) <= MOVES:
                    shifted.append(again())
                found = _judge(node, value, shifted, wanted)
            if within(found):
                return Tie(number, found), None
            if _close(found) and (nearest is None or found.rms < nearest.deviation.rms):
                nearest = Tie(number, found)
        return None, nearest

    def candidates(self, value: Array, alike: float) -> list[int]:
        """The module's tensors of a value's shape with fingerprints within ``alike``, the nearest first."""
        key = kind_of(value.dtype.name), value.shape
        if key not in self._by_shape:
            return []
        numbers, samples = self._by_shape[key]
        distances = self._distances(value, samples)
        order = np.argsort(distances, kind="stable")
        return [numbers[index] for index in order if distances[index] <= alike]

    def _distances(self, value: Array, samples: Array) -> Array:
        own = value[positions(value.shape)].reshape(-1).astype(np.float64)
        with np.errstate(invalid="ignore", over="ignore"):
            error = samples - own
            error[samples == own] = 0.0
            scale = np.sqrt(np.mean(np.square(np.nan_to_num(own, posinf=0.0, neginf=0.0)))) + 1e-30
            distances: Array = np.sqrt(np.mean(np.square(error), axis=1)) / scale
        return np.nan_to_num(distances, nan=np.inf)

    def true_value(self, number: int, like: np.dtype[Any]) -> Array:
        """A tensor of the module in the graph's dtype."""
        with np.errstate(over="ignore"):
            return self.truth.fetch(number).astype(like)

    def take(
        self,
        node: Node,
        fed: Fed,
        places: Mapping[str, Place],
        forced: Mapping[str, int],
    ) -> list[Place]:
        """Run a node on true values, tie its outputs, and add them to the true values.

        ``forced`` maps each of the model's outputs to the one tensor that it may be tied to.
        """
        given = [places[name] for name in self.graph.given(node) if name in places]
        anchors = frozenset[int]().union(*(place.anchors for place in given))
        shape_of = node.operator in ("Shape", "Size")
        data = not shape_of and any(place.data for place in given)
        try:
            found = self.run(node, fed.true)
        except Exception as error:  # noqa: BLE001
            # ONNX Runtime's exceptions have no common public base below Exception.
            reason = str(error).strip().partition("\n")[0]
            return [Place(name, "failed", None, anchors, reason=reason) for name in node.outputs]
        moved = self.run_moved(node, fed.moved, found)
        taken = []
        for name, value in found.items():
            place, true, shifted = self._placed(node, name, value, moved[name], fed, anchors, data, forced)
            fed.true[name], fed.moved[name] = true, shifted
            taken.append(place)
        return taken

    def _placed(
        self,
        node: Node,
        name: str,
        value: Value,
        moved: Value,
        fed: Fed,
        anchors: frozenset[int],
        data: bool,
        forced: Mapping[str, int],
    ) -> tuple[Place, Value, Value]:
        if not isinstance(value, np.ndarray) or not kind_of(value.dtype.name):
            return Place(name, "neutral", None, anchors, data), value, moved

        def again() -> Value:
            feeds = {key: move(entry, self.random) for key, entry in fed.true.items() if _is_float(entry)}
            return self.run_moved(node, {**fed.moved, **feeds}, {name: value})[name]

        number = forced.get(name)
        is_float = kind_of(value.dtype.name) == "f"
        if number is None and not _telling(value):
            return Place(name, "neutral", None, anchors, data), value, moved
        dtype = value.dtype.name
        tie, near = self.tie(node, value, moved, again, None if number is None else (number,))
        if tie is not None:
            true = self.true_value(tie.number, value.dtype)
            shifted = move(true, self.random) if is_float else true
            return Place(name, "tied", tie, frozenset((tie.number,)), False, dtype), true, shifted
        if is_float or number is not None:
            return Place(name, "open", None, anchors, True, dtype, near), value, moved
        return Place(name, "neutral", None, anchors, data), value, moved


def within(found: Deviation) -> bool:
    """Whether an error is no more than rounding makes."""
    return found.ratio <= LIMIT_RMS and found.ratio_max <= LIMIT_MAX


def _close(found: Deviation) -> bool:
    """Whether a better estimate of the floor could bring the error within the limit."""
    return found.rms <= ALIKE * max(found.scale, found.floor_rms)


def _judge(node: Node, value: Array, shifted: Sequence[Array], wanted: Array) -> Deviation:
    if not value.size:
        return Deviation(0.0, 0.0, math.ulp(0.0), math.ulp(0.0), 0.0)
    if kind_of(value.dtype.name) != "f":
        wrong = value != wanted
        # An arg-max or a threshold that flips if its inputs move is no error.
        for moved in shifted:
            wrong &= moved == value
        share = float(np.sqrt(np.mean(wrong)))
        return Deviation(share, float(wrong.any()), 1e-9, 1e-9, 1.0)
    parts = [deviation(value, moved, wanted, node.operator) for moved in shifted]
    floor_rms, floor_max = max(part.floor_rms for part in parts), max(part.floor_max for part in parts)
    return Deviation(parts[0].rms, parts[0].maximum, floor_rms, floor_max, parts[0].scale)


def _telling(value: Array) -> bool:
    """Whether a value can be recognised: it has two different numbers."""
    flat = value.reshape(-1)
    return bool(flat.size > 1 and np.any(flat != flat[0]))


def _is_float(value: Value) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def _same_form(one: Value, other: Value) -> bool:
    if not isinstance(one, np.ndarray) or not isinstance(other, np.ndarray):
        return type(one) is type(other)
    same: bool = one.shape == other.shape
    return same


@dataclass(frozen=True, slots=True, eq=False)
class Walk:
    """A walk's findings: each value's place, and the most bytes of values that were alive at once."""

    places: Mapping[str, Place]
    peak: int


def walk(
    walker: Walker, inputs: Mapping[str, Array], *, forced: Mapping[str, int], progress: Progress = silent
) -> Walk:
    """Walk the whole graph once. Values are freed after their last reader."""
    graph, truth = walker.graph, walker.truth
    fed = Fed(dict(inputs), {name: move(value, walker.random) for name, value in inputs.items()})
    places = {
        name: Place(name, "tied", None, frozenset((truth.inputs[name],)), False) for name in graph.inputs
    }
    last = {name: readers[-1].position for name, readers in graph.readers.items()}
    peak = 0
    for node in graph.nodes:
        progress("walk the graph with true values", node.position, len(graph.nodes))
        failed = [name for name in graph.given(node) if places[name].status == "failed"]
        if failed:
            anchors = frozenset[int]().union(*(places[name].anchors for name in graph.given(node)))
            places.update({name: Place(name, "failed", None, anchors) for name in node.outputs})
        else:
            places.update({place.name: place for place in walker.take(node, fed, places, forced)})
        peak = max(peak, fed.nbytes())
        for name in (*node.inputs, *node.outputs):
            if last.get(name, -1) <= node.position:
                fed.true.pop(name, None)
                fed.moved.pop(name, None)
    progress("walk the graph with true values", len(graph.nodes), len(graph.nodes))
    return Walk(places, peak)


class TrueValues:
    """The true values of a walked graph by name, made when they are asked for."""

    def __init__(self, walker: Walker, walked: Walk, inputs: Mapping[str, Value]) -> None:
        self._walker, self._places = walker, walked.places
        self._fed = Fed(dict(inputs), {name: move(value, walker.random) for name, value in inputs.items()})
        self._inputs = frozenset(inputs)

    def get(self, name: str) -> tuple[Value, Value]:
        """A value and the same moved; raises whatever ONNX Runtime raises where its node does not run."""
        if self._fed.nbytes() > HELD:
            for entry in set(self._fed.true) - self._inputs:
                del self._fed.true[entry], self._fed.moved[entry]
        self._make(name)
        return self._fed.true[name], self._fed.moved[name]

    def _make(self, wanted: str) -> None:
        graph, fed = self._walker.graph, self._fed
        waiting = [wanted]
        while waiting:
            name = waiting[-1]
            if name in fed.true:
                waiting.pop()
                continue
            tie = self._places[name].tie
            if tie is not None:
                true = self._walker.true_value(tie.number, np.dtype(self._places[name].dtype))
                fed.true[name], fed.moved[name] = true, move(true, self._walker.random)
                continue
            node = graph.writer[name]
            missing = [entry for entry in graph.given(node) if entry not in fed.true]
            waiting += missing
            if not missing:
                found = self._walker.run(node, fed.true)
                fed.moved.update(self._walker.run_moved(node, fed.moved, found))
                fed.true.update(found)
