"""Defines a family: an object that builds, from a job, a wrapped model and the contract of its file."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from onnxproof.contract import Contract
from onnxproof.errors import JobError, RequestError
from onnxproof.job import Job, refuse_other_dims
from onnxproof.tensors import Dim
from onnxproof.text import meant
from onnxproof.wrappers.own.pipeline import NONE as NO_PIPELINE
from onnxproof.wrappers.own.pipeline import Own

Module = nn.Module
Outputs = tuple[Tensor, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A loaded checkpoint: its file, the file's SHA-256, and the tensors by name.

    ``prefix`` is what wrappers put before all names, and is not in ``state_dict``. ``weights`` is the job's
    ``model.weights``, for a file that holds the weights several times. ``notes`` say how the file was read;
    ``load_weights`` adds how its names were made to fit. ``held`` is all that the file holds, without the
    tensors: a training run's settings, and stand-ins for pickled objects (held.py has what reads them). It is
    empty for a file of tensors alone. ``asked`` are keys of ``[model]`` that the user gives without a job.
    """

    file: Path
    sha256: str
    state_dict: Mapping[str, Tensor]
    prefix: str = ""
    weights: str = "auto"
    notes: list[str] = field(default_factory=list)
    held: Any = None
    asked: Mapping[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The folder with the files beside the checkpoint: class names, normalisation."""
        return self.file.parent

    def without_prefix(self, known: Collection[str] | None = None) -> "Checkpoint | None":
        """The checkpoint without the first part of its names, which becomes the end of ``prefix``.

        None if the names do not share one, or if it is none of ``known``.
        """
        first = f"{next(iter(self.state_dict), '').partition('.')[0]}."
        shared = all(name.startswith(first) for name in self.state_dict)
        if not self.state_dict or not shared or (known is not None and first not in known):
            return None
        state = {name.removeprefix(first): tensor for name, tensor in self.state_dict.items()}
        return replace(self, state_dict=state, prefix=self.prefix + first)


@dataclass(frozen=True, slots=True, eq=False)
class WrappedModel:
    """A model in its inference wrapper, in evaluation mode, and the contract of its file.

    ``module`` takes the contract's inputs in order. It returns one tensor, or a tuple in the order of the
    contract's outputs. If only TorchScript can capture the model, ``traced`` says why; otherwise it is None.
    ``notes`` say what is unusual in the weights. ``own`` makes the framework's own pipeline, or says why
    there is none. ``package`` is the name and version of the package that the family comes from; it is None
    for our own. A family leaves it out: ``get_family`` fills it in. ``rounded_to`` is "float16" if a file is
    judged that was rounded to it: the reference is then ``module`` with its weights and results rounded.
    """

    module: nn.Module
    contract: Contract
    family: str
    traced: str | None = None
    notes: tuple[str, ...] = ()
    package: str | None = None
    own: Own = NO_PIPELINE
    rounded_to: str = "float32"


def decode_of(job: Job, *choices: str) -> str:
    """The job's ``wrapper.decode``. "auto" means the first of the family's ``choices``.

    Raises JobError if the job's value is not one of them.
    """
    wanted = job.wrapper.decode
    if wanted == "auto":
        return choices[0]
    if wanted not in choices:
        raise JobError(
            f'wrapper.decode = "{wanted}" is not for the family {job.model.family}; '
            f"there are: {', '.join(choices)}{meant(wanted, choices)}"
        )
    return wanted


def task_of(job: Job, *choices: str) -> str:
    """The job's ``model.task``. If the job names no task, the first of the family's ``choices``.

    Raises JobError if the job's value is not one of them.
    """
    wanted = job.model.task
    if wanted is None:
        return choices[0]
    if wanted not in choices:
        raise JobError(
            f'model.task = "{wanted}" is not for the family {job.model.family}; '
            f"there are: {', '.join(choices)}{meant(wanted, choices)}"
        )
    return wanted


def dims_of(job: Job, defaults: Mapping[str, Dim]) -> tuple[Dim, ...]:
    """The dims in the order of ``defaults``. A dim that the job does not declare has its default sizes.

    Raises JobError if the job names a dim that is not among ``defaults``.
    """
    refuse_other_dims(job, defaults)
    return tuple(job.dims.get(name, dim) for name, dim in defaults.items())


def require_module(model: object) -> None:
    """Raise RequestError if what is given in Python is no ``nn.Module``."""
    if not isinstance(model, nn.Module):
        kind = type(model).__name__ if not isinstance(model, type) else f"class, {model.__name__}"
        raise RequestError(
            f"the model is a {kind}; expected a torch.nn.Module: load it first, or put what computes into "
            "the forward of a module"
        )


class TellsMargins(Protocol):
    """A wrapped module that can also return values that decisions depend on and its outputs do not contain.

    ``forward_with_margins`` returns what ``forward`` returns, and a dict of margins. For a label field the
    margin is the score's lead over the next class, in the labels' shape; its key is the field's name.
    """

    def forward_with_margins(self, *inputs: Tensor) -> tuple[Outputs, Mapping[str, Tensor]]:
        """Return the outputs, and the margins by name."""


class Family(Protocol):
    """Builds models of one kind. Jobs name it by ``name``. docs/families.md shows how to write one."""

    name: str

    def build(self, job: Job, checkpoint: Checkpoint | None) -> WrappedModel:
        """Build the wrapped model that the job describes.

        ``checkpoint`` is None if the job names none. Raises JobError if the job does not fit the family,
        CheckpointError if the checkpoint does not fit the model.
        """
