"""Find the job that a source names: a job file's own, or the one that made a bundle.

A job file is the user's own, so what it names may run. A bundle may come from anyone. The code that its
manifest names is refused here, before any of it is imported, unless the user trusts it. Its checkpoint is
recognised by its SHA-256, at any path.
"""

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from onnxproof.errors import CheckpointError, JobError, ModelFileError, PictureError, RequestError, TrustError
from onnxproof.job.document import chain_of, override
from onnxproof.job.tables import Job, load_job
from onnxproof.runtime.archive import is_archive
from onnxproof.runtime.folder import MANIFEST_FILE, MODEL_FILE, model_files
from onnxproof.runtime.manifest import Manifest
from onnxproof.source import (
    JOB_SUFFIX,
    BundleFolder,
    CheckpointPath,
    JobFile,
    ModelFile,
    Nothing,
    OtherFile,
    OtherFolder,
    checkpoints_at,
    find_pictures,
    look_at,
    sha256_of_checkpoint,
)
from onnxproof.system.disk import not_there

JobLike = Job | str | PathLike[str]
Address = str | PathLike[str]

SHOWN_HASH = 12
"""Digits of a SHA-256 that a message shows."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A job, and the bundle and manifest that it came from (None for a job of the user's own).

    ``notes`` go into the verdict: they say how the job or its checkpoint was found.
    """

    job: Job
    bundle: BundleFolder | None = None
    manifest: Manifest | None = None
    notes: tuple[str, ...] = ()


def job_to_export(source: JobLike, set: Sequence[str] = ()) -> Job | CheckpointPath:
    """The job of a job file, or a Job; or the checkpoint that is exported without a job.

    Raises JobError if ``source`` is none of these.
    """
    if isinstance(source, Job):
        return _own_job(source, set)
    match look_at(source):
        case BundleFolder(path):
            raise JobError(
                f"job file {path} is a folder, a bundle that export wrote: give the .toml file of its job"
            )
        case ModelFile(path):
            raise JobError(f"{path} is a model, not a job: give the path of a .toml file, or a checkpoint")
        case CheckpointPath() as checkpoint:
            return checkpoint
    path = Path(source)
    if path.suffix != JOB_SUFFIX and not path.is_file():
        found = "is a folder that holds no checkpoint" if path.is_dir() else not_there(path)
        raise JobError(f"{path} {found}: give the path of a .toml file, or of a checkpoint")
    return load_job(source, set)


def job_to_validate(
    source: JobLike,
    set: Sequence[str] = (),
    *,
    checkpoint: Address | None = None,
    trust: bool = False,
    has_model: bool = False,
) -> Asked:
    """The job that a file is compared with: a job file's, a Job, or the one in a bundle's manifest.

    ``set`` replaces values of the job; if it is a bundle's, paths in them are relative to the bundle.
    ``checkpoint`` is the checkpoint's present path. For a bundle, its SHA-256 must be the manifest's; with
    ``trust``, a difference is only a note. ``has_model`` says that the module itself is given, so nothing is
    built.

    Raises TrustError if a bundle names code and ``trust`` is False, CheckpointError if the bundle's
    checkpoint is not at hand, another RequestError if the source is no job.
    """
    if checkpoint is not None and has_model:
        raise RequestError("both a model and a checkpoint are given, and the model has its weights: give one")
    if isinstance(source, Job):
        return Asked(_with_checkpoint(_own_job(source, set), checkpoint))
    match look_at(source):
        case BundleFolder() as bundle:
            return _of_bundle(bundle, set, checkpoint, trust=trust, has_model=has_model)
        case ModelFile(path):
            raise RequestError(
                f"{path} is a model; to judge it, give the job or the bundle that it was made from, "
                f"and --onnx {path}"
            )
        case Nothing(path) if path.suffix == ".onnx":
            raise RequestError(f"{path} does not exist: give a job file or a bundle")
        case CheckpointPath(path):
            raise RequestError(
                f"{path} is a checkpoint; give the job or the bundle that was made from it, and "
                f"--checkpoint {path}; or, without a job, onnxproof check MODEL.onnx --against {path}"
            )
        case OtherFolder(path):
            raise ModelFileError(
                f"{path} is no bundle: it holds no {MANIFEST_FILE}; give a folder that export wrote"
            )
    return Asked(_with_checkpoint(load_job(source, set).choosing(set), checkpoint))


def refuse_own_names(mapping: Mapping[str, str], onnx: Address | None) -> None:
    """Raise RequestError for a ``mapping`` of names if no file from elsewhere is named: ours need none."""
    if mapping and onnx is None:
        raise RequestError("--map is for a file from elsewhere: name it with --onnx FILE")


def file_to_validate(asked: Asked, onnx: Address | None) -> Path:
    """The file to compare with the job's model: ``onnx``, the bundle's own, or the one in the job's bundle in
    ``dist``. Raises ModelFileError if it is not there."""
    file = Path("dist") / asked.job.name / MODEL_FILE if asked.bundle is None else asked.bundle.model
    file = file if onnx is None else Path(onnx)
    if is_archive(file):
        raise ModelFileError(
            f"{file} is a bundle in one file: unpack it (python -m zipfile -e {file} {file.with_suffix('')}) "
            f"and give {file.with_suffix('') / MODEL_FILE}, or let onnxproof check take it as it is"
        )
    if not file.is_file():
        raise ModelFileError(f"{file} {not_there(file)}: export the job first, or name a file with --onnx")
    return file


def _own_job(job: Job, set: Sequence[str]) -> Job:
    if set:
        raise RequestError("set= goes with a job file, not with a Job")
    return job


def _of_bundle(
    bundle: BundleFolder,
    set: Sequence[str],
    checkpoint: Address | None,
    *,
    trust: bool,
    has_model: bool,
) -> Asked:
    manifest = bundle.manifest()
    job = job_in(bundle.path, manifest, set)
    if job is None:
        raise ModelFileError(f"{bundle.path} names no checkpoint: give the job file, or the model")
    job = job.choosing(set)
    if has_model:
        if not trust:
            _refuse_texts(job, bundle.path)
        return Asked(job, bundle, manifest)
    job, notes = _with_bundles_checkpoint(job, bundle.path, manifest, checkpoint, trust=trust)
    if not trust:
        _refuse_code(job, bundle.path, set)
    return Asked(job, bundle, manifest, notes)


def job_in(bundle: Path, manifest: Manifest, set: Sequence[str]) -> Job | None:
    """The job in the manifest of a bundle; None if it has none."""
    if manifest.job is None:
        return None
    source = str(bundle / MANIFEST_FILE)
    return Job.from_document(override(dict(manifest.job), set), folder=bundle, source=source)


def _with_bundles_checkpoint(
    job: Job, bundle: Path, manifest: Manifest, given: Address | None, *, trust: bool
) -> tuple[Job, tuple[str, ...]]:
    """The job with the path of the checkpoint that has the manifest's SHA-256.

    If the user trusts another checkpoint, the job has its path, and there is a note.
    """
    named = job.model.checkpoint
    if given is None and named is None:
        return job, ()
    path = Path(given).expanduser() if given is not None else job.resolve(str(named))
    try:
        files = checkpoints_at(path)
    except CheckpointError as error:
        raise CheckpointError(
            f"{error}. {bundle} was made from it: give its present path with --checkpoint PATH, seen from "
            "here, or --set model.checkpoint=PATH, seen from the bundle"
        ) from error
    wanted = manifest.checkpoint_sha256
    sums = {file: sha256_of_checkpoint(file) for file in files}
    for file, found in sums.items():
        if found == wanted:
            return _with_checkpoint(job, file), ()
    said = ", ".join(f"{file.name} {found[:SHOWN_HASH]}…" for file, found in sums.items())
    place = files[0] if len(files) == 1 else path
    differs = (
        f"{place} is not the checkpoint that {bundle} was made from (its SHA-256: {said}; the manifest says "
        f"{str(wanted)[:SHOWN_HASH]}…)"
    )
    if trust and len(files) == 1:
        return _with_checkpoint(job, files[0]), (f"{differs}: it is used all the same, with --trust",)
    raise CheckpointError(
        f"{differs}: export the job again, name the right one with --checkpoint PATH, or take this one with "
        "--trust"
    )


def _with_checkpoint(job: Job, path: Address | None) -> Job:
    if path is None:
        return job
    # Links are not resolved: files that belong to a checkpoint are beside its link.
    place = os.path.abspath(Path(path).expanduser())  # noqa: PTH100
    return job.model_copy(update={"model": job.model.model_copy(update={"checkpoint": place})})


def _refuse_code(job: Job, bundle: Path, set: Sequence[str]) -> None:
    """TrustError if the manifest, and not an override of the user's, names code to run.

    A builder is code. The arguments of a library's own builder are safe if they are numbers. A text may name
    a file to load or a module to import, and the library decides what to do with it.
    """
    own = {text.partition("=")[0].strip() for text in set}
    table = job.model
    kwargs: Mapping[str, Any] = {}
    if "model.kwargs" not in own:
        kwargs = {name: value for name, value in table.kwargs.items() if f"model.kwargs.{name}" not in own}
    if table.builder is not None and "model.builder" not in own:
        would = f"run {_called(table.builder, table.kwargs)}{_place(job, table.builder)}"
    elif any(map(_names_something, kwargs.values())):
        maker = table.builder if table.builder is not None else f"the family {table.family}'s builder"
        would = f"run {_called(maker, kwargs)}"
    else:
        return
    raise TrustError(
        f"the manifest of {bundle} names code: this would {would}. A bundle may come from anyone, so "
        "nothing that it names is run unasked: look at it, then add --trust (in Python, trust=True), give "
        "a job file of your own, or the module itself (in Python, model=)"
    )


def _refuse_texts(job: Job, bundle: Path) -> None:
    """TrustError if the manifest gives texts to the user's module, which may load a file of that name."""
    if any(map(_names_something, job.arguments.values())):
        raise TrustError(
            f"the manifest of {bundle} gives texts to the model: this would call "
            f"{_called('forward', job.arguments)}. Look at them, then add --trust (in Python, trust=True), "
            "or give a job of your own"
        )


def _called(name: str, kwargs: Mapping[str, Any]) -> str:
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in kwargs.items())})"


def _place(job: Job, builder: str) -> str:
    file = builder.partition(":")[0]
    return f", from {os.path.abspath(job.resolve(file))}" if file.endswith(".py") else ""  # noqa: PTH100


def _names_something(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_names_something, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_names_something, value))
    return not (value is None or isinstance(value, bool | int | float))


def files_read(source: JobLike | None, job: Job | None, onnx: Address | None = None) -> list[Path]:
    """Every file and folder that a job's commands read: ``source`` itself, the ONNX file, and what the job
    names. None of them may be written to."""
    paths: list[Path] = []
    if isinstance(source, str | PathLike):
        paths += model_files(source)
        with contextlib.suppress(JobError):  # raised by the code that reads the job
            paths += chain_of(Path(source))[1:] if isinstance(look_at(source), JobFile) else ()
    if onnx is not None:
        paths += model_files(onnx)
    if job is not None:
        code = [(name or "").partition(":")[0] for name in (job.model.builder, job.export.custom_ops)]
        named = (job.model.checkpoint, *code, job.validation.annotations)
        paths += [job.resolve(name) for name in named if name]
        for pictures in (pictures_of, calibrating_of):
            with contextlib.suppress(PictureError):  # raised later, by the code that needs the pictures
                paths += pictures(job)
    return paths


def pictures_of(job: Job) -> tuple[Path, ...]:
    """The pictures that a job tries. Raises PictureError if it names some and none is there."""
    return find_pictures(job.validation.images, job.folder)


def calibrating_of(job: Job) -> tuple[Path, ...]:
    """The pictures that calibrate a job's file of lower precision. Raises as ``pictures_of`` does."""
    return find_pictures(job.precision.images, job.folder, "precision.images")


def inputs_of(
    source: JobLike,
    *,
    onnx: Address | None = None,
    checkpoint: Address | None = None,
    set: Sequence[str] = (),
    trust: bool = False,
) -> list[Path]:
    """Every file and folder that ``validate`` reads if it is called with the same arguments.

    Raises TrustError as it does, before a disk is searched for pictures that a bundle names.
    """
    given = [] if checkpoint is None else [Path(checkpoint)]
    job = source if isinstance(source, Job) else None
    if not isinstance(source, Job):
        match look_at(source):
            case BundleFolder(path) as bundle:
                job = job_in(path, bundle.manifest(), set)
                if job is not None and (job.validation.images or job.precision.images) and not trust:
                    _refuse_code(job, path, set)
            case JobFile(path) | OtherFile(path):
                job = load_job(path, set)
    return [*given, *files_read(source, job, onnx)]
