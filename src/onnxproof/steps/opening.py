"""Open what is exported and what is compared: the job, its model and the file, whoever asks."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from onnxproof.errors import ModelFileError
from onnxproof.export.model import build_model
from onnxproof.job import Job
from onnxproof.job.asked import (
    Address,
    Asked,
    JobLike,
    file_to_validate,
    job_to_validate,
)
from onnxproof.source import BundleFolder, look_at
from onnxproof.system.memory import require_memory
from onnxproof.validate.agreement import manifest_check
from onnxproof.validate.bundled import checksum_check
from onnxproof.validate.verdict import Check
from onnxproof.wrappers.family import Checkpoint, Module, WrappedModel, require_module
from onnxproof.wrappers.in_graph import build_with_resize
from onnxproof.wrappers.weights import bytes_of
from onnxproof.wrappers.wrap import wrap_for_job

IN_TRAINING = (
    "the module is in training mode, as a new module and one after module.train() are; it is judged as after "
    "module.eval(): dropout is off, and batch norms use the statistics that they hold"
)
"""The note on a module that is handed in that way."""


@dataclass(frozen=True, slots=True, eq=False)
class ToExport:
    """A job and its model. ``checkpoint`` is None if there is none; its tensors are left to the model."""

    job: Job
    model: WrappedModel
    checkpoint: Checkpoint | None


def to_export(job: Job, loaded: Checkpoint | None = None, notes: Sequence[str] = ()) -> ToExport:
    """A job's model. ``loaded`` is its checkpoint if it was read already. ``notes`` go into the verdict.

    Raises RequestError if the memory is not enough for the work on the model.
    """
    model, checkpoint = build_model(job, loaded)
    require_memory(bytes_of(model.module))
    return ToExport(job, replace(model, notes=(*notes, *model.notes)), checkpoint)


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


def wrapped_for(job: Job, model: Module | None) -> WrappedModel:
    """The job's model, or the given module, wrapped as the job says.

    Raises RequestError if ``model`` is no module, or if the memory is not enough for the work on it.
    """
    if model is None:
        wrapped, _ = build_model(job)
    else:
        require_module(model)
        notes = (IN_TRAINING,) if model.training else ()
        wrapped = build_with_resize(job, lambda asked: wrap_for_job(asked, model))
        wrapped = replace(wrapped, notes=(*notes, *wrapped.notes))
    require_memory(bytes_of(wrapped.module))
    return wrapped
