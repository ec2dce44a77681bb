"""The spine: job -> model -> graph -> bundle -> verdict."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import onnx

from onnxproof.errors import CheckpointError, ExportError, JobError, ModelFileError, RequestError
from onnxproof.export.bundle import staged_folder
from onnxproof.export.capture import Captured, capture, capture_sizes, example_inputs
from onnxproof.export.checkpoint import load_checkpoint, sha256_of
from onnxproof.export.fold import fold_batch_norms
from onnxproof.export.graph import finish, stamp
from onnxproof.export.simplify import simplify
from onnxproof.job import Job, load_job, override
from onnxproof.progress import Progress, silent
from onnxproof.runtime.manifest import Manifest
from onnxproof.runtime.predictor import (
    MANIFEST_FILE,
    MODEL_FILE,
    RAW_TASK,
    Predictor,
    load,
    read_manifest,
    require_providers,
)
from onnxproof.runtime.preprocess import prepare
from onnxproof.validate.bisect.locate import bisect_file
from onnxproof.validate.bisect.result import Bisection
from onnxproof.validate.cases import find_pictures, plan
from onnxproof.validate.dataset.run import plan_labels
from onnxproof.validate.environment import PACKAGES, versions
from onnxproof.validate.judge import Check, Verdict
from onnxproof.validate.verify import validate_file
from onnxproof.wrappers import get_family
from onnxproof.wrappers.families.module import wrap_for_job
from onnxproof.wrappers.family import Checkpoint, Module, WrappedModel
from onnxproof.wrappers.weights import notes_on

PARITY_FILE = "parity.json"
BISECTION_FILE = "bisect.json"
PICTURES_FOLDER = "pictures"
SHOWN_PICTURES = 4
"""How many of the job's pictures a bundle shows with the file's decisions drawn on them."""

MODULE_FAMILY = "module"

JobLike = Job | str | PathLike[str]


@dataclass(frozen=True, slots=True)
class Bundle:
    """What an export wrote. ``verdict`` is None where it was told not to validate; ``notes`` say what
    went another way than the job asked first."""

    path: Path
    manifest: Manifest
    verdict: Verdict | None
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Graph:
    """A finished graph and how it came about."""

    proto: onnx.ModelProto
    captured: Captured
    simplifier: str
    notes: tuple[str, ...]


def export(
    job: JobLike,
    *,
    out: str | PathLike[str] = "dist",
    overrides: Sequence[str] = (),
    validate: bool = True,
    progress: Progress = silent,
) -> Bundle:
    """Export the job's checkpoint, prove the file, and write the bundle ``out/<job name>``.

    A bundle is written whatever the verdict; look at ``bundle.verdict.passed``. The previous bundle
    stays as it was where this raises: RequestError for a request that cannot be met, ExportError
    where capture fails, CheckError where PyTorch cannot run what is declared.
    """
    job = _as_job(job, overrides)
    model, checkpoint = build_model(job)
    return _export(job, model, checkpoint, Path(out) / job.name, validate, progress)


def export_module(
    module: Module,
    *,
    inputs: Mapping[str, str],
    dims: Mapping[str, str | int],
    out: str | PathLike[str],
    task: str = "raw",
    picture: str | None = None,
    classes: Sequence[str] = (),
    overrides: Sequence[str] = (),
    validate: bool = True,
    progress: Progress = silent,
) -> Bundle:
    """Export any module, prove the file, and write the bundle ``out``.

    ``inputs`` maps the names of the inputs, in the order of the module's ``forward``, to texts such as
    "int64[batch, time] in 0..999"; ``dims`` maps the named axes to sizes, such as "1..8". Outputs in
    tuples, dicts and dataclasses get stable names. ``picture`` names the input that takes pictures, so
    that ``predict`` does; ``classes`` are the classes' names, for a task that has them. ``overrides`` are
    those of a job, such as "export.opset=18". Raises as ``export`` does; JobError where the inputs do not
    fit the module.
    """
    target = Path(out)
    document: dict[str, Any] = {
        "name": target.name,
        "model": {"family": MODULE_FAMILY, "task": task},
        "inputs": dict(inputs),
        "dims": dict(dims),
        "predict": {},
    }
    if picture is not None:
        document["predict"]["input"] = picture
    if classes:
        document["model"]["classes"] = list(classes)
    job = Job.from_document(
        override(document, overrides), folder=Path(), source="the arguments of export_module"
    )
    model = wrap_for_job(job, module)
    return _export(job, model, None, target, validate, progress)


def _export(
    job: Job,
    model: WrappedModel,
    checkpoint: Checkpoint | None,
    target: Path,
    validate: bool,
    progress: Progress,
) -> Bundle:
    _check_ahead(job, model, validate)
    with staged_folder(target) as folder:
        graph = make_graph(job, model, progress)
        graph, verdict = _prove(job, model, checkpoint, graph, folder, validate, progress)
        manifest = _write(job, model, checkpoint, graph, folder, target)
        if verdict is not None:
            _write_json(folder / PARITY_FILE, verdict.to_json())
        _draw_pictures(job, _loaded(job, folder), folder, progress)
    return Bundle(target, manifest, verdict, (*model.notes, *graph.notes))


def build_model(job: Job) -> tuple[WrappedModel, Checkpoint | None]:
    """The wrapped model that a job asks for, and the checkpoint that it was loaded from."""
    family = get_family(job.model.family)
    checkpoint = None
    if job.model.checkpoint is not None:
        path = job.resolve(job.model.checkpoint)
        variant = job.model.variant
        checkpoint = load_checkpoint(path, () if variant is None else (variant, f"{family.name}_{variant}"))
    model = family.build(job, checkpoint)
    if checkpoint is not None:
        # As the checkpoint holds them: in the model they are float32 already.
        model = replace(model, notes=notes_on(checkpoint.state_dict))
    return model, checkpoint


def model_of(
    source: JobLike, *, model: Module | None = None, overrides: Sequence[str] = ()
) -> tuple[Job, WrappedModel]:
    """The job that ``source`` is, or that the bundle there was made by, and its wrapped model.

    ``model`` is the module itself, where the job names no checkpoint. Raises RequestError where there is no
    such job, or its checkpoint is not at hand.
    """
    if isinstance(source, str | PathLike) and Path(source).is_dir():
        job, _ = _job_of(Path(source), overrides)
    else:
        job = _as_job(source, overrides)
    return job, build_model(job)[0] if model is None else wrap_for_job(job, model)


def _check_ahead(job: Job, model: WrappedModel, validate: bool) -> None:
    """Raise before the slow capture what the steps after it would raise: providers, pictures."""
    settings = job.validation
    require_providers(settings.providers)
    pictures = find_pictures(settings.images, job.folder)
    if pictures and model.preprocess is None:
        raise JobError(
            f'validate.images = "{settings.images}": the model has no picture among its inputs '
            f"({', '.join(spec.name for spec in model.inputs)}); leave the key out"
        )
    if validate:
        plan_labels(settings.annotations, job.folder, pictures, model, model.classes)
        plan(model.dims, model.preprocess, pictures, settings.effort, settings.seed)
    if model.preprocess is not None:
        for picture in pictures[:SHOWN_PICTURES]:
            prepare(picture, model.preprocess)


def make_graph(job: Job, model: WrappedModel, progress: Progress = silent) -> "_Graph":
    """Capture and simplify the model, as the job's ``[export]`` says."""
    notes: list[str] = []
    module = model.module
    if job.export.fold_batch_norms:
        progress("fold batch norms", 0, 0)
        module, _ = fold_batch_norms(module, example_inputs(model.inputs, capture_sizes(model.dims)))
    progress("capture", 0, 0)
    simplifying = job.export.simplify != "none"
    captured = capture(model, module, job.export.exporter, job.export.opset, optimize=not simplifying)
    if captured.fallback_reason is not None:
        notes.append(f"captured with TorchScript: {captured.fallback_reason}")
    # With the specs' axes: an axis that the exporter could not tell and onnxsim can is no change then.
    proto, simplifier = finish(captured.proto, model.inputs, model.outputs), "none"
    if simplifying:
        progress("simplify", 0, 0)
        simplified = simplify(proto)
        proto = simplified.proto
        simplifier = "onnxsim" if simplified.refusal is None else "none"
        if simplified.refusal is not None:
            notes.append(f"not simplified: {simplified.refusal}")
    return _Graph(finish(proto, model.inputs, model.outputs), captured, simplifier, tuple(notes))


def _prove(
    job: Job,
    model: WrappedModel,
    checkpoint: Checkpoint | None,
    graph: _Graph,
    folder: Path,
    validate: bool,
    progress: Progress,
) -> tuple[_Graph, Verdict | None]:
    """Write the model file and validate it; go back to the unsimplified graph where that does better."""
    _write_model(job, model, checkpoint, graph, folder)
    if not validate:
        return graph, None
    verdict = _validate(job, model, folder / MODEL_FILE, progress, notes=graph.notes)
    if verdict.status == "pass" or graph.simplifier == "none":
        return graph, verdict
    plain = replace(
        graph,
        proto=finish(graph.captured.proto, model.inputs, model.outputs),
        simplifier="none",
        notes=(*graph.notes, f"not simplified: the simplified graph did worse ({_first_failure(verdict)})"),
    )
    _write_model(job, model, checkpoint, plain, folder)
    plain_verdict = _validate(job, model, folder / MODEL_FILE, progress, notes=plain.notes)
    if _failures(plain_verdict) < _failures(verdict):
        return plain, plain_verdict
    _write_model(job, model, checkpoint, graph, folder)
    return graph, verdict


def _failures(verdict: Verdict) -> int:
    return sum(check.status in ("fail", "error") for check in verdict.checks)


def _first_failure(verdict: Verdict) -> str:
    check = next(check for check in verdict.checks if check.status in ("fail", "error"))
    return f"{check.name}{f' {check.field}' if check.field else ''}: {check.reason}"


def _validate(
    job: Job,
    model: WrappedModel,
    file: Path,
    progress: Progress,
    *,
    checks: Sequence[Check] = (),
    notes: Sequence[str] = (),
) -> Verdict:
    return validate_file(
        model,
        file,
        job.validation,
        folder=job.folder,
        opset=job.export.opset,
        target=job.export.target,
        extra_checks=checks,
        notes=notes,
        progress=progress,
    )


def manifest_of(
    job: Job, model: WrappedModel, checkpoint: Checkpoint | None, exporter: str, simplifier: str
) -> Manifest:
    """What the file of a model says of itself, before its own checksum is known."""
    return Manifest(
        name=job.name,
        task=model.task,
        family=model.family,
        inputs=model.inputs,
        outputs=model.outputs,
        dims=model.dims,
        preprocess=model.preprocess,
        classes=model.classes,
        postprocess=model.postprocess,
        opset=job.export.opset,
        exporter=exporter,
        simplify=simplifier,
        checkpoint_sha256=None if checkpoint is None else checkpoint.sha256,
        versions=versions(PACKAGES),
        fields=model.fields,
    )


def _write_model(
    job: Job, model: WrappedModel, checkpoint: Checkpoint | None, graph: _Graph, folder: Path
) -> Manifest:
    manifest = manifest_of(job, model, checkpoint, graph.captured.exporter, graph.simplifier)
    (folder / MODEL_FILE).write_bytes(stamp(graph.proto, manifest))
    return manifest


def _write(
    job: Job,
    model: WrappedModel,
    checkpoint: Checkpoint | None,
    graph: _Graph,
    folder: Path,
    target: Path,
) -> Manifest:
    manifest = replace(
        _write_model(job, model, checkpoint, graph, folder),
        model_sha256=sha256_of(folder / MODEL_FILE),
        job=_relocated(job, target),
    )
    _write_json(folder / MANIFEST_FILE, manifest.to_json())
    return manifest


def _relocated(job: Job, target: Path) -> Mapping[str, Any]:
    """The job as a document whose paths start at the bundle.

    ".." goes up from where a link leads, so links on the way are followed; the last name is kept,
    since files that belong to a checkpoint lie beside its link.
    """
    document = job.to_json()
    start = os.path.realpath(target)
    for table, key in (("model", "checkpoint"), ("validate", "images"), ("validate", "annotations")):
        path = document[table].get(key)
        if path is not None:
            document[table][key] = _from(start, job.resolve(path))
    file, colon, attribute = document["model"].get("builder", "").partition(":")
    if file.endswith(".py"):
        document["model"]["builder"] = f"{_from(start, job.resolve(file))}{colon}{attribute}"
    return document


def _from(start: str, path: Path) -> str:
    return os.path.relpath(Path(os.path.realpath(path.parent), path.name), start)


def _loaded(job: Job, folder: Path) -> Predictor:
    """The finished bundle as a user loads it; ExportError where that fails."""
    try:
        return load(folder, providers=job.validation.providers, threads=job.validation.threads)
    except ModelFileError as error:
        raise ExportError(f"what was exported does not load: {error}") from error


def _draw_pictures(job: Job, predictor: Predictor, folder: Path, progress: Progress) -> None:
    """Draw the file's decisions on a few of the job's pictures, where pictures alone lead to any."""
    pictures = find_pictures(job.validation.images, job.folder)[:SHOWN_PICTURES]
    manifest = predictor.manifest
    if not pictures or manifest.task == RAW_TASK or len(manifest.inputs) > 1:
        return
    (folder / PICTURES_FOLDER).mkdir()
    for done, picture in enumerate(pictures):
        progress("draw", done, len(pictures))
        drawn = predictor.predict(picture).draw(picture)
        drawn.save(folder / PICTURES_FOLDER / f"{picture.stem}.png")
    progress("draw", len(pictures), len(pictures))


def validate(
    source: JobLike,
    *,
    model: Module | None = None,
    onnx_file: str | PathLike[str] | None = None,
    overrides: Sequence[str] = (),
    progress: Progress = silent,
) -> Verdict:
    """Hold an ONNX file against the checkpoint that a job or a bundle names.

    ``source`` is a job (then the file is ``onnx_file``, or the job's bundle in ``dist``) or a bundle's
    folder (then the file is the bundle's own, whose checksum is checked too, unless ``onnx_file`` is
    given). ``model`` is the module itself, for a bundle of ``export_module``, which names no checkpoint.
    Raises as ``export`` does.
    """
    job, wrapped, file, checks = _to_hold(source, model, onnx_file, overrides)
    return _validate(job, wrapped, file, progress, checks=checks)


def bisect(
    source: JobLike,
    *,
    model: Module | None = None,
    onnx_file: str | PathLike[str] | None = None,
    overrides: Sequence[str] = (),
    case: str | int | None = None,
    out: str | PathLike[str] | None = None,
    progress: Progress = silent,
) -> Bisection:
    """Name the nodes of an ONNX file that introduce error, as against those that only pass it on.

    ``source``, ``model`` and ``onnx_file`` as for ``validate``. ``case`` is a case's number in parity.json's
    list (from 0) or its name; left out, the cases on which the file fails are tried, the most telling first.
    Where nodes are named, the folder ``out`` (``bisect/<job name>``) gets them as a model of their own with
    its inputs and what it should give, beside ``bisect.json``. Raises as ``validate`` does; CheckError where
    the model does not run in float64.
    """
    job, wrapped, file, _ = _to_hold(source, model, onnx_file, overrides)
    chosen = None if case is None else str(case)
    found = bisect_file(wrapped, file, job.validation, folder=job.folder, case=chosen, progress=progress)
    if found.repro is not None:
        with staged_folder(Path("bisect") / job.name if out is None else Path(out)) as folder:
            found.repro.write(folder)
            _write_json(folder / BISECTION_FILE, found.result.to_json())
    return found.result


def _to_hold(
    source: JobLike,
    model: Module | None,
    onnx_file: str | PathLike[str] | None,
    overrides: Sequence[str],
) -> tuple[Job, WrappedModel, Path, list[Check]]:
    """The job, its model, the file to hold against it, and the check on the file's checksum where it is a
    bundle's own."""
    checks: list[Check] = []
    if isinstance(source, str | PathLike) and Path(source).is_dir():
        bundle = Path(source)
        job, manifest = _job_of(bundle, overrides)
        file = bundle / MODEL_FILE if onnx_file is None else Path(onnx_file)
        if onnx_file is None:
            checks.append(_checksum_check(file, manifest))
    elif isinstance(source, str | PathLike) and Path(source).suffix == ".onnx":
        raise RequestError(
            f"{source} is a model; to judge it, give the job or the bundle that it was made from, "
            f"and --onnx {source}"
        )
    else:
        job = _as_job(source, overrides)
        file = Path("dist") / job.name / MODEL_FILE if onnx_file is None else Path(onnx_file)
    if not file.is_file():
        raise ModelFileError(f"{file} does not exist: export the job first, or name a file with --onnx")
    if model is None:
        wrapped, _ = build_model(job)
    else:
        wrapped = wrap_for_job(job, model)
    return job, wrapped, file, checks


def _job_of(bundle: Path, overrides: Sequence[str]) -> tuple[Job, Manifest]:
    if overrides:
        raise RequestError("--set changes a job, and this is a bundle: give the job file")
    manifest = read_manifest(bundle)
    if manifest.job is None:
        raise ModelFileError(f"{bundle} names no checkpoint: give the job file, or the model")
    job = Job.from_document(manifest.job, folder=bundle, source=str(bundle / MANIFEST_FILE))
    if job.model.checkpoint is not None:
        checkpoint = load_checkpoint(job.resolve(job.model.checkpoint))
        if checkpoint.sha256 != manifest.checkpoint_sha256:
            raise CheckpointError(
                f"{checkpoint.file} is not the checkpoint that {bundle} was made from (its SHA-256 is "
                f"{checkpoint.sha256[:12]}…, the manifest says {str(manifest.checkpoint_sha256)[:12]}…): "
                "export the job again"
            )
    return job, manifest


def _checksum_check(file: Path, manifest: Manifest) -> Check:
    if not file.is_file():
        raise ModelFileError(f"{file} does not exist: export the job again")
    same = sha256_of(file) == manifest.model_sha256
    reason = "" if same else f"{file} is not the file that {MANIFEST_FILE} describes"
    return Check("checksum", "pass" if same else "fail", reason, float(not same), 0.0)


def _as_job(job: JobLike, overrides: Sequence[str]) -> Job:
    if not isinstance(job, Job):
        return load_job(job, overrides)
    if overrides:
        raise RequestError("overrides go with a job file, not with a Job")
    return job


def _write_json(file: Path, document: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
