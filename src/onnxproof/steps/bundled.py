"""Prove the file of a job, and write what goes into its bundle."""

from pathlib import Path

from onnxproof.export.bundle import README_FILE
from onnxproof.export.capture import Ladder
from onnxproof.export.write import draw_pictures, manifest_in, write_manifest
from onnxproof.progress import Progress
from onnxproof.runtime.manifest import Manifest
from onnxproof.steps.opening import ToExport
from onnxproof.steps.prove import prove
from onnxproof.steps.recording import write_verdict
from onnxproof.system.files import write_text
from onnxproof.system.own_folder import signed
from onnxproof.validate.ahead import Ahead
from onnxproof.validate.baseline import held_to
from onnxproof.validate.report.card import card
from onnxproof.validate.trial import Plan
from onnxproof.validate.verdict import Verdict
from onnxproof.wrappers.weights import runs_here


def bundled(
    opened: ToExport,
    ladder: Ladder,
    plan: Plan,
    folder: Path,
    target: Path,
    progress: Progress,
    *,
    validate: bool,
    baseline: Verdict | None,
) -> tuple[Manifest, Verdict | None, tuple[str, ...]]:
    """Write the bundle of ``target`` into ``folder``. Returns its manifest, the verdict, and the notes.

    The verdict is None if ``validate`` is False. Raises as ``prove`` does.
    """
    job, model, checkpoint = opened.job, opened.model, opened.checkpoint
    ahead = Ahead(model, plan) if validate else None
    graph, verdict = prove(job, model, checkpoint, ladder, folder, ahead, progress)
    if verdict is not None and baseline is not None:
        verdict = held_to(verdict, baseline)
    if verdict is not None and ahead is not None:
        stamped = manifest_in(job, model, checkpoint, graph)
        verdict = write_verdict(ahead, verdict, stamped, folder)
    manifest = write_manifest(job, model, checkpoint, graph, folder, target)
    notes = (*model.notes, *graph.notes)
    write_text(folder / README_FILE, signed(card(manifest, verdict, notes), "export"))
    if runs_here(model.module):
        draw_pictures(job, plan.pictures, folder, progress)
    return manifest, verdict, notes
