"""Where the fault lies: the shortest stretch of untied nodes behind which the graph is right again.

Behind a fault no value ties to the module's any more, and the walk alone tells only where that begins. So a
value behind the beginning is taken to be this or that tensor of the module, and what comes after it is run:
where it ties again, and all of it does, that tensor is what the stretch should have given.
"""

import heapq
import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnxproof.validate.bisect.deviation import Deviation, deviation, move
from onnxproof.validate.bisect.nodes import Node, Value
from onnxproof.validate.bisect.truth import kind_of, near
from onnxproof.validate.bisect.walk import Fed, Place, Tie, Walk, Walker

LONGEST = 6
"""Nodes of the longest stretch that is tried."""

STRETCHES = 12
"""Ends of stretches that are tried."""

GUESSES = 40
"""Tensors of the module that one value is taken for."""

STEPS = 8
"""Operations of the module between a stretch's inputs and what it should give."""

AHEAD = 32
"""Nodes that are run behind a value that is taken for a tensor of the module."""

ALIKE = 0.3
"""A fingerprint nearer than this, rms over rms, is tried first."""

HELD = 256 * 2**20
"""Bytes of true values that are held at once while stretches are tried."""

SHAPERS = frozenset("Reshape Expand Resize Upsample Tile ConstantOfShape Flatten Squeeze Unsqueeze".split())
"""Operators whose integer inputs say the output's shape and nothing else."""

LAYERS_OUT = SHAPERS | {"Transpose", "Slice", "Pad"}
"""Operators that may leave a value as it is by mistake."""


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """The nodes that introduce error, in topological order, and what should have come out of them.

    ``expected`` has, by the name of what leaves the stretch, the counterpart in the module, and the deviation
    of what the stretch gives for true inputs (None where it does not run or has another shape).
    ``confirmed`` says that what comes after it is right again with what is expected.
    """

    nodes: tuple[Node, ...]
    expected: Mapping[str, tuple[int, Deviation | None]]
    confirmed: bool
    reason: str = ""


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


class Resync:
    """Tries stretches on a walked graph whose outputs are wrong."""

    def __init__(
        self, walker: Walker, walked: Walk, inputs: Mapping[str, Value], forced: Mapping[str, int]
    ) -> None:
        self._walker, self._walked, self._forced = walker, walked, forced
        self._graph, self._truth = walker.graph, walker.truth
        self._values = TrueValues(walker, walked, inputs)
        self._vindicated = self._lead_to_ties()
        self._used = {place.tie.number for place in walked.places.values() if place.tie is not None}

    def _lead_to_ties(self) -> frozenset[str]:
        """The values without a counterpart that lead to one that has: they must be right."""
        places = self._walked.places
        found: set[str] = set()
        for node in reversed(self._graph.nodes):
            if any(
                name in found or (places[name].status == "tied" and not self._does_nothing(name))
                for name in node.outputs
            ):
                found.update(name for name in self._graph.given(node) if places[name].status != "tied")
        return frozenset(found)

    def locate(self) -> Stretch | None:
        """The first stretch that introduces error; None where all outputs are right."""
        places = self._walked.places
        wrong = [name for name in self._graph.outputs if places[name].status in ("open", "failed")]
        suspects = self._suspects(wrong)
        if not suspects:
            return None
        nodes = [node for node in self._graph.nodes if suspects & set(node.outputs)]
        first = nodes[0]
        tried = 0
        for last in nodes:
            stretch = [node for node in self._graph.ancestors(last.outputs) if node in nodes]
            if len(stretch) > LONGEST or first not in stretch:
                continue
            found = self._try(stretch, suspects)
            if found is not None:
                return found
            tried += 1
            if tried == STRETCHES:
                break
        return self._unconfirmed(nodes)

    def quiet(self) -> Stretch | None:
        """The first node whose output is near a tensor of the module and yet beyond the limit, though what
        comes after it hides the error; None where there is none."""
        for node in self._graph.nodes:
            for name in node.outputs:
                tie = self._walked.places[name].near
                if tie is not None and self._confirm({name: tie.number}):
                    return Stretch((node,), {name: (tie.number, tie.deviation)}, confirmed=True)
        return None

    def _suspects(self, wrong: Iterable[str]) -> set[str]:
        """The untied values that lead to wrong outputs through untied values."""
        places = self._walked.places
        suspects: set[str] = set()
        waiting = list(wrong)
        while waiting:
            name = waiting.pop()
            if name in suspects:
                continue
            suspects.add(name)
            node = self._graph.writer[name]
            waiting += [
                given
                for given in self._graph.given(node)
                if places[given].status in ("open", "failed")
                or (places[given].status == "neutral" and places[given].data)
                or self._does_nothing(given)
            ]
        return suspects

    def _does_nothing(self, name: str) -> bool:
        """Whether a value is tied to what its node was given, though the node's operator lays out anew: that
        tells nothing of whether it should have."""
        place, node = self._walked.places[name], self._graph.writer.get(name)
        if place.tie is None or node is None or node.proto.op_type not in LAYERS_OUT:
            return False
        given = self._walked.places.get(node.inputs[0])
        return given is not None and given.status == "tied" and given.anchors == place.anchors

    def _try(self, stretch: Sequence[Node], suspects: set[str]) -> Stretch | None:
        """The stretch with what it should give, where some tensors of the module make the rest right."""
        last = stretch[-1]
        leaving = [name for name in last.outputs if name in suspects]
        outcome = self._outcome(stretch)
        anchors = frozenset[int]().union(
            *(
                self._walked.places[name].anchors
                for node in stretch
                for name in self._graph.given(node)
                if name not in suspects
            ),
        )
        guesses = [list(self._guesses(name, outcome.get(name), anchors)) for name in leaving]
        for numbers in itertools.islice(itertools.product(*guesses), GUESSES):
            if self._confirm(dict(zip(leaving, numbers, strict=True))):
                expected = {
                    name: (number, self._deviation(last, name, outcome, number))
                    for name, number in zip(leaving, numbers, strict=True)
                }
                feeders = self._feeders(stretch, outcome, expected)
                return Stretch((*feeders, *stretch), expected, confirmed=True, reason=self._why(stretch))
        return None

    def _why(self, stretch: Sequence[Node]) -> str:
        places = (self._walked.places[name] for node in stretch for name in node.outputs)
        return next((place.reason for place in places if place.reason), "")

    def _outcome(self, stretch: Sequence[Node]) -> dict[str, tuple[Value, Value]]:
        """What leaves the stretch for true inputs, and for moved ones; empty where it does not run."""
        try:
            return {name: self._values.get(name) for name in stretch[-1].outputs}
        except Exception:  # noqa: BLE001
            # ONNX Runtime's exceptions have no common public base below Exception.
            return {}

    def _deviation(
        self, node: Node, name: str, outcome: Mapping[str, tuple[Value, Value]], number: int
    ) -> Deviation | None:
        wanted = self._truth.fetch(number)
        if name not in outcome or outcome[name][0].shape != wanted.shape:
            return None
        return deviation(*outcome[name], wanted, node.operator)

    def _guesses(
        self, name: str, outcome: tuple[Value, Value] | None, anchors: frozenset[int]
    ) -> Iterator[int]:
        """Tensors of the module that a value may have to be, the likeliest first."""
        if name in self._forced:
            yield self._forced[name]
            return
        records = self._truth.records
        steps = near(self._truth, sorted(anchors), STEPS)
        kind = "f" if outcome is None else kind_of(outcome[0].dtype.name)
        close = sorted(number for number in steps if records[number].kind == kind)
        if outcome is None:
            yield from (number for number in close if number not in self._used)
            return
        shape = outcome[0].shape
        alike = self._walker.candidates(outcome[0], np.inf)
        nearest = self._walker.candidates(outcome[0], ALIKE)
        fresh = [number for number in alike if number not in self._used]
        order = (
            [number for number in nearest if number in steps and number not in self._used],
            [number for number in close if number not in self._used and records[number].shape == shape],
            [number for number in close if number not in self._used and records[number].shape != shape],
            fresh,
            [number for number in alike if number in steps],
        )
        yield from dict.fromkeys(itertools.chain(*order))

    def _confirm(self, taken: Mapping[str, int]) -> bool:
        """Whether the graph is right behind values that are taken for these tensors of the module."""
        fed, places = Fed(), dict(self._walked.places)
        for name, number in taken.items():
            dtype = np.dtype(places[name].dtype)
            true = self._walker.true_value(number, dtype)
            fed.true[name], fed.moved[name] = true, move(true, self._walker.random)
            places[name] = Place(name, "tied", None, frozenset((number,)), False, dtype.name)
        forced = all(name in self._forced for name in taken)
        waiting: list[int] = []
        self._wait_for(waiting, taken)
        strong, run = 0, 0
        while waiting:
            node = self._graph.nodes[heapq.heappop(waiting)]
            unsure = any(
                places[name].status == "open" or places[name].data
                for name in self._graph.given(node)
                if name in fed.true
            )
            if strong and not unsure:
                continue
            if run == AHEAD:
                return False
            run += 1
            if not self._feed(node, fed):
                return False
            for place in self._walker.take(node, fed, places, self._forced):
                places[place.name] = place
                if place.status == "failed" or (place.status == "open" and place.name in self._forced):
                    return False
                strong += place.status == "tied" and self._is_telling(node, place, fed)
            self._wait_for(waiting, node.outputs)
        return bool(strong) or forced or run > 0

    def _wait_for(self, waiting: list[int], names: Iterable[str]) -> None:
        for name in names:
            for node in self._graph.readers.get(name, ()):
                if node.position not in waiting:
                    heapq.heappush(waiting, node.position)

    def _feed(self, node: Node, fed: Fed) -> bool:
        """Lay out what a node reads; False where that cannot be computed."""
        for name in self._graph.given(node):
            if name not in fed.true:
                try:
                    fed.true[name], fed.moved[name] = self._values.get(name)
                except Exception:  # noqa: BLE001
                    # ONNX Runtime's exceptions have no common public base below Exception.
                    return False
        return True

    def _is_telling(self, node: Node, place: Place, fed: Fed) -> bool:
        """Whether a tie behind a value says more than that the same function was applied: the node has
        weights or joins another value, or it is an output of the model."""
        weights = any(
            self._graph.constants[name].size > 1 and self._graph.constants[name].dtype.kind == "f"
            for name in node.inputs
            if name in self._graph.constants
        )
        joined = sum(
            isinstance(fed.true[name], np.ndarray) and fed.true[name].dtype.kind == "f"
            for name in self._graph.given(node)
        )
        return weights or joined > 1 or place.name in self._forced

    def _feeders(
        self,
        stretch: Sequence[Node],
        outcome: Mapping[str, tuple[Value, Value]],
        expected: Mapping[str, tuple[int, Deviation | None]],
    ) -> list[Node]:
        """The nodes that compute integers and the like for the stretch, and nothing that is known to be
        right; the nearest first."""
        shaped = all(
            name in outcome and outcome[name][0].shape == self._truth.records[number].shape
            for name, (number, _) in expected.items()
        )
        inside = {node.position for node in stretch}
        found: dict[int, Node] = {}
        waiting = deque(
            name
            for node in reversed(stretch)
            if not (shaped and node.proto.op_type in SHAPERS)
            for name in self._graph.given(node)
        )
        while waiting:
            name = waiting.popleft()
            place, writer = self._walked.places[name], self._graph.writer.get(name)
            if writer is None or place.status == "tied" or writer.position in inside:
                continue
            if not self._vindicated & set(writer.outputs) and len(inside) < LONGEST:
                inside.add(writer.position)
                found[writer.position] = writer
                waiting += self._graph.given(writer)
        return [found[position] for position in sorted(found)]

    def _unconfirmed(self, nodes: Sequence[Node]) -> Stretch:
        """The beginning alone, where nothing makes the rest right."""
        first = nodes[0]
        places = [self._walked.places[name] for name in first.outputs]
        reason = next((place.reason for place in places if place.reason), "")
        expected: dict[str, tuple[int, Deviation | None]] = {}
        for place in places:
            tie: Tie | None = place.near
            if tie is not None:
                expected[place.name] = tie.number, tie.deviation
        return Stretch((first,), expected, confirmed=False, reason=reason)
