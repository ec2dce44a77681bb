"""Make a job's file of lower precision from the one that is proven, and judge it by the job's budget.

Where the budget fails, the parts of the network that cost most stay in float32, as few as meet it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from onnxproof.export.bundle import BUNDLE, README_FILE
from onnxproof.export.finish import finish, stamped
from onnxproof.job import Job
from onnxproof.job.asked import calibrating_of
from onnxproof.job.relocated import relocated
from onnxproof.on_disk import write_model_file
from onnxproof.progress import Progress
from onnxproof.runtime.folder import GOLDEN_FILE, MANIFEST_FILE, MODEL_FILE, PARITY_FILE, data_of
from onnxproof.runtime.manifest import Manifest, Precision
from onnxproof.source import sha256_of
from onnxproof.steps.budgeted import asked_elsewhere, exam_of, verdict_of
from onnxproof.steps.lowered_golden import record_lowered_golden
from onnxproof.steps.makers import Int8Maker, Maker, maker_of
from onnxproof.steps.recording import noted
from onnxproof.steps.searching import Chosen, search
from onnxproof.system.files import write_json, write_text
from onnxproof.system.own_folder import check_target, signed, staged_folder
from onnxproof.validate.budget.exam import Question, contents_of, questions_of
from onnxproof.validate.legs.pytorch import TorchLeg
from onnxproof.validate.report.card import card
from onnxproof.validate.trial import Plan
from onnxproof.validate.verdict import Check, Verdict
from onnxproof.wrappers.family import WrappedModel


@dataclass(frozen=True, slots=True)
class Lowering:
    """How a file of lower precision is made: into the folder ``place``, with ``calibrating`` pictures.

    ``judged`` are the pictures that judge it; None if it is not judged.
    """

    place: Path
    calibrating: tuple[Path, ...]
    judged: tuple[Question, ...] | None


def plan_lowered(job: Job, plan: Plan, place: Path, validate: bool, inputs: Sequence[Path]) -> Lowering:
    """How the file of lower precision will be made at ``place``, and judged.

    Raises now, before the slow capture, what would be raised of its pictures and of its folder after it.
    """
    check_target(place, BUNDLE, inputs)
    calibrating, judged = calibrating_of(job), None
    if validate:
        judged = questions_of(plan.contract, plan.pictures, plan.labels, contents_of(calibrating))
    return Lowering(place, calibrating or plan.pictures, judged)


def lowered(
    job: Job,
    model: WrappedModel,
    manifest: Manifest,
    target: Path,
    how: Lowering,
    progress: Progress,
    *,
    inputs: Sequence[Path],
) -> tuple[Manifest, Verdict | None]:
    """Write the bundle of lower precision beside ``target``, the bundle of ``manifest``. Returns its
    manifest, and the verdict on it; None if it is not judged.

    Raises ExportError if there is no such file, CheckError if PyTorch cannot run a picture, RequestError if
    the folder may not be replaced.
    """
    float32, judged = target / MODEL_FILE, how.judged
    maker = maker_of(job, model, float32, how.calibrating, progress)
    with staged_folder(how.place, BUNDLE, inputs) as folder:

        def write(kept: Sequence[str], into: Path, tries: int = 1) -> Manifest:
            made = finish(maker.make(kept), model.contract.inputs, model.contract.outputs)
            precision = replace(_precision(job, maker, manifest, kept), tries=tries)
            made_from = replace(manifest, precision=precision)
            write_model_file(stamped(made, made_from), into, into / MODEL_FILE)
            return made_from

        verdict: Verdict | None = None
        if judged is None:
            chosen = Chosen((), None, None)
        else:
            reference = TorchLeg(model, job.validation.threads)
            exam = exam_of(model, judged, reference, progress)
            chosen = search(job, maker, exam, float32, write, progress)
        made_from = write(chosen.kept, folder, chosen.tries)
        file = folder / MODEL_FILE
        if judged is not None and chosen.figures is not None and chosen.budget is not None:
            legs = maker.legs(file, chosen.kept)
            of = str(manifest.model_sha256)[:12]
            more = asked_elsewhere(job, model, reference, legs[0], judged, chosen.budget, progress)
            proven = Check("float32", "pass", f"the file in float32, {of}, is proven by the links")
            verdict = verdict_of(
                job,
                model,
                file,
                legs[0],
                chosen.figures,
                checks=(proven, *chosen.others),
                more=more,
                notes=chosen.notes,
                budget=chosen.budget,
            )
            notes = record_lowered_golden(job, model, legs, verdict, made_from, folder, progress)
            verdict = noted(verdict, notes, folder)
            write_json(folder / PARITY_FILE, verdict.to_json())
        data, golden = data_of(file), folder / GOLDEN_FILE
        written = replace(
            made_from,
            model_sha256=sha256_of(file),
            data_sha256=sha256_of(data) if data.exists() else None,
            golden_sha256=sha256_of(golden) if golden.exists() else None,
            job=relocated(job, how.place),
        )
        write_json(folder / MANIFEST_FILE, written.to_json())
        write_text(folder / README_FILE, signed(card(written, verdict, model.notes), "export"))
    return written, verdict


def _precision(job: Job, maker: Maker, manifest: Manifest, kept: Sequence[str]) -> Precision:
    calibrated = isinstance(maker, Int8Maker)
    return Precision(
        mode=job.precision.mode,
        float32_sha256=str(manifest.model_sha256),
        kept=tuple(kept),
        calibration=job.precision.calibration if calibrated else "",
        calibration_sha256=tuple(sorted(maker.pictures)) if isinstance(maker, Int8Maker) else (),
    )
