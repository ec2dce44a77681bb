"""What every leg offers: a name, ports, and an answer to a set of inputs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from numpy.typing import NDArray

from onnxproof.contract import Contract
from onnxproof.runtime.port import Port
from onnxproof.validate.legs.choices import Choice

Arrays = Mapping[str, NDArray[Any]]

GRAPH = "onnx-float64"
"""The name of the leg that evaluates the file's graph in float64."""


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a leg returned: outputs by name, margins by the name of a label field, choices by output.

    A margin is not in the outputs: a label's lead over the next class, for example. Neither is what the
    integers of an output were chosen from. Only a leg that sees how its outputs are computed has margins and
    choices; for all others ``margins`` and ``choices`` are empty.
    """

    outputs: Arrays
    margins: Arrays
    choices: Mapping[str, Choice] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ports:
    """The inputs and the outputs of a leg, in its own order."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    @classmethod
    def of(cls, contract: Contract) -> Self:
        """The ports that a contract declares."""
        inputs, outputs = (
            tuple(Port(spec.name, spec.dtype, spec.shape) for spec in specs)
            for specs in (contract.inputs, contract.outputs)
        )
        return cls(inputs, outputs)


class Leg(Protocol):
    """One way to run the model. ``name`` is its name in the verdict."""

    @property
    def name(self) -> str:
        """For example "ort-cpu"."""

    @property
    def ports(self) -> Ports:
        """The inputs and outputs that the leg itself declares."""

    def run(self, inputs: Arrays) -> Answer:
        """The outputs for inputs by name. Raises whatever the backend raises."""


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What candidates are compared with.

    ``oracle`` is the leg that errors are measured from; None if the model does not run in float64 at all.
    ``reference`` is the leg whose own error is the yardstick. ``oracle_missing`` has the outputs without a
    float64 value, and for each the reason; without an oracle these are all outputs. ``unsteady`` says how the
    reference answers otherwise when it is run again on the same input; None if it does not. If it does, no
    candidate can be compared with it, and there is no oracle. ``rewritten`` names the parameters and buffers
    that the model itself replaces or writes into when it runs.
    """

    oracle: Leg | None
    reference: Leg
    oracle_missing: Mapping[str, str] = field(default_factory=dict)
    unsteady: str | None = None
    rewritten: frozenset[str] = frozenset()

    @property
    def notes(self) -> tuple[str, ...]:
        """A note for each reason why outputs have no float64 value."""
        outputs: dict[str, list[str]] = {}
        for name, reason in self.oracle_missing.items():
            outputs.setdefault(reason, []).append(name)
        if self.oracle is None:
            told = "the model does not run in float64 ({}), so a fixed tolerance was used"
        else:
            told = "no float64 value of {} ({}), so a fixed tolerance was used there"
        return tuple(
            told.format(*([] if self.oracle is None else [", ".join(names)]), reason)
            for reason, names in outputs.items()
        )
