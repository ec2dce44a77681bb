"""Make a job's file by the first way that proves right, and judge it.

The ways to capture the model are a ladder; the simplifier is a choice on each rung. A file goes on to the
next way if it does not state the checkpoint's function, or if ONNX Runtime does not load it.
"""

from pathlib import Path

from onnxproof.errors import ExportError, ModelFileError, UserCodeError
from onnxproof.export.capture import Ladder
from onnxproof.export.make import Graph, graph_of, unsimplified, with_note
from onnxproof.export.simplify import BEST, PARTS, SimplifyError, size_of
from onnxproof.export.write import write_model
from onnxproof.job import Job
from onnxproof.progress import Progress
from onnxproof.runtime.folder import MODEL_FILE
from onnxproof.steps.trying import Attempts, Tried
from onnxproof.system.scratch import scratch_folder
from onnxproof.validate.ahead import Ahead
from onnxproof.validate.timing import time_ratio
from onnxproof.validate.verdict import Verdict
from onnxproof.wrappers.family import Checkpoint, WrappedModel

NOT_SLOWER = 1.05
"""How many times as long a simplified file may take for ``simplify = "best"``: what a paired timing cannot
tell from 1 on a busy machine."""


def prove(
    job: Job,
    model: WrappedModel,
    checkpoint: Checkpoint | None,
    ladder: Ladder,
    folder: Path,
    ahead: Ahead | None,
    progress: Progress,
) -> tuple[Graph, Verdict | None]:
    """The graph to ship, and the verdict on its file, which is in ``folder``; None if ``ahead`` is.

    Files that are tried are written to ``folder``. If no way of the ``ladder`` makes a right file, it is the
    one with the fewest failed checks.
    Raises ExportError or UserCodeError if no way makes a file that loads.
    """
    attempts = Attempts(job, model, checkpoint, folder, ahead, progress, ladder)
    taken = _first_right(ladder, attempts)
    attempts.write(taken.graph)
    return taken.graph, taken.verdict


def _first_right(ladder: Ladder, attempts: Attempts) -> Tried:
    """The file of the first rung that is not to blame for a failed check, or the best of the wrong ones."""
    best: Tried | None = None
    while True:
        attempts.progress("capture", 0, 0)
        try:
            captured = ladder.climb(attempts.meanwhile)
        except (ExportError, UserCodeError):
            if best is None:
                raise
            others = [reason for reason in ladder.reasons if reason not in best.graph.captured.reasons]
            return best.noted(f"no way to capture the model makes a right file: {'; '.join(others)}")
        try:
            tried = _chosen(attempts, graph_of(attempts.model, captured))
        except (ExportError, ModelFileError) as error:
            ladder.refuse_file(f"{captured.exporter} wrote a file that is refused: {attempts.said(error)}")
            continue
        if tried.blamed is None:
            return tried
        wrong = f"the file of {captured.exporter} is wrong ({tried.blamed})"
        attempts.progress(f"{wrong}: try another way", 0, 0)
        ladder.refuse(wrong)
        if best is None or tried.failed < best.failed:
            best = tried


def _chosen(attempts: Attempts, plain: Graph) -> Tried:
    """The file to take of a captured graph, by the job's ``export.simplify``.

    Raises ExportError or ModelFileError if the captured graph itself is not valid or cannot be loaded.
    """
    match attempts.job.export.simplify:
        case "none":
            return attempts.run(plain)
        case "best":
            return _smallest(attempts, plain)
        case _:
            return _simplified(attempts, plain)


def _simplified(attempts: Attempts, plain: Graph) -> Tried:
    """The file as onnxsim simplifies it if that proves right, as it was captured otherwise.

    If onnxsim as a whole makes a wrong file, its passes are tried one without the other.
    """
    whole = attempts.run_by("onnxsim", plain)
    if isinstance(whole, Tried) and not whole.failed:
        return whole
    reason = whole if isinstance(whole, str) else whole.worse
    attempts.progress(f"{reason}: try it as it was captured", 0, 0)
    bare = attempts.run(unsimplified(plain, reason))
    if isinstance(whole, Tried) and bare.failed >= whole.failed:
        if whole.blamed is None or bare.blamed is None:
            return whole
        exporter = plain.captured.exporter
        return whole.noted(f"the graph of {exporter} fails the function link before it is simplified, too")
    for tool in PARTS:
        attempts.progress(f"without onnxsim it did better: try {tool} alone", 0, 0)
        part = attempts.run_by(tool, with_note(plain, f"simplified by {tool}: {reason}"))
        if isinstance(part, Tried) and part.failed <= bare.failed:
            return part
    return bare


def _smallest(attempts: Attempts, plain: Graph) -> Tried:
    """The smallest file that proves right and is not slower than the captured graph's."""
    with scratch_folder() as folder:
        write_model(attempts.job, attempts.model, attempts.checkpoint, plain, folder)
        made: list[Graph] = []
        notes: list[str] = []
        for tool in BEST:
            try:
                made.append(attempts.simplified(plain, tool))
            except SimplifyError as error:
                notes.append(str(error))
        for graph in sorted(made, key=lambda graph: size_of(graph.proto)):
            if size_of(graph.proto) >= size_of(plain.proto):
                notes.append(f"{graph.simplifier} made no smaller graph")
                continue
            tried = attempts.run_simplified(with_note(graph, *notes))
            if isinstance(tried, str) or tried.failed:
                notes.append(f"{graph.simplifier}: {tried if isinstance(tried, str) else tried.worse}")
                continue
            ahead = attempts.ahead
            ratio = 1.0 if ahead is None else time_ratio(attempts.file, folder / MODEL_FILE, ahead.plan)
            if ratio <= NOT_SLOWER:
                return tried
            notes.append(f"{graph.simplifier} made a graph that takes {ratio:.2f} times as long")
    return attempts.run(unsimplified(plain, "; ".join(notes)))
