"""Walk a graph in float64 and look each value up among the tensors that the module computes.

Both sides are exact, so that a value has a *counterpart* in the module if the two are equal to float64's
rounding. What comes after a wrong node is wrong, too, and has no counterpart. Nor have values that the
exporter computes in its own way, such as arithmetic on constants.

The graph runs a second time with its constants moved by what rounding may have done to them (moved.py). A
value that this moves may be as much farther from its counterpart.
"""

import contextlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from onnxproof.errors import ModelFileError
from onnxproof.progress import Progress, silent
from onnxproof.validate.bisect.fingerprint import Fingerprint, Shelf, distance
from onnxproof.validate.bisect.moved import Moved
from onnxproof.validate.bisect.truth import Record, Truth
from onnxproof.validate.exact.arrays import Value
from onnxproof.validate.exact.block import Step
from onnxproof.validate.exact.errors import ExactError, NotRunnableError
from onnxproof.validate.exact.graph import ExactGraph

Array = NDArray[Any]

EXACT = 1e-11
"""How far a value may be from its counterpart, as a share of the tensor's rms. Values of healthy exports
measured up to 5e-14 (docs/bisect.md)."""

MARGIN = 2.0
"""How many times what the moved run shows rounding may make."""

LARGEST_FLOOR = 2**30
LARGEST_SHARE = 16
"""A node's output may have this many bytes, or this many times those of the module's largest tensor in
float64, whichever is more. A graph that keeps doubling a tensor would otherwise fill the memory."""

Status = Literal["tied", "open", "neutral", "failed"]


@dataclass(frozen=True, slots=True)
class Place:
    """What is known of one value of the graph.

    ``status`` is one of

    - "tied": it has a counterpart in the module, the tensor ``number``. Whole numbers that are cast to floats
      have that of the whole numbers: PyTorch adds a float to them without a cast;
    - "open": it is a float without a counterpart; ``number`` is the nearest tensor, if there is any;
    - "neutral": it is no float, or all its numbers are equal, so that it cannot be recognised;
    - "failed": the node did not run.

    ``distance`` is how far it is from that tensor, and ``limit`` how far it may be, as shares of the tensor's
    rms. ``anchors`` are the numbers of the tied values and inputs that it depends on. ``data`` says whether
    it depends on the numbers of an open value, and not only on its shape. ``print`` is its own fingerprint.
    ``misshapen`` says that it has the numbers of a tensor of the same rank, in another shape.
    """

    name: str
    status: Status
    anchors: frozenset[int]
    data: bool
    print: Fingerprint | None = None
    number: int | None = None
    distance: float = math.inf
    limit: float = EXACT
    misshapen: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape; empty if it is no tensor."""
        return () if self.print is None else self.print.shape


@dataclass(frozen=True, slots=True, eq=False)
class Walk:
    """A walk's findings.

    ``places`` are the values' by name. ``steps`` are the nodes in order, and ``writer`` has the node of each
    value. ``constants`` are the graph's. If a node did not run, ``failed`` is that node and ``reason`` says
    why. ``peak`` is the most bytes of values that were alive at once.
    """

    places: Mapping[str, Place]
    steps: tuple[Step, ...]
    writer: Mapping[str, Step]
    constants: Mapping[str, Value]
    failed: Step | None
    reason: str
    peak: int


def walk(
    graph: ExactGraph,
    truth: Truth,
    inputs: Mapping[str, Array],
    moved: Moved,
    *,
    progress: Progress = silent,
) -> Walk:
    """Walk the whole graph. ``moved`` is the same with its constants moved by what rounding may do.

    Raises UnsupportedError if no output can be evaluated, NotRunnableError if the graph does not take the
    inputs.
    """
    elements = max((record.print.size for record in truth.records), default=0)
    largest = max(LARGEST_FLOOR, LARGEST_SHARE * elements * np.dtype(np.float64).itemsize)
    shifted = _Prints(largest)
    for number in range(moved.runs):
        progress("run the graph with its constants moved", number, moved.runs)
        with contextlib.suppress(ExactError, ModelFileError):
            moved.run(number, inputs, shifted.watch)
    walker = _Walker(graph, truth, inputs, shifted.prints, largest, progress)
    reason = ""
    try:
        graph.run(inputs, watch=walker.watch)
    except (NotRunnableError, ModelFileError) as error:
        if error.__cause__ is None and isinstance(error, NotRunnableError):
            # The graph does not take the inputs: no node has run.
            raise
        reason = str(error)
    return walker.walked(reason)


class _Prints:
    """Keeps the fingerprints of the values of some runs by name."""

    def __init__(self, largest: float) -> None:
        self.prints: dict[str, list[Fingerprint]] = {}
        self._largest = largest

    def watch(self, step: Step, _: tuple[Value, ...], computed: tuple[Value, ...]) -> None:
        """Called after each node."""
        _refuse_large(step, computed, self._largest)
        for name, value in zip(step.writes, computed, strict=True):
            if name and isinstance(value, np.ndarray):
                self.prints.setdefault(name, []).append(Fingerprint.of(value))


class _Walker:
    """Ties the values of a run as they are computed."""

    def __init__(
        self,
        graph: ExactGraph,
        truth: Truth,
        inputs: Mapping[str, Array],
        shifted: Mapping[str, Sequence[Fingerprint]],
        largest: float,
        progress: Progress,
    ) -> None:
        self._truth, self._shifted, self._largest, self._progress = truth, shifted, largest, progress
        self._steps = graph.nodes
        self._constants = graph.constants
        self._shelves = shelves_of(truth.records)
        self._places = {
            name: Place(name, "tied", frozenset((number,)), False, truth.records[number].print, number, 0.0)
            for name, number in truth.inputs.items()
        }
        self._alive = {name: array.nbytes for name, array in inputs.items()}
        self._peak = 0
        self._position = {id(step): at for at, step in enumerate(self._steps)}
        self._last = {name: at for at, step in enumerate(self._steps) for name in (*step.writes, *step.reads)}

    def watch(self, step: Step, _: tuple[Value, ...], computed: tuple[Value, ...]) -> None:
        """Called after each node."""
        at = self._position[id(step)]
        self._progress("walk the graph in float64", at, len(self._steps))
        _refuse_large(step, computed, self._largest)
        known = [self._places[name] for name in step.reads if name in self._places]
        anchors = frozenset[int]().union(*(place.anchors for place in known))
        data = step.proto.op_type not in ("Shape", "Size") and any(place.data for place in known)
        for name, value in zip(step.writes, computed, strict=True):
            if name:
                self._places[name] = self._placed(
                    name, value, anchors, data, cast=step.proto.op_type == "Cast"
                )
                self._alive[name] = value.nbytes if isinstance(value, np.ndarray) else 0
        self._peak = max(self._peak, sum(self._alive.values()))
        for name in (*step.reads, *step.writes):
            if self._last.get(name, -1) <= at:
                self._alive.pop(name, None)

    def walked(self, reason: str) -> Walk:
        """What was found. ``reason`` says why the run ended early, or is ""."""
        self._progress("walk the graph in float64", len(self._steps), len(self._steps))
        places = dict(self._places)
        failed = self._failed() if reason else None
        if failed is not None:
            places |= {name: Place(name, "failed", frozenset(), True) for name in failed.writes if name}
        writer = {name: step for step in self._steps for name in step.writes if name}
        return Walk(places, self._steps, writer, self._constants, failed, reason, self._peak)

    def _failed(self) -> Step | None:
        """The first node that had all it reads and yet wrote nothing."""
        at_hand = {"", *self._places, *self._constants}
        waiting = (step for step in self._steps if step.lack is None and at_hand.issuperset(step.reads))
        return next((step for step in waiting if not at_hand.issuperset(step.writes)), None)

    def _placed(self, name: str, value: Value, anchors: frozenset[int], data: bool, *, cast: bool) -> Place:
        own = Fingerprint.of(value) if isinstance(value, np.ndarray) else None
        if own is None or not own.kind:
            return Place(name, "neutral", anchors, data)
        number = self._truth.outputs.get(name)
        if number is None and own.alike:
            return Place(name, "neutral", anchors, data, own)
        limit = self._limit(name, own)
        if not math.isfinite(limit):
            return Place(name, "neutral", anchors, True, own)
        misshapen = False
        if number is not None:
            wanted = self._truth.records[number].print
            apart = distance(own, wanted) if own.shape == wanted.shape else math.inf
        else:
            number, apart, misshapen = self._nearest(own, limit)
            if cast and own.kind == "f" and not apart <= limit:
                number, apart = self._cast_from(own) or (number, apart)
        if apart <= limit and number is not None:
            anchors = frozenset((number,))
            return Place(name, "tied", anchors, False, own, number, apart, limit, misshapen)
        if own.kind == "f" or name in self._truth.outputs:
            return Place(name, "open", anchors, True, own, number, apart, limit)
        return Place(name, "neutral", anchors, data, own)

    def _limit(self, name: str, own: Fingerprint) -> float:
        return EXACT + MARGIN * max((distance(own, one) for one in self._shifted.get(name, ())), default=0.0)

    def _nearest(self, own: Fingerprint, limit: float) -> tuple[int | None, float, bool]:
        """The nearest tensor, its distance, and whether ``own`` is that tensor misshapen.

        Tensors of another shape count if they have the same numbers in the same order.
        """
        shelf = self._shelves.get((own.kind, own.size))
        if shelf is None:
            return None, math.inf, False
        distances = shelf.distances(own)
        shaped = np.array([shape == own.shape for shape in shelf.shapes])
        ranked = np.array([len(shape) == len(own.shape) for shape in shelf.shapes])
        at = int(np.lexsort((distances, ~ranked, ~shaped, distances > limit))[0])
        return shelf.numbers[at], float(distances[at]), bool(ranked[at] and not shaped[at])

    def _cast_from(self, own: Fingerprint) -> tuple[int, float] | None:
        """The tensor of whole numbers that these floats are, in the same shape, and its distance."""
        shelf = self._shelves.get(("i", own.size))
        if shelf is None:
            return None
        shaped = np.array([shape == own.shape for shape in shelf.shapes])
        distances = np.where(shaped, shelf.distances(own), np.inf)
        at = int(distances.argmin())
        return (shelf.numbers[at], float(distances[at])) if distances[at] <= EXACT else None


def _refuse_large(step: Step, computed: Iterable[Value], largest: float) -> None:
    for name, value in zip(step.writes, computed, strict=True):
        if isinstance(value, np.ndarray) and value.nbytes > largest:
            raise ModelFileError(
                f"its output {name} takes {value.nbytes / 2**30:.1f} GiB; expected at most "
                f"{largest / 2**30:.1f} GiB, by the size of the module's largest tensor"
            )


def shelves_of(records: Iterable[Record]) -> dict[tuple[str, int], Shelf]:
    """The tensors' fingerprints, by kind and number of elements."""
    grouped: dict[tuple[str, int], list[Record]] = {}
    for record in records:
        grouped.setdefault((record.print.kind, record.print.size), []).append(record)
    return {
        key: Shelf([record.number for record in found], [record.print for record in found])
        for key, found in grouped.items()
    }
