"""A file that ONNX Runtime does not load, since it has no kernels for the file's dtype."""

from dataclasses import dataclass

from onnxproof.errors import ModelFileError
from onnxproof.validate.legs.leg import Answer, Arrays, Ports

REFUSED = "ONNX Runtime does not run the file"
"""How the reason begins for which such a leg runs no case."""


@dataclass(frozen=True, slots=True)
class RefusedLeg:
    """Runs nothing. ``reason`` says why ONNX Runtime does not load the file. ``ports`` are as declared."""

    name: str
    ports: Ports
    reason: str

    def run(self, inputs: Arrays) -> Answer:  # noqa: ARG002
        """Raises ModelFileError."""
        raise ModelFileError(f"{REFUSED}: {self.reason}")
