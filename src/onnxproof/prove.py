"""Make a job's file by the first way that proves right, and judge it.

The ways to capture the model are a ladder; the simplifier is a choice on each rung. A file goes on to the
next way if it does not state the checkpoint's function, or if ONNX Runtime does not load it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from onnxproof.errors import ExportError, ModelFileError, UserCodeError
from onnxproof.export.capture import Ladder
from onnxproof.export.make import Graph, graph_of, ladder_for, unsimplified
from onnxproof.export.write import write_model
from onnxproof.job import Job
from onnxproof.progress import Progress
from onnxproof.runtime.folder import MODEL_FILE
from onnxproof.runtime.session import first_line, open_session
from onnxproof.validate.ahead import Ahead, Prepared
from onnxproof.validate.exact.fold_proof import folding_check
from onnxproof.validate.hazards.tracing import TRACING
from onnxproof.validate.legs.leg import GRAPH
from onnxproof.validate.trial import Plan
from onnxproof.validate.verdict import Check, Verdict
from onnxproof.validate.verify import validate_file
from onnxproof.wrappers.family import Checkpoint, WrappedModel


@dataclass(frozen=True, slots=True)
class _Request:
    """What is asked for. ``plan`` and ``ahead`` are None if the file is not to be validated, only loaded."""

    job: Job
    model: WrappedModel
    checkpoint: Checkpoint | None
    folder: Path
    plan: Plan | None
    ahead: Ahead | None
    progress: Progress

    @property
    def file(self) -> Path:
        """Where the files that are tried are written, one after the other."""
        return self.folder / MODEL_FILE


@dataclass(frozen=True, slots=True, eq=False)
class _Tried:
    """A graph, and the verdict on its file. ``blamed`` says why the way that captured it is at fault; it is
    None if it is not."""

    graph: Graph
    verdict: Verdict | None
    blamed: str | None

    @property
    def failed(self) -> int:
        """How many checks failed."""
        return 0 if self.verdict is None else len(_failed(self.verdict))


def prove(
    job: Job,
    model: WrappedModel,
    checkpoint: Checkpoint | None,
    folder: Path,
    plan: Plan | None,
    progress: Progress,
) -> tuple[Graph, Verdict | None]:
    """The graph to ship, and the verdict on its file; None if ``plan`` is.

    Files that are tried are written to ``folder``. If no way makes a right file, it is the one with the
    fewest failed checks. Raises ExportError or UserCodeError if no way makes a file that loads.
    """
    ahead = None if plan is None else Ahead(model, plan)
    request = _Request(job, model, checkpoint, folder, plan, ahead, progress)
    ladder = ladder_for(job, model, progress)
    best: _Tried | None = None
    while True:
        progress("capture", 0, 0)
        try:
            captured = ladder.climb(() if ahead is None else ahead.steps())
        except (ExportError, UserCodeError):
            if best is None:
                raise
            return best.graph, _told(best, ladder)
        try:
            tried = _simplified_or_not(request, graph_of(job, model, ladder, captured, progress))
        except (ExportError, ModelFileError) as error:
            ladder.refuse(f"{captured.exporter} wrote a file that is refused: {_said(error, request)}")
            continue
        if tried.blamed is None:
            return tried.graph, tried.verdict
        ladder.refuse(f"the file of {captured.exporter} is wrong ({tried.blamed})")
        if best is None or tried.failed < best.failed:
            best = tried


def validate_for(
    job: Job,
    model: WrappedModel,
    file: Path,
    plan: Plan,
    progress: Progress,
    *,
    checks: Sequence[Check] = (),
    notes: Sequence[str] = (),
    prepared: Prepared | None = None,
) -> Verdict:
    """The verdict on a file of the job's model, with the job's opset and target."""
    return validate_file(
        model,
        file,
        plan,
        opset=job.export.opset,
        target=job.export.target,
        extra_checks=checks,
        notes=notes,
        prepared=prepared,
        progress=progress,
    )


def _simplified_or_not(request: _Request, graph: Graph) -> _Tried:
    """Write and validate a graph's file; go back to the unsimplified graph if that does better.

    Raises ExportError or ModelFileError if the unsimplified graph is not valid or cannot be loaded.
    """
    try:
        tried = _tried(request, graph)
    except (ExportError, ModelFileError) as error:
        if graph.simplifier == "none":
            raise
        reason = f"ONNX Runtime refuses the simplified graph ({_said(error, request)})"
        return _tried(request, unsimplified(graph, request.model, reason))
    if graph.simplifier == "none" or tried.verdict is None or not tried.failed:
        return tried
    (first, *_) = _failed(tried.verdict)
    reason = f"the simplified graph did worse ({_told_of(first)})"
    plain = _tried(request, unsimplified(graph, request.model, reason))
    if plain.failed < tried.failed:
        return plain
    if tried.blamed is not None and plain.blamed is not None:
        note = f"the graph of {graph.captured.exporter} fails the function link before it is simplified, too"
        return replace(tried, verdict=replace(tried.verdict, notes=(*tried.verdict.notes, note)))
    return tried


def _tried(request: _Request, graph: Graph) -> _Tried:
    """Write a graph's file and validate it, or only load it. Raises ExportError or ModelFileError."""
    write_model(request.job, request.model, request.checkpoint, graph, request.folder)
    if request.plan is None:
        open_session(request.file)
        return _Tried(graph, None, None)
    folded = graph.module is not request.model.module
    checks = (folding_check(request.model.module, graph.module),) if folded else ()
    verdict = validate_for(
        request.job,
        request.model,
        request.file,
        request.plan,
        request.progress,
        checks=checks,
        notes=graph.notes,
        prepared=None if request.ahead is None else request.ahead.prepared,
    )
    blamed = next(filter(_is_of_the_graph, _failed(verdict, traced=True)), None)
    return _Tried(graph, verdict, None if blamed is None else _told_of(blamed))


def _told(best: _Tried, ladder: Ladder) -> Verdict | None:
    """The verdict on the best of the wrong files, with a note on what became of the others."""
    if best.verdict is None:
        return None
    others = [reason for reason in ladder.reasons if reason not in best.graph.captured.reasons]
    note = f"no way to capture the model makes a right file: {'; '.join(others)}"
    return replace(best.verdict, notes=(*best.verdict.notes, note))


def _is_of_the_graph(check: Check) -> bool:
    """Whether a failed check shows that the graph itself is wrong, whatever runs it."""
    return check.name == TRACING.name or (check.leg or "").endswith(GRAPH)


def _failed(verdict: Verdict, *, traced: bool = False) -> tuple[Check, ...]:
    """The checks that failed or could not be run, and that a simplifier may be the cause of.

    ``traced`` includes the check on what a trace froze.
    """
    return tuple(
        check
        for check in verdict.checks
        if check.status in ("fail", "error") and (traced or check.name != TRACING.name)
    )


def _told_of(check: Check) -> str:
    return f"{check.name}{f' {check.field}' if check.field else ''}: {check.reason}"


def _said(error: Exception, request: _Request) -> str:
    return first_line(error.__cause__ or error).replace(str(request.file), MODEL_FILE)
