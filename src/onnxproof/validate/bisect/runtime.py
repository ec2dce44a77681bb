"""The runtime link: find the node that ONNX Runtime computes otherwise than the file states it.

The optimizer may change what the graph computes: then its graph is searched as the file's is (function.py).
Or a kernel is wrong: then the nodes are asked, each on its own inputs (kernels.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxproof.graph import OnnxGraph
from onnxproof.runtime.session import Optimization, SessionSettings, open_session
from onnxproof.system.scratch import scratch_folder
from onnxproof.validate.bisect.function import StatedGraph, apart
from onnxproof.validate.bisect.nodes import Graph, read_inlined
from onnxproof.validate.bisect.repro import Finding, Repro, model_of
from onnxproof.validate.bisect.result import Apart, Leaving, NamedNode
from onnxproof.validate.bisect.truth import Oracle, Truth
from onnxproof.validate.chain import Ran, open_chain
from onnxproof.validate.exact.arrays import Value
from onnxproof.validate.exact.constants import prove_constants
from onnxproof.validate.exact.graph import ExactGraph
from onnxproof.validate.exact.known import Known
from onnxproof.validate.facts import Facts
from onnxproof.validate.kernels import NodeError, ask_nodes, rows_chosen
from onnxproof.validate.legs.leg import Leg
from onnxproof.validate.policy import RATIO_MAX
from onnxproof.validate.trial import Plan

Array = NDArray[Any]

LEVELS: tuple[Optimization, ...] = ("none", "basic", "extended", "all")
"""ONNX Runtime's levels of optimization, each of which includes those before it."""


@dataclass(frozen=True, slots=True, eq=False)
class Failing:
    """A file that fails in ONNX Runtime on one case: the leg, its level, and the facts of it."""

    file: Path
    leg: Leg
    level: Optimization
    facts: Facts
    arrays: Mapping[str, Array]
    case: str


def ask_optimized(failing: Failing, plan: Plan, known: Known, oracle: Oracle, truth: Truth) -> Finding:
    """Find the node at which the optimized graph leaves what the module computes.

    Raises ModelFileError if the file cannot be loaded, CheckError if its graph cannot be evaluated.
    """
    with scratch_folder() as scratch:
        optimized = scratch / "optimized.onnx"
        open_session(failing.file, replace(_settings(failing, plan), optimized_to=optimized))
        proto = read_inlined(optimized)
        graph = StatedGraph(proto, prove_constants(OnnxGraph(proto), known, optimized), optimized)
        return graph.search(oracle, truth, failing.arrays, failing.case)


def ask_kernels(failing: Failing, plan: Plan, exact: ExactGraph) -> Finding:
    """Find the node whose kernel errs more than its rounding bound allows, on its own inputs.

    ``exact`` is the file's graph in float64.
    """
    settings = _settings(failing, plan)
    floors = {one.name: one.floor_max for one in (*failing.facts.fields, *failing.facts.constant_fields)}
    limits = [(field, RATIO_MAX * floors.get(field.name, 0.0)) for field in plan.contract.fields]
    inputs = {port.name: failing.arrays[port.name] for port in exact.inputs}
    rows = rows_chosen(plan.contract)
    asked = ask_nodes(failing.leg, failing.file, inputs, exact, settings, limits, rows=rows)
    told = Finding(nodes=asked.nodes, peak_bytes=asked.peak_bytes)
    if asked.beyond is None:
        note = asked.reason or f"each of the {asked.nodes} nodes is within its rounding bound"
        return replace(told, notes=(f"asked one by one at the level {failing.level}: {note}",))
    outputs = tuple(dict.fromkeys(field.output for field in plan.contract.fields))
    with open_chain(failing.file, settings, outputs) as chain:
        ran = next(ran for ran in chain.walk(inputs) if ran.step.writes == asked.beyond.outputs)
        expected = chain.exact.run_node(ran.step, ran.inputs)
        return _described(told, asked.beyond, ran, expected, chain.graph, failing.case)


def _described(
    told: Finding, beyond: NodeError, ran: Ran, expected: Sequence[Value], graph: Graph, case: str
) -> Finding:
    node = graph.writer[next(filter(None, ran.step.writes))]
    given = dict(zip(ran.step.reads, ran.inputs, strict=True))
    feeds = {name: given[name] for name in graph.given(node)}
    wanted = {
        name: value
        for name, value in zip(ran.step.writes, expected, strict=True)
        if isinstance(value, np.ndarray)
    }
    found = dict(zip(ran.step.writes, ran.outputs, strict=True))
    outputs = {name: (found[name].dtype, found[name].ndim) for name in wanted}
    return replace(
        told,
        node=NamedNode(node.label, node.operator, node.outputs),
        leaving=tuple(
            Leaving(name, "", "", _apart(found[name], value, beyond), found[name].shape, value.shape)
            for name, value in wanted.items()
        ),
        repro=Repro(
            model_of(graph, node, feeds, outputs),
            feeds,
            wanted,
            f"{node.operator} {node.label}",
            case,
            "what ONNX Runtime computes before it",
            "the node itself computes them",
        ),
    )


def _apart(found: Value, wanted: Value, beyond: NodeError) -> Apart | None:
    measured = apart(found, wanted, 0.0)
    return measured and replace(measured, maximum=beyond.error, limit=beyond.bound)


def _settings(failing: Failing, plan: Plan) -> SessionSettings:
    settings = plan.settings
    return SessionSettings(settings.providers, settings.threads, failing.level, in_turn=True)
