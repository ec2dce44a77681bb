"""A leg that gives answers which were recorded elsewhere. It runs nothing."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from onnxproof.errors import CheckError
from onnxproof.validate.legs.leg import Answer, Arrays, Ports


def key_of(inputs: Arrays) -> bytes:
    """A key for inputs that are equal to the bit.

    SHA-1, because processors have instructions for it: it takes half of BLAKE2's time.
    """
    digest = hashlib.sha1(usedforsecurity=False)
    for name, array in inputs.items():
        digest.update(f"{name} {array.dtype} {array.shape};".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.digest()


@dataclass(frozen=True, slots=True, eq=False)
class RecordedLeg:
    """Gives the ``answers`` that were recorded, by the key of the inputs that they belong to."""

    name: str
    ports: Ports
    answers: Mapping[bytes, Answer]

    @classmethod
    def of(cls, name: str, ports: Ports, recorded: Iterable[tuple[Arrays, Answer]]) -> Self:
        """The leg with the answer to each of some inputs."""
        return cls(name, ports, {key_of(inputs): answer for inputs, answer in recorded})

    def run(self, inputs: Arrays) -> Answer:
        """Raises CheckError if no answer to these inputs was recorded."""
        answer = self.answers.get(key_of(inputs))
        if answer is None:
            shapes = ", ".join(f"{name} {array.dtype}{list(array.shape)}" for name, array in inputs.items())
            raise CheckError(
                f"no answer of {self.name} is recorded for these inputs ({shapes}); it has "
                f"{len(self.answers)} answers: run the recorded cases"
            )
        return answer
