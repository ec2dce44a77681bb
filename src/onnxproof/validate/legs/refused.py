"""A file that its runtime does not load."""

from dataclasses import dataclass

from onnxproof.errors import ModelFileError
from onnxproof.validate.legs.leg import Answer, Arrays, Ports

REFUSED = "ONNX Runtime does not run the file"
"""How the reason begins for which such a leg runs no case."""


@dataclass(frozen=True, slots=True)
class RefusedLeg:
    """Runs nothing, since ONNX Runtime has no kernels for the file's dtype. ``reason`` says so. ``ports`` are
    as declared."""

    name: str
    ports: Ports
    reason: str

    def run(self, inputs: Arrays) -> Answer:  # noqa: ARG002
        """Raises ModelFileError."""
        raise ModelFileError(f"{REFUSED}: {self.reason}")


@dataclass(frozen=True, slots=True)
class NotTakenLeg:
    """Runs nothing, since its runtime does not take the file; ``reason`` says why. ``ports`` are as declared.

    Unlike a RefusedLeg, it is a fault of the file for that runtime: every case fails.
    """

    name: str
    ports: Ports
    reason: str

    def run(self, inputs: Arrays) -> Answer:  # noqa: ARG002
        """Raises ModelFileError."""
        raise ModelFileError(self.reason)
