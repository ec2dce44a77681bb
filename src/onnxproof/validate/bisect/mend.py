"""Which node of the arithmetic on whole numbers is at fault: the one that, mended, makes the result right.

Exporters compute shapes and indices in the graph. PyTorch computes them in Python, so that these numbers have
no counterpart, and a fault in them shows first in the node that reads them. So what an exporter may have
mistaken is tried: another operator of the same kind, and inputs in another order. If the node that reads the
numbers then gives what the module computes, it is known which was wrong.
"""

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx

from onnxproof.errors import ModelFileError
from onnxproof.validate.bisect.fingerprint import Fingerprint, distance
from onnxproof.validate.bisect.nodes import Graph
from onnxproof.validate.bisect.truth import Truth
from onnxproof.validate.bisect.walk import EXACT, Walk
from onnxproof.validate.exact.arrays import Value
from onnxproof.validate.exact.block import Step
from onnxproof.validate.exact.errors import ExactError
from onnxproof.validate.exact.graph import ExactGraph, run_exact
from onnxproof.validate.exact.later import made

ARITHMETIC = ("Add", "Sub", "Mul", "Div")
"""Operators that are tried in place of each other."""

MOST_INPUTS = 8
"""Nodes of more inputs are not tried in another order."""

MOST_TRIES = 128
"""How often the node that reads the numbers runs at most."""

Fetch = Callable[[Collection[str]], Mapping[str, Value]]
"""Gives the values of these names, as the graph computes them."""


def find_mended(
    step: Step, walked: Walk, truth: Truth, exact: ExactGraph, graph: Graph, fetch: Fetch
) -> Step | None:
    """The node among those that compute the whole numbers that ``step`` reads; None if none is found."""
    chain = _chain(step, walked)
    if not chain:
        return None
    values = {**walked.constants, **fetch({name for one in (*chain, step) for name in one.reads if name})}
    tries = ((at, mended) for at, suspect in enumerate(chain) for mended in _mended(suspect.proto))
    for at, mended in itertools.islice(tries, MOST_TRIES):
        computed = _run(mended, chain[at], [*chain[at + 1 :], step], values, exact, graph)
        if computed is not None and _is_right(step, computed, truth):
            return chain[at]
    return None


def _chain(step: Step, walked: Walk) -> list[Step]:
    """The nodes that compute the whole numbers that a node reads, in order. Sizes of tensors are given."""
    found: set[str] = set()
    waiting = list(step.reads)
    while waiting:
        name = waiting.pop()
        place, writer = walked.places.get(name), walked.writer.get(name)
        if place is None or writer is None or place.status != "neutral" or name in found:
            continue
        if (
            place.print is not None
            and place.print.kind == "i"
            and writer.proto.op_type not in ("Shape", "Size")
        ):
            found.add(name)
            waiting += writer.reads
    return [one for one in walked.steps if not found.isdisjoint(one.writes)]


def _mended(proto: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """The node with what may have been mistaken put right."""
    for operator in ARITHMETIC:
        if proto.op_type in ARITHMETIC and operator != proto.op_type:
            mended = onnx.NodeProto()
            mended.CopyFrom(proto)
            mended.op_type = operator
            yield mended
    if 1 < len(proto.input) <= MOST_INPUTS:
        for one, other in itertools.combinations(range(len(proto.input)), 2):
            mended = onnx.NodeProto()
            mended.CopyFrom(proto)
            mended.input[one], mended.input[other] = proto.input[other], proto.input[one]
            yield mended


def _run(
    mended: onnx.NodeProto,
    suspect: Step,
    behind: Sequence[Step],
    values: Mapping[str, Value],
    exact: ExactGraph,
    graph: Graph,
) -> tuple[Value, ...] | None:
    """What the last node behind the mended one gives; None if one of them does not run."""
    node = graph.writer[next(filter(None, suspect.writes))]
    feeds = {name: np.asarray(values[name]) for name in graph.given(node)}
    try:
        model = graph.model([replace(node, proto=mended)], feeds, node.outputs)
        held = {**values, **run_exact(model, feeds)}
        for step in behind:
            computed = exact.run_node(step, [made(held[name]) if name else None for name in step.reads])
            held |= dict(zip(step.writes, computed, strict=True))
    except (ExactError, ModelFileError):
        return None
    return computed


def _is_right(step: Step, computed: Sequence[Value], truth: Truth) -> bool:
    """Whether what a node gives is what the module computes, in its shape."""
    for name, value in zip(step.writes, computed, strict=True):
        if not isinstance(value, np.ndarray):
            return False
        own = Fingerprint.of(value)
        records = [truth.records[truth.outputs[name]]] if name in truth.outputs else truth.records
        alike = (one.print for one in records if one.print.shape == own.shape)
        if not any(distance(own, one) <= EXACT for one in alike):
            return False
    return True
