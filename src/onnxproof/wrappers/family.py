"""What a family hands over: the wrapped model and everything that is known about it without running it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from onnxproof.contract import ClassInfo, Preprocess
from onnxproof.errors import JobError
from onnxproof.job import Job
from onnxproof.tensors import Dim, Field, TensorSpec

Module = nn.Module
Outputs = tuple[Tensor, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A loaded checkpoint: its file, the file's SHA-256, and the tensors by name."""

    file: Path
    sha256: str
    state_dict: Mapping[str, Tensor]

    @property
    def folder(self) -> Path:
        """Where the files that lie beside the checkpoint are looked for."""
        return self.file.parent


@dataclass(frozen=True, slots=True, eq=False)
class WrappedModel:
    """A model in its inference wrapper, in evaluation mode and float32, and the contract of its file.

    ``module`` takes the inputs in order and returns one tensor or a tuple, in the order of
    ``outputs``. ``fields`` say what the outputs' channels mean, ``postprocess`` what the task needs to
    decide from them. ``preprocess`` is None where no input is a picture. ``traced`` says why TorchScript
    has to capture the model, None where torch.export may try. ``notes`` say what is odd in the weights.
    """

    module: nn.Module
    family: str
    task: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    dims: tuple[Dim, ...]
    fields: tuple[Field, ...]
    preprocess: Preprocess | None
    classes: tuple[ClassInfo, ...]
    postprocess: Mapping[str, Any]
    traced: str | None = None
    notes: tuple[str, ...] = ()


def decode_of(job: Job, *choices: str) -> str:
    """The job's ``wrapper.decode``, the first of the family's choices where it says "auto".

    Raises JobError where it is none of them.
    """
    wanted = job.wrapper.decode
    if wanted == "auto":
        return choices[0]
    if wanted not in choices:
        raise JobError(
            f'wrapper.decode = "{wanted}" is not for the family {job.model.family}; '
            f"there are: {', '.join(choices)}"
        )
    return wanted


def task_of(job: Job, *choices: str) -> str:
    """The job's ``model.task``, the first of the family's choices where the job names none.

    Raises JobError where it is none of them.
    """
    wanted = job.model.task
    if wanted is None:
        return choices[0]
    if wanted not in choices:
        raise JobError(
            f'model.task = "{wanted}" is not for the family {job.model.family}; '
            f"there are: {', '.join(choices)}"
        )
    return wanted


def dims_of(job: Job, defaults: Mapping[str, Dim]) -> tuple[Dim, ...]:
    """The job's dims, and the family's for what it does not name, in the order of ``defaults``.

    Raises JobError where the job names one that the family does not have.
    """
    unknown = sorted(set(job.dims) - set(defaults))
    if unknown:
        raise JobError(f"dims.{unknown[0]}: the family {job.model.family} has {', '.join(defaults)}")
    return tuple(job.dims.get(name, dim) for name, dim in defaults.items())


class TellsMargins(Protocol):
    """A wrapped module that can also tell what its outputs leave out.

    ``forward_with_margins`` returns the outputs as ``forward`` does and, by the name of a label field,
    the score's lead over the next class (same shape as the labels).
    """

    def forward_with_margins(self, *inputs: Tensor) -> tuple[Outputs, Mapping[str, Tensor]]:
        """Outputs, and margins by field name."""


class Family(Protocol):
    """Torch's side of a model: how it is built, which checkpoints it reads, what is put around it."""

    name: str

    def build(self, job: Job, checkpoint: Checkpoint | None) -> WrappedModel:
        """The wrapped model that the job asks for.

        Raises JobError where the job does not fit the family, CheckpointError where the checkpoint
        does not fit the model.
        """
