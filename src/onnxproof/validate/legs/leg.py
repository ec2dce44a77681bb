"""What every leg offers: a name, ports, and an answer to a set of inputs."""

from collections.abc import Mapping
from dataclasses import dataclass
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

    ``oracle`` is the leg that errors are measured from. It is None if the model does not run in float64;
    ``oracle_missing`` then says why. ``reference`` is the leg whose own error is the yardstick.
    """

    oracle: Leg | None
    reference: Leg
    oracle_missing: str | None = None
