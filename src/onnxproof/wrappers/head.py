"""Defines a head: it turns what a module returns into the outputs that its task reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import nn

from onnxproof.contract import ClassInfo, Reading
from onnxproof.errors import JobError
from onnxproof.job import ValidateTable
from onnxproof.tensors import Field, TensorSpec

LOGITS_NAMES = ("logits", "out")
"""The names that find the logits among several outputs of that form."""


@dataclass(frozen=True, slots=True, eq=False)
class Bare:
    """A module without a head, its inputs and its outputs.

    ``module`` takes ``inputs`` in order and returns a flat tuple in the order of ``outputs``. ``own`` is
    the user's module inside it; a head may read its attributes. ``classes`` are the names of the classes,
    empty if none are given.
    """

    module: nn.Module
    own: nn.Module
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    classes: tuple[ClassInfo, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Headed:
    """A module with its head, and the part of the file's contract that the head determines.

    ``reading`` says how the task reads the outputs. If decisions depend on values that the outputs do not
    contain, such as a label's lead over the next class, ``module`` also has the method
    ``forward_with_margins`` (``TellsMargins`` in wrappers/family.py).
    """

    module: nn.Module
    outputs: tuple[TensorSpec, ...]
    fields: tuple[Field, ...]
    reading: Reading


class Head(Protocol):
    """The head of one task, the object ``HEAD`` of a file in wrappers/heads/ that is named after the task.

    ``decodes`` are the values of ``wrapper.decode`` that the head accepts; "auto" means the first.
    """

    @property
    def name(self) -> str:
        """The task's name."""

    @property
    def decodes(self) -> tuple[str, ...]:
        """The values of ``wrapper.decode``: how much of the decoding may be in the graph."""

    def attach(self, bare: Bare, decode: str, validation: ValidateTable) -> Headed:
        """Put the head behind a module. ``decode`` is one of ``decodes``.

        ``validation`` has the thresholds of the decisions. Raises JobError if the module does not return
        what the task needs, or if the number of classes is not that of its outputs.
        """


def attach_head(head: Head, bare: Bare, decode: str, validation: ValidateTable) -> Headed:
    """Put a head behind a module; ``decode`` may be "auto".

    Raises JobError if the head does not accept ``decode``, and as ``Head.attach`` does.
    """
    if decode != "auto" and decode not in head.decodes:
        there = "there is" if len(head.decodes) == 1 else "there are"
        raise JobError(
            f'wrapper.decode = "{decode}" is not for the task {head.name}; {there}: {", ".join(head.decodes)}'
        )
    return head.attach(bare, head.decodes[0] if decode == "auto" else decode, validation)


def find_logits(bare: Bare, task: str, axes: Sequence[str]) -> int:
    """The position of the output that holds the class logits.

    ``axes`` are the names of the logits' axes, for messages. The size of the axis "classes" must be fixed.
    Raises JobError if no output fits, if several fit, or if ``bare.classes`` names another number of classes.
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


def find_one(bare: Bare, task: str, names: Sequence[str], what: str, axes: Sequence[str]) -> int:
    """The position of the one output of floats with these axes.

    ``names`` find it among several. ``what`` says in messages what it holds. Raises JobError if no output
    fits, or if several do.
    """
    fitting = [
        i for i, spec in enumerate(bare.outputs) if "float" in spec.dtype and len(spec.shape) == len(axes)
    ]
    named = [i for i in fitting if bare.outputs[i].name in names] or fitting
    if len(named) != 1:
        raise JobError(
            f"the task {task} needs one output of {what} [{', '.join(axes)}], or one named "
            f"{' or '.join(names)}; the module returns {listed(bare.outputs)}"
        )
    return named[0]


def require_names(output: TensorSpec, axis: int, classes: Sequence[ClassInfo]) -> None:
    """Raise JobError if names are given for the classes, and their number is not the size of the axis."""
    count = output.shape[axis]
    if classes and len(classes) != count:
        raise JobError(
            f"{len(classes)} classes are named, the module's output {output.name} {output} has {count}: "
            "name each of them in model.classes, in the order that the model was trained with"
        )


def plain_field(spec: TensorSpec) -> Field:
    """The field of an output of unknown meaning. Floats are continuous, all other dtypes are labels."""
    if "float" in spec.dtype:
        return Field(spec.name, spec.name, "")
    return Field(spec.name, spec.name, "", kind="label")


def listed(specs: Sequence[TensorSpec]) -> str:
    """The tensors' names and specs, as error messages list them."""
    return ", ".join(f"{spec.name}: {spec}" for spec in specs)
