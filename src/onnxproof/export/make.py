"""From the wrapped model to the finished graph: fold, capture, simplify, finish."""

from dataclasses import dataclass, replace

import onnx
from torch import nn

from onnxproof.export.capture import Captured, Ladder
from onnxproof.export.examples import capture_sizes, example_inputs
from onnxproof.export.finish import finish
from onnxproof.export.fold import fold_batch_norms
from onnxproof.export.simplify import simplify
from onnxproof.job import Job
from onnxproof.progress import Progress, silent
from onnxproof.wrappers.family import WrappedModel


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """A finished graph and how it came about.

    ``module`` is what was captured: the model's own, or a copy with its batch norms folded.
    """

    proto: onnx.ModelProto
    captured: Captured
    simplifier: str
    notes: tuple[str, ...]
    module: nn.Module


def make_graph(job: Job, model: WrappedModel, progress: Progress = silent) -> Graph:
    """Capture and simplify the model, as the job's ``[export]`` says."""
    ladder = ladder_for(job, model, progress)
    return graph_of(job, model, ladder, ladder.climb(), progress)


def ladder_for(job: Job, model: WrappedModel, progress: Progress = silent) -> Ladder:
    """The ways to capture the model, with its batch norms folded if the job says so."""
    module, contract = model.module, model.contract
    if job.export.fold_batch_norms:
        progress("fold batch norms", 0, 0)
        examples = example_inputs(contract.inputs, capture_sizes(contract.dims))
        module, _ = fold_batch_norms(module, examples)
    table = job.export
    simplifying = table.simplify != "none"
    return Ladder(
        model, module, table.exporter, table.opset, optimize=not simplifying, limit_s=table.capture_timeout
    )


def graph_of(
    job: Job, model: WrappedModel, ladder: Ladder, captured: Captured, progress: Progress = silent
) -> Graph:
    """Simplify and finish what was captured."""
    contract, notes = model.contract, []
    if captured.reasons:
        notes.append(f"captured by {captured.exporter}: {'; '.join(captured.reasons)}")
    # With the specs' axes named first, an axis that only onnxsim can infer does not count as a change.
    proto, simplifier = finish(captured.proto, contract.inputs, contract.outputs), "none"
    if job.export.simplify != "none":
        progress("simplify", 0, 0)
        simplified = simplify(proto)
        proto = simplified.proto
        simplifier = "onnxsim" if simplified.refusal is None else "none"
        if simplified.refusal is not None:
            notes.append(f"not simplified: {simplified.refusal}")
    finished = finish(proto, contract.inputs, contract.outputs)
    return Graph(finished, captured, simplifier, tuple(notes), ladder.module)


def unsimplified(graph: Graph, model: WrappedModel, reason: str) -> Graph:
    """The same graph as it was before the simplifier. ``reason`` goes into a note."""
    return replace(
        graph,
        proto=finish(graph.captured.proto, model.contract.inputs, model.contract.outputs),
        simplifier="none",
        notes=(*graph.notes, f"not simplified: {reason}"),
    )
