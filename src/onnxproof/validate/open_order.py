"""Say of a file that fails which of its nodes leave open in what order they write what they find."""

from collections.abc import Sequence

from onnxproof.tensors import Field
from onnxproof.validate.exact.graph import leaves_order_open
from onnxproof.validate.facts import Facts
from onnxproof.validate.function import states
from onnxproof.validate.legs.exact_graph import ExactLeg
from onnxproof.validate.legs.leg import Leg


def open_orders(facts: Facts, fields: Sequence[Field], leg: Leg) -> tuple[str, ...]:
    """A note with the nodes of a graph whose order is open, if the file does not state the function; else
    empty. ``leg`` is the graph in float64, and ``facts`` are its own; ``fields`` are the contract's."""
    if not isinstance(leg, ExactLeg):
        return ()
    nodes = [step.label for step in leg.graph.nodes if leaves_order_open(step)]
    if not nodes or states(facts, fields):
        return ()
    return (
        f"TopK {', '.join(nodes)}: sorted=0 lets a runtime return what it finds in any order, and the graph "
        "in float64 takes that of the indices; where the model needs the order of the values, set sorted=1",
    )
