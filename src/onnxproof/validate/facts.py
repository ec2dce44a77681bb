"""What is compared, what legs answer, what a sweep finds: values that the other modules of this folder pass
around."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol, Self

from numpy.typing import NDArray

from onnxproof.contract import Preprocess
from onnxproof.runtime.tasks import Finding
from onnxproof.tensors import Dim, Field, TensorSpec
from onnxproof.validate.measure import LabelMeasurement, Measurement

Arrays = Mapping[str, NDArray[Any]]


class Contract(Protocol):
    """What is declared of a file, and what its outputs mean; a WrappedModel is one."""

    @property
    def task(self) -> str: ...
    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...
    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...
    @property
    def dims(self) -> tuple[Dim, ...]: ...
    @property
    def fields(self) -> tuple[Field, ...]: ...
    @property
    def preprocess(self) -> Preprocess | None: ...
    @property
    def postprocess(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class FileContract:
    """A contract as a value, of a file without its model, or of a model with something changed."""

    task: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    dims: tuple[Dim, ...]
    fields: tuple[Field, ...]
    preprocess: Preprocess | None
    postprocess: Mapping[str, Any]

    @classmethod
    def of(cls, contract: Contract) -> Self:
        """The same contract."""
        return cls(**{entry.name: getattr(contract, entry.name) for entry in fields(cls)})


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a leg returned: outputs by name, and margins by the name of a label field."""

    outputs: Arrays
    margins: Arrays


@dataclass(frozen=True, slots=True)
class Located:
    """A finding, and the case and the picture of its batch that it was found in."""

    case: str
    picture: int
    finding: Finding

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "case": self.case,
            "picture": self.picture,
            "what": self.finding.what,
            "cause": self.finding.cause,
        }


@dataclass(frozen=True, slots=True)
class Decisions:
    """The outcome over all pictures: ``reference`` decisions were taken on ``pictures`` pictures."""

    pictures: int
    reference: int
    matched: int
    ties: tuple[Located, ...]
    defects: tuple[Located, ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """A case on which the candidate could not answer, or answered in another form."""

    case: str
    reason: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What one candidate leg did. ``oracle_missing`` says why there is no float64 oracle, or None;
    ``held_back`` counts the rows that have no like in PyTorch, since an earlier decision was open, out of
    ``rows``; ``repeated`` are the cases that were looked at again, on inputs next to their own. ``all_rows``
    are the decisions of a graph that ends in NMS down to its own threshold, None of others.
    ``constant_fields`` are measured on pictures of one value, ``fields`` on all others. ``reference``
    and ``oracle`` are the names of the legs that it is held against.
    """

    leg: str
    interface: tuple[str, ...]
    cases: int
    pictures_named: bool
    not_run: tuple[Failure, ...]
    misshapen: tuple[Failure, ...]
    fields: tuple[Measurement, ...]
    labels: tuple[LabelMeasurement, ...]
    decisions: Decisions | None
    oracle_missing: str | None
    held_back: int = 0
    rows: int = 0
    repeated: tuple[str, ...] = ()
    all_rows: Decisions | None = None
    constant_fields: tuple[Measurement, ...] = ()
    reference: str = "torch-float32"
    oracle: str = "torch-float64"

    @property
    def witness(self) -> str:
        """What the file is held against, in a word."""
        return "PyTorch" if self.reference.startswith("torch") else self.reference
