"""Where error begins: the first node of a walked graph without a counterpart that leads to a wrong output.

Behind a fault no value ties to the module's any more. So the first untied value that leads to a wrong output
through untied values comes from the node that is at fault.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from onnxproof.validate.bisect.deviation import Deviation, deviation
from onnxproof.validate.bisect.nodes import Node, Value
from onnxproof.validate.bisect.truth import near
from onnxproof.validate.bisect.walk import TrueValues, Walk, Walker

STEPS = 8
"""Operations of the module between what a node is given and what it should give."""

LAYS_OUT = frozenset(
    "Expand Flatten Pad Reshape Resize Slice Squeeze Tile Transpose Unsqueeze Upsample".split()
)
"""Operators that may leave a value as it is by mistake."""


@dataclass(frozen=True, slots=True, eq=False)
class Origin:
    """The node that introduces error, and what should have come out of it.

    ``expected`` has, by the name of an output, the likeliest counterpart in the module, and the deviation of
    what the node gives for true inputs (None if it gives another shape). If the node does not run, ``reason``
    says why.
    """

    node: Node
    expected: Mapping[str, tuple[int, Deviation | None]]
    reason: str = ""


def find_origin(walker: Walker, walked: Walk, values: TrueValues, forced: Mapping[str, int]) -> Origin | None:
    """The node where error begins; None if all outputs are right."""
    places, graph = walked.places, walker.graph
    wrong = [name for name in graph.outputs if places[name].status in ("open", "failed")]
    suspects = _suspects(walker, walked, wrong)
    node = next((node for node in graph.nodes if suspects & set(node.outputs)), None)
    if node is None:
        return None
    reason = next((places[name].reason for name in node.outputs if places[name].reason), "")
    return Origin(node, {} if reason else _expected(node, walker, walked, values, forced), reason)


def find_hidden(walker: Walker, walked: Walk) -> Origin | None:
    """The first node whose output is near a tensor of the module and yet beyond the limit; None if there is
    none. What comes after it hides the error."""
    for node in walker.graph.nodes:
        for name in node.outputs:
            tie = walked.places[name].near
            if tie is not None:
                return Origin(node, {name: (tie.number, tie.deviation)})
    return None


def _suspects(walker: Walker, walked: Walk, wrong: Iterable[str]) -> set[str]:
    """The untied values that lead to wrong outputs through untied values."""
    places, graph = walked.places, walker.graph
    suspects: set[str] = set()
    waiting = list(wrong)
    while waiting:
        name = waiting.pop()
        if name in suspects:
            continue
        suspects.add(name)
        waiting += [
            given
            for given in graph.given(graph.writer[name])
            if places[given].status in ("open", "failed")
            or (places[given].status == "neutral" and places[given].data)
            or _does_nothing(walker, walked, given)
        ]
    return suspects


def _does_nothing(walker: Walker, walked: Walk, name: str) -> bool:
    """Whether a node that lays out anew is tied to what it was given. It may be right or at fault."""
    place, node = walked.places[name], walker.graph.writer.get(name)
    if place.tie is None or node is None or node.operator not in LAYS_OUT:
        return False
    given = walked.places.get(node.inputs[0])
    return given is not None and given.status == "tied" and given.anchors == place.anchors


def _expected(
    node: Node, walker: Walker, walked: Walk, values: TrueValues, forced: Mapping[str, int]
) -> dict[str, tuple[int, Deviation | None]]:
    """The counterparts of a node's outputs: what a model's output must be, else the nearest of those that the
    module computes next from the same values, else the nearest of all."""
    expected: dict[str, tuple[int, Deviation | None]] = {}
    used = {place.tie.number for place in walked.places.values() if place.tie is not None}
    for name in node.outputs:
        place = walked.places[name]
        found, moved = values.get(name)
        number = forced.get(name)
        if place.near is not None:
            number = place.near.number
        elif number is None and isinstance(found, np.ndarray):
            steps = near(walker.truth, sorted(place.anchors), STEPS)
            alike = [entry for entry in walker.candidates(found, np.inf) if entry not in used]
            number = next((entry for entry in alike if entry in steps), alike[0] if alike else None)
        if number is not None:
            expected[name] = number, _deviation(node, found, moved, walker.truth.fetch(number))
    return expected


def _deviation(node: Node, found: Value, moved: Value, wanted: Value) -> Deviation | None:
    if not isinstance(found, np.ndarray) or found.shape != wanted.shape:
        return None
    return deviation(found, moved, wanted, node.operator)
