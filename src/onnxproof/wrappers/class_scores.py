"""Shared by the heads classification and multilabel: one row of class scores for each input, as logits or as
probabilities."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor, nn

from onnxproof.contract import Reading
from onnxproof.job import ValidateTable
from onnxproof.tensors import Field, TensorSpec
from onnxproof.wrappers.head import Bare, Headed, find_logits

Activation = Callable[[Tensor], Tensor]


class ClassScores(nn.Module):
    """Returns only the logits [b, C] of a module that returns a flat tuple, or their probabilities.

    ``position`` is the place of the logits in that tuple. ``activation`` turns them into probabilities; if
    it is None, the logits are returned.
    """

    def __init__(self, module: nn.Module, position: int, activation: Activation | None) -> None:
        super().__init__()
        self.module = module
        self.position = position
        self.activation = activation

    def forward(self, *inputs: Tensor) -> Tensor:
        """Logits or probabilities, float [b, C]."""
        logits: Tensor = self.module(*inputs)[self.position]
        return logits if self.activation is None else self.activation(logits)


@dataclass(frozen=True, slots=True)
class ClassScoresHead:
    """The head of a task that decides from one row of class scores.

    ``probabilities`` turns logits [b, C] into probabilities. ``reading`` makes the task's reading from the
    output's name, the value of ``wrapper.decode``, the job's table ``[validate]`` and the number of classes.
    """

    name: str
    probabilities: Activation
    reading: Callable[[str, str, ValidateTable, int], Reading]
    decodes: tuple[str, ...] = ("none", "probabilities")

    def activation(self, decode: str) -> Activation | None:
        """The function that the graph applies to the logits. Returns None if it applies none."""
        return None if decode == "none" else self.probabilities

    def behind(
        self, module: nn.Module, logits: TensorSpec, count: int, decode: str, validation: ValidateTable
    ) -> Headed:
        """The head of a ``module`` that already returns what ``decode`` names: logits or probabilities.

        ``logits`` describes the network's logits, and ``count`` is the number of classes.
        """
        name, each, unit = ("logits", "logit", "")
        if decode == "probabilities":
            name, each, unit = ("probabilities", "probability", "probability")
        return Headed(
            module,
            (replace(logits, name=name),),
            (Field(name, each, unit),),
            self.reading(name, decode, validation, count),
        )

    def attach(self, bare: Bare, decode: str, validation: ValidateTable) -> Headed:
        """Put the head behind a module that returns logits [b, C].

        If it has several outputs of that form, the one named ``logits`` or ``out`` is taken.
        """
        chosen = find_logits(bare, self.name, ("batch", "classes"))
        module = ClassScores(bare.module, chosen, self.activation(decode))
        logits = bare.outputs[chosen]
        return self.behind(module, logits, int(logits.shape[1]), decode, validation)
