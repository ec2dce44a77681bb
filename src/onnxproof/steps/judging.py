"""Open and judge a file by a job: what the job expects of it.

Nothing here captures a model, so ``check`` and ``validate`` start without PyTorch's exporters.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from onnxproof.errors import ModelFileError
from onnxproof.graph import OnnxGraph
from onnxproof.job import Job
from onnxproof.job.asked import Address, Asked, JobLike, file_to_validate, job_to_validate
from onnxproof.progress import Progress
from onnxproof.runtime.manifest import METADATA_KEY
from onnxproof.source import BundleFolder, look_at, sha256_of
from onnxproof.steps.drawn import draw_decisions, has_form, require_drawable
from onnxproof.steps.opening import wrapped_for
from onnxproof.steps.planning import settings_of
from onnxproof.system.memory import require_memory
from onnxproof.validate.agreement import manifest_check
from onnxproof.validate.ahead import Prepared
from onnxproof.validate.arranged import Arrangement, arranged
from onnxproof.validate.bundled import checksum_check
from onnxproof.validate.runtimes.known import Candidate
from onnxproof.validate.survey.check import unread_check
from onnxproof.validate.trial import Plan, plan_trial
from onnxproof.validate.verdict import Check, Verdict, conclude
from onnxproof.validate.verify import validate_files
from onnxproof.wrappers.family import Module, WrappedModel
from onnxproof.wrappers.weights import bytes_of

ORDER = "order"
"""The check on the order of rows."""


def to_validate(
    source: JobLike,
    model: Module | None,
    onnx: Address | None,
    checkpoint: Address | None,
    set: Sequence[str],
    trust: bool,
) -> tuple[Asked, WrappedModel, Path, list[Check]]:
    """The job, its model, the file to compare with it, and the checks on the file's manifest.

    Looks for the file before it builds the model.
    """
    if onnx is None and not isinstance(source, Job):
        match look_at(source):
            case BundleFolder() as bundle if not bundle.model.is_file():
                raise ModelFileError(f"{bundle.model} does not exist: export the job again")
    asked = job_to_validate(source, set, checkpoint=checkpoint, trust=trust, has_model=model is not None)
    file = file_to_validate(asked, onnx)
    checks: list[Check] = []
    if onnx is None and asked.manifest is not None:
        checks += (checksum_check(asked.manifest, file), manifest_check(asked.manifest, file))
    return asked, wrapped_for(asked.job, model), file, checks


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
    elsewhere: bool = False,
    runtimes: Sequence[Candidate] = (),
) -> Verdict:
    """The verdict on a file of the job's model, with the job's opset and target.

    The file is also tried in ``runtimes``.
    ``elsewhere`` is True for a file that others may have made: only what the job itself says of it counts.
    """
    named = not elsewhere or "opset" in job.export.model_fields_set
    (verdict,) = validate_files(
        model,
        (file,),
        plan,
        opset=job.export.opset if named else None,
        target=job.export.target,
        extra_checks=checks,
        notes=notes,
        prepared=prepared,
        runtimes=runtimes,
        progress=progress,
    )
    return verdict


def judge_elsewhere(
    job: Job,
    model: WrappedModel,
    file: Path,
    how: Arrangement,
    *,
    notes: Sequence[str],
    draw: Path | None = None,
    guessed: frozenset[str] = frozenset(),
    progress: Progress,
) -> Verdict:
    """The verdict on a file from elsewhere, in the arrangement in which it has the model's interface.

    No job says by which settings the file decides, so it may state any. A picture that cannot be used makes
    the check ``pictures`` an error, and the others are judged. ``draw`` is a folder for the pictures with the
    file's decisions on them. ``guessed`` are the inputs whose ranges nobody declared.
    """
    if draw is not None:
        require_drawable(model.contract)
    require_memory(bytes_of(model.module))
    chosen = frozenset(model.contract.reading.settings())
    settings = replace(settings_of(job), leaves_out=True, chosen=chosen, guessed=guessed)
    plan = plan_trial(model.contract, settings)
    checks = (unread_check(len(plan.unread), len(plan.pictures), plan.unread),) if plan.unread else ()
    with arranged(file, how) as copy:
        verdict = validate_for(job, model, copy, plan, progress, checks=checks, notes=notes, elsewhere=True)
        if draw is not None and has_form(verdict):
            draw_decisions(job, model, copy, plan.pictures, draw, progress)
    noted = (*verdict.notes, *opset_note(job, file))
    if OnnxGraph.read(file).metadata(METADATA_KEY) is None:
        verdict, noted = _without_order(verdict), (*noted, *order_notes(verdict))
    return replace(verdict, model_sha256=sha256_of(file), notes=noted)


def _without_order(verdict: Verdict) -> Verdict:
    """The verdict without the check ``order``: no contract of ours states the order of the file's rows."""
    checks = tuple(check for check in verdict.checks if check.name != ORDER)
    return replace(verdict, checks=checks, status=conclude(checks))


def order_notes(verdict: Verdict) -> tuple[str, ...]:
    """A note for each check ``order`` that fails."""
    failed = (check for check in verdict.checks if check.name == ORDER and check.status == "fail")
    return tuple(
        f"the file's rows are not in the order of their scores ({check.reason}); nothing states that they are"
        for check in failed
    )


def opset_note(job: Job, file: Path) -> tuple[str, ...]:
    """What opset a file from elsewhere has, if the job does not say which it should have."""
    if "opset" in job.export.model_fields_set:
        return ()
    written = OnnxGraph.read(file).opset
    if written == job.export.opset:
        return ()
    return (f"the file has opset {written}; the job names none, so none is expected",)
