"""What a head is: it turns what a module returns into the outputs that its task reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import nn

from onnxproof.contract import ClassInfo, Reading
from onnxproof.errors import JobError
from onnxproof.job import ValidateTable
from onnxproof.tensors import Field, TensorSpec

LOGITS_NAMES = ("logits", "out")
"""What networks call their logits if they return more than one tensor of that form."""


@dataclass(frozen=True, slots=True, eq=False)
class Bare:
    """A module that has no head yet, and what is known of it.

    ``module`` takes ``inputs`` in order and returns a flat tuple in the order of ``outputs``. ``own`` is
    the module as its author wrote it; a head may read attributes of it. ``classes`` are the names of the
    classes, empty if there are none.
    """

    module: nn.Module
    own: nn.Module
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    classes: tuple[ClassInfo, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Headed:
    """A module with its head, and the part of the file's contract that follows from the head.

    ``reading`` says how the task reads the outputs. If decisions hang on what the outputs
    leave out, such as the lead of a label over the next class, ``module`` also has the method
    ``forward_with_margins`` (``TellsMargins`` in wrappers/family.py).
    """

    module: nn.Module
    outputs: tuple[TensorSpec, ...]
    fields: tuple[Field, ...]
    reading: Reading


class Head(Protocol):
    """One task's head: a file in wrappers/heads/ that is named after the task and holds a ``HEAD``.

    ``decodes`` are the values of ``wrapper.decode`` that the head knows; "auto" means the first.
    """

    @property
    def name(self) -> str:
        """The task's name."""

    @property
    def decodes(self) -> tuple[str, ...]:
        """How far the graph may go from the module's outputs toward decisions."""

    def attach(self, bare: Bare, decode: str, validation: ValidateTable) -> Headed:
        """Put the head behind a module. ``decode`` is one of ``decodes``.

        ``validation`` says where decisions are cut. Raises JobError if the module does not return what the
        task needs, or if the classes' names do not fit its outputs.
        """


def attach_head(head: Head, bare: Bare, decode: str, validation: ValidateTable) -> Headed:
    """Put a head behind a module; ``decode`` may be "auto".

    Raises JobError if the head does not know ``decode``, and as ``Head.attach``.
    """
    if decode != "auto" and decode not in head.decodes:
        there = "there is" if len(head.decodes) == 1 else "there are"
        raise JobError(
            f'wrapper.decode = "{decode}" is not for the task {head.name}; {there}: {", ".join(head.decodes)}'
        )
    return head.attach(bare, head.decodes[0] if decode == "auto" else decode, validation)


def find_logits(bare: Bare, task: str, axes: Sequence[str]) -> int:
    """The position of the output that holds the class logits.

    ``axes`` are what the task calls their axes; the one called "classes" must have a fixed size. Raises
    JobError if no output or more than one fits, or if the number of classes is not that of ``bare.classes``.
    """
    outputs, axis = bare.outputs, axes.index("classes")
    fitting = [
        i for i, spec in enumerate(outputs) if spec.dtype == "float32" and len(spec.shape) == len(axes)
    ]
    chosen = [i for i in fitting if outputs[i].name in LOGITS_NAMES] or fitting
    if len(chosen) != 1 or not isinstance(outputs[chosen[0]].shape[axis], int):
        raise JobError(
            f"the task {task} needs one output of logits [{', '.join(axes)}], or one named "
            f"{' or '.join(LOGITS_NAMES)}; the module returns {listed(outputs)}"
        )
    require_names(outputs[chosen[0]], axis, bare.classes)
    return chosen[0]


def require_names(output: TensorSpec, axis: int, classes: Sequence[ClassInfo]) -> None:
    """Raise JobError if classes are named, but not as many as the output's axis is long."""
    count = output.shape[axis]
    if classes and len(classes) != count:
        raise JobError(
            f"{len(classes)} classes are named, the module's output {output.name} {output} has {count}: "
            "name each in model.classes, in the order that the model was trained with"
        )


def plain_field(spec: TensorSpec) -> Field:
    """The field of an output of which nothing is known but its dtype: floats are numbers, others labels."""
    if spec.dtype.startswith("float"):
        return Field(spec.name, spec.name, "")
    return Field(spec.name, spec.name, "", kind="label")


def listed(specs: Sequence[TensorSpec]) -> str:
    """Tensors as errors name them."""
    return ", ".join(f"{spec.name}: {spec}" for spec in specs)
