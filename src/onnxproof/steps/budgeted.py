"""Judge a file by a job's decision budget: whoever made it, and however its numbers are held."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from onnxproof.graph import OnnxGraph
from onnxproof.job import Job
from onnxproof.job.asked import Address, JobLike, calibrating_of, pictures_of
from onnxproof.progress import Progress
from onnxproof.runtime.manifest import Manifest
from onnxproof.source import BundleFolder, look_at, sha256_of
from onnxproof.steps.judging import to_validate
from onnxproof.steps.planning import settings_of
from onnxproof.system.packages import PACKAGES
from onnxproof.validate.budget.elsewhere import elsewhere_checks
from onnxproof.validate.budget.exam import Exam, Question, contents_of, questions_of
from onnxproof.validate.budget.figures import BudgetFigures
from onnxproof.validate.budget.judge import judge_budget
from onnxproof.validate.dataset.plan import plan_labels
from onnxproof.validate.environment import environment
from onnxproof.validate.hazards import METADATA, Subject
from onnxproof.validate.interface import interface_differences
from onnxproof.validate.legs.leg import GRAPH, Leg
from onnxproof.validate.legs.onnx_runtime import OrtLeg
from onnxproof.validate.legs.pytorch import TorchLeg
from onnxproof.validate.policy import DecisionBudget
from onnxproof.validate.renamed import named_alike
from onnxproof.validate.verdict import Check, Verdict, conclude
from onnxproof.wrappers.family import Module, WrappedModel

ROUNDED = "a file of lower precision does not state the checkpoint's function: its decisions are judged"
"""Why the function link says nothing of such a file."""


By = Literal["auto", "links", "budget"]
"""What a file is judged by: the links of the proof, or a decision budget. "auto" means the budget for a
bundle of lower precision, and the links for every other file."""


def is_by_budget(source: JobLike, onnx: Address | None, policy: By) -> bool:
    """Whether a decision budget judges the file that ``validate`` is asked about."""
    if policy != "auto" or onnx is not None or isinstance(source, Job):
        return policy == "budget"
    found = look_at(source)
    return isinstance(found, BundleFolder) and found.manifest().precision is not None


def validate_budget(
    source: JobLike,
    model: Module | None,
    onnx: Address | None,
    map: Mapping[str, str],
    checkpoint: Address | None,
    set: Sequence[str],
    trust: bool,
    progress: Progress,
) -> Verdict:
    """The verdict on a file by the job's budget. Arguments and errors are those of ``validate``."""
    asked, wrapped, file, checks = to_validate(source, model, onnx, checkpoint, set, trust)
    manifest = asked.manifest if onnx is None else None
    judged = plan_budget(asked.job, wrapped, manifest)
    tries = 1 if manifest is None or manifest.precision is None else manifest.precision.tries
    budget = budget_of(asked.job).among(tries)
    with named_alike(file, wrapped.contract, map) as (named, renamed):
        notes = (*asked.notes, *renamed)
        verdict = judge_by_budget(
            asked.job, wrapped, named, judged, progress, checks=checks, notes=notes, budget=budget
        )
    return replace(verdict, model_sha256=sha256_of(file))


def budget_of(job: Job) -> DecisionBudget:
    """The limits of a job."""
    return DecisionBudget(**job.precision.budget.model_dump())


def plan_budget(job: Job, model: WrappedModel, manifest: Manifest | None) -> tuple[Question, ...]:
    """The pictures of a job, of which none calibrated the file.

    ``manifest`` is that of the file's bundle, which has the sums of its calibration's pictures. Raises as
    ``questions_of`` does.
    """
    pictures = pictures_of(job)
    labels = plan_labels(job.validation.annotations, job.folder, pictures, model.contract)
    calibrated: dict[str, str] = {}
    if manifest is not None and manifest.precision is not None:
        calibrated |= dict.fromkeys(manifest.precision.calibration_sha256, "a picture")
    if not calibrated:
        calibrated |= contents_of(calibrating_of(job))
    return questions_of(model.contract, pictures, labels, calibrated)


def exam_of(model: WrappedModel, judged: Sequence[Question], reference: Leg, progress: Progress) -> Exam:
    """What a reference decides on the job's pictures."""
    classes = tuple(one.name for one in model.contract.classes)
    return Exam(model.contract, reference, judged, classes, progress=progress)


def opened(job: Job, file: Path) -> OrtLeg:
    """A file as the job's validation runs it. Raises ModelFileError if it cannot be loaded."""
    table = job.validation
    return OrtLeg(file, table.providers, table.threads, table.optimization[0])


def judge_by_budget(
    job: Job,
    model: WrappedModel,
    file: Path,
    judged: Sequence[Question],
    progress: Progress,
    *,
    checks: Sequence[Check] = (),
    notes: Sequence[str] = (),
    budget: DecisionBudget,
) -> Verdict:
    """The verdict on a file by a budget, with PyTorch in float32 as the reference.

    Raises ModelFileError if the file cannot be loaded, CheckError if PyTorch cannot run a picture.
    """
    leg, reference = opened(job, file), TorchLeg(model, job.validation.threads)
    exam = exam_of(model, judged, reference, progress)
    found = exam.take(leg, progress=progress)
    more = asked_elsewhere(job, model, reference, leg, judged, budget, progress)
    return verdict_of(job, model, file, leg, found, checks=checks, more=more, notes=notes, budget=budget)


def asked_elsewhere(
    job: Job,
    model: WrappedModel,
    reference: Leg,
    leg: Leg,
    judged: Sequence[Question],
    budget: DecisionBudget,
    progress: Progress,
) -> tuple[Check, ...]:
    """The checks on what a file answers in batches and at the other declared sizes."""
    seed = job.validation.seed
    return elsewhere_checks(model.contract, reference, leg, judged, budget, seed, progress=progress)


def verdict_of(
    job: Job,
    model: WrappedModel,
    file: Path,
    leg: Leg,
    found: BudgetFigures,
    *,
    checks: Sequence[Check] = (),
    more: Sequence[Check] = (),
    notes: Sequence[str] = (),
    budget: DecisionBudget,
) -> Verdict:
    """The verdict on what a file did beside the reference. ``more`` are checks that follow the budget's."""
    differences = interface_differences(model.contract, leg)
    interface = Check(
        "interface",
        "fail" if differences else "pass",
        "; ".join(differences),
        float(len(differences)),
        0.0,
        leg.name,
    )
    unasked = Check("function", "skipped", ROUNDED, leg=GRAPH)
    subject = Subject(OnnxGraph.read(file), file, contract=model.contract, chosen=job.chosen)
    metadata = METADATA.look(subject)
    made = (*checks, unasked, interface, metadata, *judge_budget(found, budget), *more)
    return Verdict(
        status=conclude(made),
        checks=made,
        facts=(),
        cases=(),
        notes=(*model.notes, *notes),
        model_sha256=sha256_of(file),
        environment=environment(settings_of(job), PACKAGES),
        policy=budget.to_json(),
        budget=found,
    )
