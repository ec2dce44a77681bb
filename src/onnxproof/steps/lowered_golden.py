"""Golden cases of a file of lower precision: what its graph states, and what the judged leg answered."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from onnxproof.errors import CheckError
from onnxproof.job import Job
from onnxproof.progress import Progress
from onnxproof.runtime.folder import MODEL_FILE
from onnxproof.runtime.manifest import Manifest
from onnxproof.steps.planning import plan_of
from onnxproof.steps.recording import about_golden, write_golden
from onnxproof.validate.ahead import Kept
from onnxproof.validate.golden.choose import record_lowered
from onnxproof.validate.golden.golden import Lowered
from onnxproof.validate.legs.file_a import truth_of
from onnxproof.validate.legs.leg import GRAPH, Leg
from onnxproof.validate.legs.lowered_file import LoweredRuns
from onnxproof.validate.verdict import Verdict
from onnxproof.wrappers.family import WrappedModel


def record_lowered_golden(
    job: Job,
    model: WrappedModel,
    legs: Sequence[Leg],
    verdict: Verdict,
    manifest: Manifest,
    folder: Path,
    progress: Progress,
) -> tuple[str, ...]:
    """Write ``golden.npz`` into the ``folder`` of a file of lower precision. Returns a note if there is none.

    ``legs`` are those that the budget judged, the deployed one first. ``manifest`` is the one in the model's
    metadata.
    """
    progress("record golden cases", 0, 0)
    file, table = folder / MODEL_FILE, job.precision
    try:
        runs = LoweredRuns(file, model.contract.fields, legs[0], table.mode, job.validation.threads)
        truth = truth_of(runs, GRAPH, legs[0].name)
        assert truth.oracle is not None
        truth = replace(truth, oracle=Kept(truth.oracle), reference=Kept(truth.reference))
        about = replace(
            about_golden(truth, verdict, manifest, job.validation.providers),
            lowered=Lowered(table.mode, table.budget.box_px, table.budget.score),
        )
        healthy = runs.moved() if table.mode == "int8" else (tuple(legs[1:]),)
        golden = record_lowered(model.contract, plan_of(job, model).cases, truth, legs[0], healthy, about)
    except CheckError as error:
        return (f"no golden cases are recorded: {error}",)
    return write_golden(golden, model.contract, folder)
