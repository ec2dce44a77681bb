"""What every leg offers: a name, ports, and an answer to a set of inputs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from numpy.typing import NDArray

from onnxproof.runtime.port import Port

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a leg returned: outputs by name, and margins by the name of a label field.

    A margin is not in the outputs: a label's lead over the next class, for example. Only a leg that sees how
    its outputs are computed has margins; for all others ``margins`` is empty.
    """

    outputs: Arrays
    margins: Arrays


@dataclass(frozen=True, slots=True)
class Ports:
    """The inputs and the outputs of a leg, in its own order."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


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
    float64 value, and for each the reason; without an oracle these are all outputs.
    """

    oracle: Leg | None
    reference: Leg
    oracle_missing: Mapping[str, str] = field(default_factory=dict)

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
