"""The wrapped model that a job asks for, with the weights of its checkpoint."""

from dataclasses import replace

from onnxproof.errors import JobError
from onnxproof.export.checkpoint import load_checkpoint
from onnxproof.job import Job
from onnxproof.source import stems_of
from onnxproof.tensors import HALVES
from onnxproof.wrappers.family import Checkpoint, WrappedModel
from onnxproof.wrappers.in_graph import build_with_resize
from onnxproof.wrappers.registry import get_family
from onnxproof.wrappers.weights import held_in, notes_on


def checkpoint_of(job: Job) -> Checkpoint | None:
    """The checkpoint that a job names. Returns None if it names none."""
    if job.model.checkpoint is None:
        return None
    stems = stems_of(get_family(job.model.family).name, job.model.variant)
    return load_checkpoint(job.resolve(job.model.checkpoint), stems, job.model.weights)


def build_model(job: Job, loaded: Checkpoint | None = None) -> tuple[WrappedModel, Checkpoint | None]:
    """The wrapped model that a job asks for, and its checkpoint, if it names one, without the tensors.

    The model has them, and those of a large one are not held twice. ``loaded`` is the checkpoint if it was
    read already.
    """
    checkpoint = checkpoint_of(job) if loaded is None else loaded
    model = model_with(job, checkpoint)
    return model, None if checkpoint is None else replace(checkpoint, state_dict={}, held=None)


def model_with(job: Job, checkpoint: Checkpoint | None) -> WrappedModel:
    """The wrapped model that a job asks for, with the weights of a checkpoint that is loaded already."""
    family = get_family(job.model.family)
    model = build_with_resize(job, lambda asked: family.build(asked, checkpoint))
    if job.export.dtype in HALVES and held_in(model.module) != job.export.dtype:
        raise JobError(
            f'export.dtype = "{job.export.dtype}": the family {family.name} is exported in float32; leave '
            "the key out, or build the network with the family module"
        )
    if checkpoint is not None:
        # Of the checkpoint's own tensors: in the model they may be of another dtype already.
        notes = (*checkpoint.notes, *notes_on(checkpoint.state_dict, held_in(model.module)), *model.notes)
        model = replace(model, notes=tuple(dict.fromkeys(notes)))
    return model
