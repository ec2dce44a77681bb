"""Wraps any module: finds out its outputs, puts a task's head behind it and an input stage in front."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from torch import nn

from onnxproof.contract import ClassInfo, Contract
from onnxproof.errors import JobError
from onnxproof.job import Job, ValidateTable, refuse_open_axes, refuse_unused_dims
from onnxproof.tensors import Dim, TensorSpec, dims_by_name
from onnxproof.text import meant
from onnxproof.wrappers.family import Checkpoint, WrappedModel, task_of
from onnxproof.wrappers.flat import Flattened, describe_outputs
from onnxproof.wrappers.folder import name_classes, read_classes
from onnxproof.wrappers.head import Bare, attach_head
from onnxproof.wrappers.heads import get_head, head_names
from onnxproof.wrappers.picture_port import PicturePort, StagedModule, picture_port
from onnxproof.wrappers.weights import held_in, in_dtype, notes_on, saved_by

DEFAULT_TASK = "raw"
"""The task of a module if the job names none."""

ANY_MODULE = "module"
"""The name of the family for any module."""


def wrap_module(
    module: nn.Module,
    inputs: Sequence[TensorSpec],
    dims: Sequence[Dim],
    *,
    name: str = ANY_MODULE,
    family: str = ANY_MODULE,
    task: str = DEFAULT_TASK,
    decode: str = "auto",
    classes: tuple[ClassInfo, ...] = (),
    picture: PicturePort | None = None,
    validation: ValidateTable = ValidateTable(),  # noqa: B008
    places: Sequence[str] = (),
    arguments: Mapping[str, Any] = MappingProxyType({}),
) -> WrappedModel:
    """Wrap a module, and find out the contract of its file by running it at a few sizes.

    ``inputs`` are in the order of the module's ``forward``. ``name`` is the contract's. ``task`` names the
    head that is put behind the module; each file of wrappers/heads/ says what its head needs of the module
    and which values of ``decode`` it accepts. Outputs that the head does not need are left out of the file.
    ``picture`` says which input takes pictures. ``validation`` has the thresholds of the decisions.
    ``places`` say where the inputs go in the arguments of ``forward``; if there are none, they go where their
    names say. ``arguments`` are plain values that it gets besides (arguments.py). A module of
    ``torch.compile`` counts as the module in it.

    Raises JobError if the inputs do not fit the module, or if its outputs or ``classes`` do not fit the task.
    """
    if task not in _tasks():
        raise JobError(
            f'model.task = "{task}" is not for the family {family}; there are: {", ".join(_tasks())}'
            f"{meant(task, _tasks())}"
        )
    if not inputs:
        raise JobError("[inputs] is empty: name the module's inputs, in the order of its forward")
    refuse_open_axes(inputs, dims_by_name(dims))
    # Decisions are taken from float32: heads and the runtime's tasks compute in it.
    widens = task != DEFAULT_TASK
    given = places or [spec.name for spec in inputs]
    module = _not_compiled(module)
    flattened = Flattened(module.eval(), given, arguments, widens=widens)
    outputs, skipped = describe_outputs(flattened, inputs, dims)
    wrapped: nn.Module = flattened
    if picture is not None:
        inputs = [picture.spec if at == picture.position else spec for at, spec in enumerate(inputs)]
        if picture.stage is not None:
            wrapped = StagedModule(flattened, picture.position, picture.stage)
    bare = Bare(wrapped, module, tuple(inputs), outputs, classes)
    headed = attach_head(get_head(task), bare, decode, validation)
    contract = Contract(
        name=name,
        task=task,
        inputs=bare.inputs,
        outputs=headed.outputs,
        dims=tuple(dims),
        fields=headed.fields,
        preprocess=None if picture is None else picture.preprocess,
        classes=classes,
        reading=headed.reading,
    )
    return WrappedModel(
        headed.module.eval(),
        contract,
        family,
        notes=(
            *notes_on(saved_by(module), held_in(module)),
            *(() if skipped is None else (skipped,)),
        ),
    )


def _not_compiled(module: nn.Module) -> nn.Module:
    """The module itself if ``torch.compile`` made a compiled one of it: both compute the same function."""
    inner = getattr(module, "_orig_mod", None)
    return inner if isinstance(inner, nn.Module) else module


def wrap_for_job(job: Job, module: nn.Module, checkpoint: Checkpoint | None = None) -> WrappedModel:
    """Wrap a module as the job's tables describe, in the dtype of ``export.dtype``.

    The classes are the job's. If it names none, they are read from the files beside the checkpoint. Raises
    JobError as ``wrap_module`` does, if a dim is no input's, and if a picture does not fit the input that
    ``predict.input`` names.
    """
    classes: tuple[ClassInfo, ...] | None = None
    if job.model.classes is not None:
        classes = name_classes(job.model.classes)
    elif checkpoint is not None:
        classes = read_classes(checkpoint.folder)
    picture = picture_port(job)
    if job.inputs:  # else wrap_module says that there are none
        refuse_open_axes(job.inputs.values(), job.dims)
        refuse_unused_dims(job)
    return wrap_module(
        in_dtype(module, job.export.dtype),
        tuple(job.inputs.values()),
        tuple(job.dims.values()),
        name=job.name,
        task=task_of(job, *_tasks()),
        decode=job.wrapper.decode,
        classes=classes or (),
        picture=picture,
        validation=job.validation,
        places=tuple(job.inputs),
        arguments=job.arguments,
    )


def _tasks() -> tuple[str, ...]:
    """The names of the tasks that have a head. The default task is the first."""
    return DEFAULT_TASK, *(name for name in head_names() if name != DEFAULT_TASK)
