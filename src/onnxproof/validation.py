"""Judge a file that is there: validate, compare and bisect it by the checkpoint."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from onnxproof.entry import keeps_mode, takes_old_names
from onnxproof.errors import RequestError
from onnxproof.job.asked import Address, Asked, JobLike, files_read, job_to_validate, refuse_own_names
from onnxproof.many.workers import EVERYONE, Workers
from onnxproof.progress import Progress, silent
from onnxproof.runtime.folder import refuse_in_bundle
from onnxproof.source import sha256_of
from onnxproof.steps.budgeted import By, is_by_budget, validate_budget
from onnxproof.steps.judging import opset_note, to_validate, validate_for
from onnxproof.steps.labelling import labelled
from onnxproof.steps.opening import wrapped_for
from onnxproof.steps.planning import plan_of, settings_of
from onnxproof.steps.surveying import plan_survey, ready, surveyed
from onnxproof.system.files import check_file, check_folder, explained, refuse_inputs, write_json
from onnxproof.system.folders import made_folder
from onnxproof.system.own_file import refuse_foreign
from onnxproof.system.signatures import checks_arguments
from onnxproof.validate.baseline import BaselineLike, held_to, read_baseline
from onnxproof.validate.bisect.locate import bisect_file
from onnxproof.validate.bisect.repro import BISECTION_FILE, RESULT_FILES, is_own
from onnxproof.validate.bisect.result import Bisection
from onnxproof.validate.cases import Effort
from onnxproof.validate.pair.linked import compare_by_oracle
from onnxproof.validate.renamed import named_alike
from onnxproof.validate.runtimes.asked import plan_runtimes
from onnxproof.validate.runtimes.known import Candidate
from onnxproof.validate.sizes import with_sizes
from onnxproof.validate.trial import Plan
from onnxproof.validate.verdict import Check, Verdict
from onnxproof.wrappers.family import Module, WrappedModel


@takes_old_names
@keeps_mode
@checks_arguments
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
    refuse_own_names(map, onnx)
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
@checks_arguments
def bisect(
    source: JobLike,
    *,
    model: Module | None = None,
    onnx: Address | None = None,
    map: Mapping[str, str] = MappingProxyType({}),
    checkpoint: Address | None = None,
    set: Sequence[str] = (),
    trust: bool = False,
    case: str | int | None = None,
    out: Address | None = None,
    progress: Progress = silent,
) -> Bisection:
    """Name the node of an ONNX file that introduces error, not those that only pass it on.

    ``source``, ``model``, ``onnx``, ``map``, ``checkpoint``, ``set`` and ``trust`` are as for ``validate``.
    ``case`` is a case's number in parity.json's list (from 0) or its name. Without it, cases are tried, the
    most informative first, until one names a node. That is written to the folder ``out``
    (``bisect/<job name>``) as a model of its own, with its inputs and its expected outputs, beside
    ``bisect.json``. Raises as ``validate`` does, and CheckError if the model does not run in float64, or if
    no output of the file can be evaluated in float64.
    """
    refuse_own_names(map, onnx)
    asked, wrapped, file, _ = to_validate(source, model, onnx, checkpoint, set, trust)
    job = asked.job
    target = Path("bisect") / job.name if out is None else Path(out)
    refuse_in_bundle(target)
    check_folder(target)
    written = [target / name for name in RESULT_FILES]
    refuse_inputs(written, [file, *files_read(source, job, onnx)])
    for one in written:
        check_file(one, "--out", "folder")
        refuse_foreign(one, is_own, "result of bisect")
    chosen = None if case is None else str(case)
    with named_alike(file, wrapped.contract, map) as (named, renamed):
        found = bisect_file(wrapped, named, plan_of(job, wrapped), case=chosen, progress=progress)
    notes = (*wrapped.notes, *asked.notes, *renamed, *found.result.notes)
    result = replace(found.result, model_sha256=sha256_of(file), notes=notes)
    if found.repro is not None:
        with explained(target), made_folder(target):
            found.repro.write(target)
            write_json(target / BISECTION_FILE, result.to_json())
    return result
