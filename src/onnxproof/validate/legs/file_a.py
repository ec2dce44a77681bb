"""File A in PyTorch's place: two runs of one file, as the oracle and the reference of a comparison."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import onnx

from onnxproof.errors import CheckError
from onnxproof.system.scratch import scratch_folder
from onnxproof.validate.legs.leg import Answer, Arrays, Ports, Truth
from onnxproof.validate.legs.onnx_runtime import OrtLeg

REFERENCE = "A"

LARGEST_PROTO = 2**31 - 1
"""Bytes that a protobuf message can hold."""


class NotEvaluatedError(CheckError):
    """A's graph cannot be evaluated in float64. The message says why."""


class Runs(Protocol):
    """Runs a file twice on each input."""

    @property
    def ports(self) -> Ports:
        """The file's inputs and outputs."""

    def run(self, inputs: Arrays) -> tuple[Answer, Answer]:
        """The oracle's answer and the reference's."""


@dataclass(slots=True, eq=False)
class _Run:
    """One of the two runs, as a leg. Both legs ask for the same inputs, so the last answers are kept."""

    name: str
    runs: "_Kept"
    place: int

    @property
    def ports(self) -> Ports:
        return self.runs.of.ports

    def run(self, inputs: Arrays) -> Answer:
        return self.runs.answers(inputs)[self.place]


class _Kept:
    def __init__(self, of: Runs) -> None:
        self.of = of
        self._last: tuple[Arrays, tuple[Answer, Answer]] | None = None

    def answers(self, inputs: Arrays) -> tuple[Answer, Answer]:
        if self._last is None or self._last[0] is not inputs:
            self._last = inputs, self._run(inputs)
        return self._last[1]

    def _run(self, inputs: Arrays) -> tuple[Answer, Answer]:
        try:
            return self.of.run(inputs)
        except CheckError:
            raise
        except Exception as error:
            # ONNX Runtime's exceptions have no common public base below Exception.
            sizes = ", ".join(f"{name} {list(array.shape)}" for name, array in inputs.items())
            reason = str(error).strip().partition("\n")[0]
            raise CheckError(
                f"A itself cannot run the inputs {sizes}: {reason}; say which sizes it takes, "
                "--dim NAME=RANGE, and which of its axes are one, --inputs NAME=DTYPE[AXES]"
            ) from error


def truth_of(runs: Runs, oracle: str, reference: str = REFERENCE) -> Truth:
    """The two runs as the legs that a candidate is compared with, by these names."""
    kept = _Kept(runs)
    return Truth(oracle=_Run(oracle, kept, 0), reference=_Run(reference, kept, 1))


def return_also(proto: onnx.ModelProto, names: Iterable[str]) -> None:
    """Make the graph return these values of its own, too."""
    returned = {value.name for value in proto.graph.output}
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in sorted(set(names) - returned))


def unoptimized(proto: onnx.ModelProto, providers: Sequence[str], threads: int) -> OrtLeg:
    """A graph in memory as a leg, without optimization."""
    with scratch_folder() as folder:
        copy = folder / "model.onnx"
        onnx.save_model(proto, copy, save_as_external_data=proto.ByteSize() > LARGEST_PROTO)
        return OrtLeg(copy, providers, threads, "none")
