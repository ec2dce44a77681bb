"""Build a job's model, or wrap the one that is handed in."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from onnxproof.contract import Contract
from onnxproof.export.model import build_model
from onnxproof.job import Job
from onnxproof.system.memory import require_memory
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


def job_notes(job: Job, contract: Contract) -> tuple[str, ...]:
    """What the job gives that is not as it says: more classes to decide on than there are, or one name for
    several."""
    notes = []
    asked, own = job.validation.top_k, getattr(contract.reading, "top_k", None)
    if "top_k" in job.validation.model_fields_set and own is not None and own < asked:
        notes.append(f"validate.top_k = {asked}, and the model has {own} classes: all are decided on")
    named = Counter(job.model.classes or ())
    notes += [
        f'model.classes names {count} classes "{name}": decisions do not tell these apart by name'
        for name, count in named.items()
        if count > 1
    ]
    return tuple(notes)


def to_export(job: Job, loaded: Checkpoint | None = None, notes: Sequence[str] = ()) -> ToExport:
    """A job's model. ``loaded`` is its checkpoint if it was read already. ``notes`` go into the verdict.

    Raises RequestError if the memory is not enough for the work on the model.
    """
    model, checkpoint = build_model(job, loaded)
    require_memory(bytes_of(model.module))
    told = (*notes, *job_notes(job, model.contract), *model.notes)
    return ToExport(job, replace(model, notes=told), checkpoint)


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
    return replace(wrapped, notes=(*job_notes(job, wrapped.contract), *wrapped.notes))
