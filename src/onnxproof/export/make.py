"""From the wrapped model to the finished graph: fold, capture, simplify, finish."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import onnx

from onnxproof.export.capture import NO_CUSTOM_OPS, Captured, Ladder
from onnxproof.export.custom_ops import custom_ops
from onnxproof.export.examples import capture_sizes, example_inputs
from onnxproof.export.finish import finish
from onnxproof.export.fold import find_folding
from onnxproof.export.simplify import SimplifyError, run, simplify
from onnxproof.job import Job
from onnxproof.progress import Progress, silent
from onnxproof.system.imports import collector_paused
from onnxproof.wrappers.family import WrappedModel
from onnxproof.wrappers.weights import held_in

FIRST = "onnxsim"
"""The tool that simplifies a graph first."""


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """A finished graph and how it came about."""

    proto: onnx.ModelProto
    captured: Captured
    simplifier: str
    notes: tuple[str, ...]


def make_graph(job: Job, model: WrappedModel, progress: Progress = silent) -> Graph:
    """Capture and simplify the model, as the job's ``[export]`` says, without a proof of either."""
    graph = graph_of(model, ladder_for(job, model, progress).climb())
    if job.export.simplify == "none":
        return graph
    try:
        return simplified(graph, model, FIRST, job.export.capture_timeout, progress)
    except SimplifyError as error:
        return unsimplified(graph, str(error))


def ladder_for(
    job: Job, model: WrappedModel, progress: Progress = silent, folder: Path | None = None
) -> Ladder:
    """The ways to capture the model, with its batch norms folded if the job says so.

    Those of a model in half precision stay: a folded weight would be rounded to half once more. The tensors
    of a large model are left in ``folder``; without it they are held in memory. Raises JobError or
    UserCodeError if ``export.custom_ops`` names no table.
    """
    named = job.export.custom_ops
    own = NO_CUSTOM_OPS if named is None else custom_ops(named, job.folder)
    folding = None
    if job.export.fold_batch_norms and held_in(model.module) == "float32":
        progress("fold batch norms", 0, 0)
        contract = model.contract
        with collector_paused():
            examples = example_inputs(contract.inputs, capture_sizes(contract.dims))
            folding = find_folding(model.module, examples)
    table = job.export
    return Ladder(
        model,
        folding,
        table.exporter,
        table.opset,
        optimize=table.simplify == "none",
        limit_s=table.capture_timeout,
        folder=folder,
        custom_ops=own,
        onward=None if table.simplify == "none" else partial(_first_simplified, model),
    )


def _first_simplified(model: WrappedModel, captured: onnx.ModelProto) -> onnx.ModelProto:
    """What the first tool makes of a graph, in the process that captured it."""
    return run(FIRST, finish(captured, model.contract.inputs, model.contract.outputs))


def graph_of(model: WrappedModel, captured: Captured) -> Graph:
    """Finish what was captured."""
    notes: tuple[str, ...] = ()
    if captured.reasons:
        notes = (f"captured by {captured.exporter}: {'; '.join(captured.reasons)}",)
    with collector_paused():
        finished = finish(captured.proto, model.contract.inputs, model.contract.outputs)
    return Graph(finished, captured, "none", notes)


def simplified(
    graph: Graph,
    model: WrappedModel,
    tool: str,
    limit_s: float,
    progress: Progress = silent,
    meanwhile: Iterable[None] = (),
) -> Graph:
    """The graph as a tool of ``simplify.TOOLS`` makes it, while ``meanwhile`` is gone through.

    Raises SimplifyError if the tool fails.
    """
    progress("simplify", 0, 0)
    begun = graph.captured.onward if tool == FIRST else None
    made = simplify(graph.proto, tool, limit_s, meanwhile, begun)
    with collector_paused():
        proto = finish(made, model.contract.inputs, model.contract.outputs)
    return replace(graph, proto=proto, simplifier=tool)


def unsimplified(graph: Graph, reason: str) -> Graph:
    """The graph that was captured, with a note on why it is not simplified."""
    return with_note(graph, f"not simplified: {reason}")


def with_note(graph: Graph, *notes: str) -> Graph:
    """The graph with notes on how it came about."""
    return replace(graph, notes=(*graph.notes, *notes))
