"""The spine: job -> model -> graph -> bundle -> verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any

from onnxproof.entry import keeps_mode, takes_old_names
from onnxproof.errors import RequestError
from onnxproof.export.bundle import BUNDLE, README_FILE
from onnxproof.export.write import (
    draw_pictures,
    manifest_in,
    write_manifest,
)
from onnxproof.finding.draft import drafted
from onnxproof.job.asked import Address, Asked, JobLike, files_read, job_to_export, job_to_validate
from onnxproof.job.of_module import module_job
from onnxproof.many.workers import EVERYONE, Workers
from onnxproof.progress import Progress, silent
from onnxproof.runtime.folder import refuse_in_bundle
from onnxproof.runtime.manifest import Manifest
from onnxproof.source import CheckpointPath, sha256_of
from onnxproof.steps.budgeted import By, is_by_budget, validate_budget
from onnxproof.steps.judging import opset_note, plan_of, settings_of, validate_for
from onnxproof.steps.labelling import labelled
from onnxproof.steps.lowered import lowered, plan_lowered
from onnxproof.steps.opening import ToExport, to_export, to_validate, wrapped_for
from onnxproof.steps.prove import CAPTURED_FOLDER, prove
from onnxproof.steps.recording import write_verdict
from onnxproof.steps.surveying import plan_survey, ready, surveyed
from onnxproof.system.files import check_folder, explained, refuse_inputs, remove_own, write_json, write_text
from onnxproof.system.own_folder import signed, staged_folder
from onnxproof.validate.ahead import Ahead
from onnxproof.validate.baseline import BaselineLike, files_of, held_to, read_baseline
from onnxproof.validate.bisect.locate import bisect_file
from onnxproof.validate.bisect.repro import REPRO_FILES
from onnxproof.validate.bisect.result import Bisection
from onnxproof.validate.cases import Effort
from onnxproof.validate.pair.linked import compare_by_oracle
from onnxproof.validate.renamed import named_alike
from onnxproof.validate.report.card import card
from onnxproof.validate.runtimes.asked import plan_runtimes
from onnxproof.validate.runtimes.known import Candidate
from onnxproof.validate.sizes import with_sizes
from onnxproof.validate.trial import Plan
from onnxproof.validate.verdict import Check, Verdict
from onnxproof.wrappers.family import Module, WrappedModel
from onnxproof.wrappers.weights import runs_here

BISECTION_FILE = "bisect.json"


@dataclass(frozen=True, slots=True)
class Bundle:
    """What an export wrote. ``verdict`` is None if it did not validate. ``notes`` say what was done otherwise
    than the job asked. ``lowered`` is the bundle of lower precision beside it; None if the job asks for none,
    or if the file in float32 did not pass."""

    path: Path
    manifest: Manifest
    verdict: Verdict | None
    notes: tuple[str, ...]
    lowered: "Bundle | None" = None

    @property
    def decisive(self) -> Verdict | None:
        """The verdict that says whether all that the job asks for may be shipped."""
        return self.verdict if self.lowered is None else self.lowered.verdict

    def __str__(self) -> str:
        """What ``onnxproof export`` prints last: where the bundle is, and how it was made."""
        made = self.manifest
        return (
            f"{self.path}: {made.exporter}, opset {made.opset}, simplify {made.simplify}, "
            f"SHA-256 {str(made.model_sha256)[:12]}"
        )


@takes_old_names
def export(
    job: JobLike,
    *,
    out: str | PathLike[str] = "dist",
    set: Sequence[str] = (),
    validate: bool = True,
    baseline: BaselineLike | None = None,
    progress: Progress = silent,
) -> Bundle:
    """Export the job's checkpoint, prove the file, and write the bundle ``out/<job name>``.

    ``job`` may also be a checkpoint. Then the job is the one that ``init`` would write for it, and the
    verdict's notes say what it was recognised as.

    ``baseline`` is an older verdict, its parity.json or its bundle: a check that got worse beyond its noise
    fails (docs/baseline.md).

    A bundle is written whatever the verdict is: look at ``bundle.verdict.passed``. It replaces an older
    bundle or an empty folder, nothing else.

    Raises RequestError if the request cannot be met, ExportError if capture fails, CheckError if PyTorch
    cannot run a declared case. The previous bundle then stays as it was.
    """
    older = None if baseline is None else read_baseline(baseline)
    opened = _opened(job, set)
    inputs = [*files_read(job, opened.job), *files_of(baseline)]
    return _export(opened, Path(out) / opened.job.name, validate, progress, inputs, older)


def _opened(source: JobLike, set: Sequence[str]) -> ToExport:
    """The job that ``source`` names, or that is drafted for the checkpoint there, and its model."""
    asked = job_to_export(source, set)
    if not isinstance(asked, CheckpointPath):
        return to_export(asked)
    made, note = drafted(asked.path, set)
    return to_export(made.job, made.checkpoint, (note,))


@takes_old_names
@keeps_mode
def export_module(
    module: Module,
    *,
    inputs: Mapping[str, Any],
    dims: Mapping[str, str | int],
    out: str | PathLike[str],
    arguments: Mapping[str, Any] = MappingProxyType({}),
    task: str = "raw",
    picture: str | None = None,
    classes: Sequence[str] = (),
    set: Sequence[str] = (),
    validate: bool = True,
    progress: Progress = silent,
) -> Bundle:
    """Export any module, prove the file, and write the bundle ``out``.

    ``inputs`` maps the names of the inputs, in the order of the module's ``forward``, to texts such as
    "int64[batch, time] in 0..999", or to lists and dicts of such texts for a list, tuple or dict of tensors.
    ``arguments`` are plain values that ``forward`` gets besides, by its parameters' names.
    ``dims`` maps the named axes to sizes, such as "1..8". Outputs in tuples, dicts and other objects get
    stable names. ``picture`` names the input that takes pictures, so that
    ``predict`` takes them too. ``classes`` are the classes' names, if the task has any. ``set`` has values
    of a job, such as "export.opset=18". Raises as ``export`` does, and JobError if the inputs do not
    fit the module.
    """
    target = Path(out)
    job = module_job(
        target.name,
        inputs=inputs,
        dims=dims,
        arguments=arguments,
        task=task,
        picture=picture,
        classes=classes,
        set=set,
        source="the arguments of export_module",
    )
    opened = ToExport(job, wrapped_for(job, module), None)
    return _export(opened, target, validate, progress, files_read(None, job))


def _export(
    opened: ToExport,
    target: Path,
    validate: bool,
    progress: Progress,
    inputs: Sequence[Path],
    baseline: Verdict | None = None,
) -> Bundle:
    job = opened.job
    model = opened.model
    checkpoint = opened.checkpoint
    plan = plan_of(job, model)  # raises now, before the slow capture, what is wrong with the cases
    lowering = plan_lowered(job, plan, target, validate, inputs)
    with staged_folder(target, BUNDLE, inputs) as folder:
        ahead = Ahead(model, plan) if validate else None
        graph, verdict = prove(job, model, checkpoint, folder, ahead, progress)
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
        remove_own(folder / CAPTURED_FOLDER)
    bundle = Bundle(target, manifest, verdict, notes)
    if lowering is None:
        return bundle
    if verdict is not None and not verdict.passed:
        note = f"no file in {job.precision.mode} is made: the one in float32 is not proven"
        return replace(bundle, notes=(*notes, note))
    made, said = lowered(job, model, manifest, target, lowering, progress, inputs=inputs)
    return replace(bundle, lowered=Bundle(lowering.place, made, said, notes))


@takes_old_names
@keeps_mode
def validate(
    source: JobLike,
    *,
    model: Module | None = None,
    onnx: Address | None = None,
    map: Mapping[str, str] = MappingProxyType({}),
    checkpoint: Address | None = None,
    set: Sequence[str] = (),
    trust: bool = False,
    baseline: BaselineLike | None = None,
    images: Sequence[str] = (),
    workers: Workers = EVERYONE,
    policy: By = "auto",
    runtimes: Sequence[str] = (),
    providers: str | Sequence[str] = (),
    progress: Progress = silent,
) -> Verdict:
    """Compare an ONNX file with the checkpoint that a job or a bundle names.

    ``source`` is a job or a bundle's folder. The file is ``onnx`` if that is given. Otherwise it is the
    one in the job's bundle in ``dist``, or the bundle's own, whose checksum is checked too. ``map`` says
    which input or output of ``onnx`` is which of the model, as in {"images": "input"}. ``model`` is the
    module itself, for a bundle of ``export_module``, which names no checkpoint. ``checkpoint`` is the
    checkpoint's present path, if the bundle moved. ``set`` changes the job, also a bundle's. ``trust``
    allows to run the code that a bundle names, and to use a checkpoint that is not the one it was made from.
    ``baseline`` is an older verdict, its parity.json or its bundle: a check that got worse beyond its noise
    fails (docs/baseline.md). ``images`` names very many pictures: files, folders, patterns or URLs. The file
    is compared on all of them, too, by ``workers``, who also share out labelled pictures if they are asked
    for (docs/many-pictures.md); ``source`` and the model must
    then be files that workers can open, and a script needs ``if __name__ == "__main__":``. ``policy``
    "budget" judges the file by the decisions that it changes on the job's pictures (docs/precision.md).
    ``runtimes`` names runtimes that the file is also tried in, such as "ort" and "openvino", and
    ``providers`` ONNX Runtime's execution providers and OpenVINO's devices for them (docs/runtimes.md).

    Raises as ``export`` does, and TrustError if a bundle names code and ``trust`` is False.
    """
    older = None if baseline is None else read_baseline(baseline)
    plan_runtimes(runtimes, providers)  # says what is wrong before the model is built
    if is_by_budget(source, onnx, policy):
        if images or workers.asked or runtimes or providers:
            raise RequestError(
                "a decision budget is judged on validate.images, in ONNX Runtime: leave out images, workers, "
                "runtimes and providers"
            )
        verdict = validate_budget(source, model, onnx, map, checkpoint, set, trust, progress)
        return verdict if older is None else held_to(verdict, older)
    survey = plan_survey(source, model, onnx, map, checkpoint, set, trust, images=images, workers=workers)
    asked, wrapped, file, checks = to_validate(source, model, onnx, checkpoint, set, trust)
    plan = plan_of(asked.job, wrapped)
    labels = plan.labels if workers.asked else None
    if survey is not None:
        survey = ready(survey, labels, asked.job, wrapped, file)
        plan = replace(plan, labels=None if workers.asked else plan.labels)
    tried = plan_runtimes(runtimes, providers, asked.job.validation.providers)
    verdict = _validated(
        asked, wrapped, file, plan, checks, progress, elsewhere=onnx is not None, map=map, runtimes=tried
    )
    if survey is not None and labels is not None:
        verdict = labelled(verdict, survey, labels, asked.job, wrapped, progress)
    if survey is not None and survey.pictures:
        verdict = surveyed(verdict, survey, asked.job, wrapped, progress)
    return verdict if older is None else held_to(verdict, older)


def _validated(
    asked: Asked,
    wrapped: WrappedModel,
    file: Path,
    plan: Plan,
    checks: Sequence[Check],
    progress: Progress,
    *,
    elsewhere: bool,
    map: Mapping[str, str],
    runtimes: Sequence[Candidate],
) -> Verdict:
    """The verdict on a file, also tried in ``runtimes``.

    ``elsewhere`` is True for one that others may have made, whose names ``map`` pairs with the model's.
    """
    if not elsewhere:
        return validate_for(
            asked.job, wrapped, file, plan, progress, checks=checks, notes=asked.notes, runtimes=runtimes
        )
    with named_alike(file, wrapped.contract, map) as (named, renamed):
        notes = (*asked.notes, *renamed)
        verdict = validate_for(
            asked.job, wrapped, named, plan, progress, notes=notes, elsewhere=True, runtimes=runtimes
        )
    notes = (*verdict.notes, *opset_note(asked.job, file))
    return replace(verdict, model_sha256=sha256_of(file), notes=notes)


@keeps_mode
def compare_by_checkpoint(
    a: Path,
    b: Path,
    source: JobLike,
    *,
    model: Module | None,
    checkpoint: Address | None,
    set: Sequence[str],
    trust: bool,
    dims: Mapping[str, str],
    images: str | None,
    effort: Effort | None,
    threads: int | None,
    progress: Progress,
) -> Verdict:
    """Judge two ONNX files by the checkpoint of a job or a bundle; ``onnxproof.compare`` has the options."""
    asked = job_to_validate(source, set, checkpoint=checkpoint, trust=trust, has_model=model is not None)
    wrapped = wrapped_for(asked.job, model)
    settings = replace(settings_of(asked.job), annotations=None, optimization=("all",))
    if images is not None:
        settings = replace(settings, images=images, folder=Path())
    settings = replace(settings, effort=effort or settings.effort, threads=threads or settings.threads)
    return compare_by_oracle(
        wrapped,
        with_sizes(wrapped.contract, dims),
        a,
        b,
        settings,
        notes=(*wrapped.notes, *asked.notes),
        progress=progress,
    )


@takes_old_names
@keeps_mode
def bisect(
    source: JobLike,
    *,
    model: Module | None = None,
    onnx: Address | None = None,
    checkpoint: Address | None = None,
    set: Sequence[str] = (),
    trust: bool = False,
    case: str | int | None = None,
    out: Address | None = None,
    progress: Progress = silent,
) -> Bisection:
    """Name the node of an ONNX file that introduces error, not those that only pass it on.

    ``source``, ``model``, ``onnx``, ``checkpoint``, ``set`` and ``trust`` are as for ``validate``.
    ``case`` is a case's number in parity.json's list (from 0) or its name. Without it, cases are tried, the
    most informative first, until one names a node. That is written to the folder ``out``
    (``bisect/<job name>``) as a model of its own, with its inputs and its expected outputs, beside
    ``bisect.json``. Raises as ``validate`` does, and CheckError if the model does not run in float64, or if
    no output of the file can be evaluated in float64.
    """
    asked, wrapped, file, _ = to_validate(source, model, onnx, checkpoint, set, trust)
    job = asked.job
    target = Path("bisect") / job.name if out is None else Path(out)
    refuse_in_bundle(target)
    check_folder(target)
    written = [target / name for name in (*REPRO_FILES, BISECTION_FILE)]
    refuse_inputs(written, [file, *files_read(source, job, onnx)])
    chosen = None if case is None else str(case)
    found = bisect_file(wrapped, file, plan_of(job, wrapped), case=chosen, progress=progress)
    result = replace(found.result, notes=(*wrapped.notes, *asked.notes))
    if found.repro is not None:
        with explained(target):
            target.mkdir(parents=True, exist_ok=True)
            found.repro.write(target)
            write_json(target / BISECTION_FILE, result.to_json())
    return result
