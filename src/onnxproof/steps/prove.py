"""Make a job's file by the first way that proves right, and judge it.

The ways to capture the model are a ladder; the simplifier is a choice on each rung. A file goes on to the
next way if it does not state the checkpoint's function, or if ONNX Runtime does not load it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

from onnxproof.errors import ExportError, ModelFileError, UserCodeError
from onnxproof.export.capture import Ladder
from onnxproof.export.make import Graph, graph_of, ladder_for, simplified, unsimplified, with_note
from onnxproof.export.simplify import BEST, PARTS, SimplifyError, load, size_of
from onnxproof.export.write import write_model
from onnxproof.job import Job
from onnxproof.progress import Progress
from onnxproof.runtime.folder import MODEL_FILE
from onnxproof.runtime.session import first_line, open_session
from onnxproof.steps.judging import validate_for
from onnxproof.system.files import scratch_folder
from onnxproof.validate.ahead import Ahead
from onnxproof.validate.exact.fold_proof import folding_check
from onnxproof.validate.hazards.tracing import TRACING
from onnxproof.validate.legs.leg import GRAPH
from onnxproof.validate.timing import time_ratio
from onnxproof.validate.trial import Plan
from onnxproof.validate.verdict import Check, Verdict
from onnxproof.validate.verify import STATE
from onnxproof.wrappers.family import Checkpoint, WrappedModel
from onnxproof.wrappers.weights import runs_here

NOT_SLOWER = 1.05
"""How many times as long a simplified file may take for ``simplify = "best"``: what a paired timing cannot
tell from 1 on a busy machine."""

OF_THE_CHECKPOINT = ("decisions", "dataset", STATE)
"""Checks that could not be run if the checkpoint decides nothing on the pictures, or answers otherwise each
time: no other file would change that."""

CAPTURED_FOLDER = ".captured"
"""The folder with the tensors of a large model as the exporters wrote them."""


@dataclass(frozen=True, slots=True)
class _Request:
    """What is asked for. ``plan`` and ``ahead`` are None if the file is not to be validated, only loaded.

    ``checks`` are on the module that is captured, whichever way that is done. ``written`` has the graph whose
    file was written last.
    """

    job: Job
    model: WrappedModel
    checkpoint: Checkpoint | None
    folder: Path
    plan: Plan | None
    ahead: Ahead | None
    progress: Progress
    checks: tuple[Check, ...]
    written: list[Graph] = field(default_factory=list)

    @property
    def file(self) -> Path:
        """Where the files that are tried are written, one after the other."""
        return self.folder / MODEL_FILE

    @property
    def meanwhile(self) -> Iterator[None]:
        """The work that can be done while another process captures or simplifies."""
        # Not by ``yield from``, which would end the steps where it is left.
        return chain(self._loading(), () if self.ahead is None else self.ahead.steps())

    def _loading(self) -> Iterator[None]:
        if self.job.export.simplify != "none":
            load()
            yield

    def write(self, graph: Graph) -> None:
        """Write a graph's file in place of the one before, unless it is that one.

        Raises ExportError if it is not valid ONNX.
        """
        if self.written and self.written[0] is graph:
            return
        self.written.clear()
        write_model(self.job, self.model, self.checkpoint, graph, self.folder)
        self.written.append(graph)


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
    ahead: Ahead | None,
    progress: Progress,
) -> tuple[Graph, Verdict | None]:
    """The graph to ship, and the verdict on its file, which is in ``folder``; None if ``ahead`` is.

    Files that are tried are written to ``folder``. What those of a large model are made from stays in
    ``CAPTURED_FOLDER`` there. If no way makes a right file, it is the one with the fewest failed checks.
    Raises ExportError or UserCodeError if no way makes a file that loads.
    """
    plan = None if ahead is None else ahead.plan
    ladder = ladder_for(job, model, progress, folder / CAPTURED_FOLDER)
    folded = plan is not None and job.export.fold_batch_norms
    checks = (folding_check(model.module, ladder.module()),) if folded else ()
    request = _Request(job, model, checkpoint, folder, plan, ahead, progress, checks)
    best: _Tried | None = None
    while True:
        progress("capture", 0, 0)
        try:
            captured = ladder.climb(request.meanwhile)
        except (ExportError, UserCodeError):
            if best is None:
                raise
            request.write(best.graph)
            return best.graph, _told(best, ladder)
        try:
            tried = _chosen(request, graph_of(model, captured))
        except (ExportError, ModelFileError) as error:
            ladder.refuse_file(f"{captured.exporter} wrote a file that is refused: {_said(error, request)}")
            continue
        if tried.blamed is None:
            request.write(tried.graph)
            return tried.graph, tried.verdict
        progress(f"the file of {captured.exporter} is wrong ({tried.blamed}): try another way", 0, 0)
        ladder.refuse(f"the file of {captured.exporter} is wrong ({tried.blamed})")
        if best is None or tried.failed < best.failed:
            best = tried


def _chosen(request: _Request, plain: Graph) -> _Tried:
    """The file to take of a captured graph: simplified if that proves right, as it was captured otherwise.

    If onnxsim as a whole makes a wrong file, its passes are tried one without the other. Raises ExportError
    or ModelFileError if the captured graph itself is not valid or cannot be loaded.
    """
    if request.job.export.simplify == "none":
        return _tried(request, plain)
    if request.job.export.simplify == "best":
        return _best(request, plain)
    whole = _simplified(request, plain, "onnxsim")
    if isinstance(whole, _Tried) and not whole.failed:
        return whole
    reason = whole if isinstance(whole, str) else _worse(whole)
    request.progress(f"{reason}: try it as it was captured", 0, 0)
    bare = _tried(request, unsimplified(plain, reason))
    if isinstance(whole, _Tried) and bare.failed >= whole.failed:
        return _noted(whole) if whole.blamed is not None and bare.blamed is not None else whole
    for tool in PARTS:
        request.progress(f"without onnxsim it did better: try {tool} alone", 0, 0)
        part = _simplified(request, with_note(plain, f"simplified by {tool}: {reason}"), tool)
        if isinstance(part, _Tried) and part.failed <= bare.failed:
            return part
    return bare


def _best(request: _Request, plain: Graph) -> _Tried:
    """The smallest file that proves right and is not slower than the captured graph's."""
    with scratch_folder() as folder:
        write_model(request.job, request.model, request.checkpoint, plain, folder)
        made: list[Graph] = []
        notes: list[str] = []
        for tool in BEST:
            try:
                made.append(_made(request, plain, tool))
            except SimplifyError as error:
                notes.append(str(error))
        for graph in sorted(made, key=lambda graph: size_of(graph.proto)):
            if size_of(graph.proto) >= size_of(plain.proto):
                notes.append(f"{graph.simplifier} made no smaller graph")
                continue
            tried = _attempted(request, with_note(graph, *notes))
            if isinstance(tried, str) or tried.failed:
                notes.append(f"{graph.simplifier}: {tried if isinstance(tried, str) else _worse(tried)}")
                continue
            ratio = (
                1.0 if request.plan is None else time_ratio(request.file, folder / MODEL_FILE, request.plan)
            )
            if ratio <= NOT_SLOWER:
                return tried
            notes.append(f"{graph.simplifier} made a graph that takes {ratio:.2f} times as long")
    return _tried(request, unsimplified(plain, "; ".join(notes)))


def _simplified(request: _Request, plain: Graph, tool: str) -> _Tried | str:
    """The file that a tool makes of a graph, validated, or why there is none."""
    try:
        return _attempted(request, _made(request, plain, tool))
    except SimplifyError as error:
        return str(error)


def _made(request: _Request, plain: Graph, tool: str) -> Graph:
    """The graph that a tool makes. Raises SimplifyError."""
    limit_s = request.job.export.capture_timeout
    return simplified(plain, request.model, tool, limit_s, request.progress, request.meanwhile)


def _attempted(request: _Request, graph: Graph) -> _Tried | str:
    """A simplified graph's file, validated, or why it is refused."""
    try:
        return _tried(request, graph)
    except (ExportError, ModelFileError) as error:
        return f"ONNX Runtime refuses the simplified graph ({_said(error, request)})"


def _worse(tried: _Tried) -> str:
    """Why a simplified file is not taken. It has a failed check."""
    assert tried.verdict is not None
    return f"the simplified graph did worse ({_told_of(_failed(tried.verdict)[0])})"


def _noted(tried: _Tried) -> _Tried:
    """A wrong file, with the note that the simplifier is not to blame."""
    assert tried.verdict is not None
    exporter = tried.graph.captured.exporter
    note = f"the graph of {exporter} fails the function link before it is simplified, too"
    return replace(tried, verdict=replace(tried.verdict, notes=(*tried.verdict.notes, note)))


def _tried(request: _Request, graph: Graph) -> _Tried:
    """Write a graph's file and validate it, or only load it. Raises ExportError or ModelFileError."""
    request.write(graph)
    if request.plan is None or request.ahead is None:
        if runs_here(request.model.module):
            open_session(request.file)
        return _Tried(graph, None, None)
    verdict = validate_for(
        request.job,
        request.model,
        request.file,
        request.plan,
        request.progress,
        checks=request.checks,
        notes=graph.notes,
        prepared=request.ahead.prepared,
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

    It is not the cause of what lies before and behind the file, in the link ``pipeline``, nor of a checkpoint
    that decides nothing on the pictures. ``traced`` includes the check on what a trace froze.
    """
    return tuple(
        check
        for check in verdict.checks
        if check.status in ("fail", "error")
        and check.link != "pipeline"
        and not (check.status == "error" and check.name in OF_THE_CHECKPOINT)
        and (traced or check.name != TRACING.name)
    )


def _told_of(check: Check) -> str:
    return f"{check.name}{f' {check.field}' if check.field else ''}: {check.reason}"


def _said(error: ExportError | ModelFileError, request: _Request) -> str:
    return first_line(error).replace(str(request.file), MODEL_FILE)
