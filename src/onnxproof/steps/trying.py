"""Try a graph: write its file, validate it, and say what speaks against it."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

from onnxproof.errors import ExportError, ModelFileError
from onnxproof.export.capture import Ladder
from onnxproof.export.make import Graph, simplified
from onnxproof.export.simplify import SimplifyError
from onnxproof.export.write import write_model
from onnxproof.job import Job
from onnxproof.progress import Progress
from onnxproof.runtime.folder import MODEL_FILE
from onnxproof.runtime.session import first_line, open_session
from onnxproof.steps.judging import validate_for
from onnxproof.validate.ahead import Ahead, leaves_room
from onnxproof.validate.checks import Check
from onnxproof.validate.exact.fold_proof import folding_check
from onnxproof.validate.hazards.tracing import TRACING
from onnxproof.validate.legs.leg import GRAPH
from onnxproof.validate.verdict import Verdict
from onnxproof.validate.verify import STATE
from onnxproof.wrappers.family import Checkpoint, WrappedModel
from onnxproof.wrappers.weights import runs_here

OF_THE_CHECKPOINT = ("decisions", "dataset", STATE)
"""Checks that could not be run if the checkpoint decides nothing on the pictures, or answers otherwise each
time: no other file would change that."""


@dataclass(frozen=True, slots=True, eq=False)
class Tried:
    """A graph, and the verdict on its file; None if the file was only loaded."""

    graph: Graph
    verdict: Verdict | None

    @property
    def failed(self) -> int:
        """How many checks failed."""
        return 0 if self.verdict is None else len(_failed(self.verdict))

    @property
    def blamed(self) -> str | None:
        """Why the way that captured the graph is at fault; None if it is not."""
        if self.verdict is None:
            return None
        blamed = next(filter(_is_of_the_graph, _failed(self.verdict, traced=True)), None)
        return None if blamed is None else _told_of(blamed)

    @property
    def worse(self) -> str:
        """Why a simplified file with a failed check is not taken."""
        assert self.verdict is not None
        return f"the simplified graph did worse ({_told_of(_failed(self.verdict)[0])})"

    def noted(self, note: str) -> "Tried":
        """The same with one more note in the verdict, if there is one."""
        if self.verdict is None:
            return self
        return replace(self, verdict=replace(self.verdict, notes=(*self.verdict.notes, note)))


@dataclass(frozen=True, slots=True)
class Attempts:
    """Where a job's graphs are tried, one after the other.

    Files are written to ``folder``, each in place of the one before. ``ahead`` is None if a file is not to be
    validated, only loaded. ``ladder`` is what captures the graphs.
    """

    job: Job
    model: WrappedModel
    checkpoint: Checkpoint | None
    folder: Path
    ahead: Ahead | None
    progress: Progress
    ladder: Ladder
    _written: list[Graph] = field(default_factory=list)
    _folding: list[Check] = field(default_factory=list)

    @property
    def file(self) -> Path:
        """The file that was written last."""
        return self.folder / MODEL_FILE

    @property
    def meanwhile(self) -> Iterator[None]:
        """The work that can be done while another process captures or simplifies."""
        return iter(()) if self.ahead is None else chain(self._checked_ahead(), self.ahead.steps())

    def _checked_ahead(self) -> Iterator[None]:
        if leaves_room(self.model):
            self._checks()
            yield

    def write(self, graph: Graph) -> None:
        """Write a graph's file, unless it is the one that was written last.

        Raises ExportError if it is not valid ONNX.
        """
        if self._written and self._written[0] is graph:
            return
        self._written.clear()
        write_model(self.job, self.model, self.checkpoint, graph, self.folder)
        self._written.append(graph)

    def _checks(self) -> tuple[Check, ...]:
        """What is checked of the module that is captured, whichever way that is done."""
        if not self.job.export.fold_batch_norms:
            return ()
        if not self._folding:
            self._folding.append(folding_check(self.model.module, self.ladder.module()))
        return tuple(self._folding)

    def run(self, graph: Graph) -> Tried:
        """Write a graph's file and validate it, or only load it. Raises ExportError or ModelFileError."""
        if self.ahead is None:
            self.write(graph)
            if runs_here(self.model.module):
                open_session(self.file)
            return Tried(graph, None)
        with self.ahead.going_on():
            self.write(graph)
            verdict = validate_for(
                self.job,
                self.model,
                self.file,
                self.ahead.plan,
                self.progress,
                checks=self._checks(),
                notes=graph.notes,
                prepared=self.ahead.prepared,
            )
        return Tried(graph, verdict)

    def run_simplified(self, graph: Graph) -> Tried | str:
        """What came of a simplified graph's file, or why ONNX Runtime refuses it."""
        try:
            return self.run(graph)
        except (ExportError, ModelFileError) as error:
            return f"ONNX Runtime refuses the simplified graph ({self.said(error)})"

    def simplified(self, graph: Graph, tool: str) -> Graph:
        """The graph that a tool of ``simplify.TOOLS`` makes of a graph. Raises SimplifyError."""
        limit_s = self.job.export.capture_timeout
        return simplified(graph, self.model, tool, limit_s, self.progress, self.meanwhile)

    def run_by(self, tool: str, graph: Graph) -> Tried | str:
        """What came of the file that a tool makes of a graph, or why there is none."""
        try:
            return self.run_simplified(self.simplified(graph, tool))
        except SimplifyError as error:
            return str(error)

    def said(self, error: ExportError | ModelFileError) -> str:
        """The first line of an error, with the file's name in place of its path."""
        return first_line(error).replace(str(self.file), MODEL_FILE)


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
