"""What a sweep found of one candidate, as values without tensors."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from onnxproof.validate.compare.comparer import Finding
from onnxproof.validate.measure import LabelMeasurement, Measurement

SHOWN_FINDINGS = 100
"""How many ties and defects of a leg a verdict spells out; all are counted."""

NEAR = 10.0
"""A decision whose margin is at most this many float errors is near to flipping."""


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

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of ``to_json``."""
        return cls(value["case"], value["picture"], Finding(value["what"], value["cause"]))


@dataclass(frozen=True, slots=True)
class Closest:
    """The closest call: the decision of the reference with the least margin, in units of float error.

    ``margin`` is how far every number of ``quantity`` has to move before the decision flips; ``units`` is the
    same over PyTorch's largest float error of that quantity. Of ``decisions`` margins ``near`` are within
    NEAR units, to a fifth, and ``equal`` are 0: two numbers were equal, and a rule decided, as that of two
    boxes of one score the lower index comes first. They are not taken for the closest call, unless all are:
    then ``margin`` is 0.
    """

    quantity: str
    margin: float
    units: float
    case: str
    picture: int
    decisions: int
    near: int
    equal: int = 0

    @property
    def text(self) -> str:
        """The closest call in words."""
        told = f"{self.units:.0f}" if self.units >= NEAR else f"{self.units:.2g}"
        if not self.equal:
            return f"the closest call lay {told} float errors from flipping"
        calls = f"{self.equal} call{'' if self.equal == 1 else 's'}"
        if not self.margin:
            return f"{calls} lay between equal numbers, and no other"
        return f"{calls} lay between equal numbers, the closest other {told} float errors from flipping"


FLOAT32_ROUNDING = "float32's rounding of the largest value"
"""The unit of errors where the reference computes in float64, as the oracle does."""

PICTURES, INPUTS = "pictures", "inputs"
"""What decisions are taken on."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The decisions on all pictures: the reference took ``reference`` of them on ``pictures`` pictures.

    ``closest`` is None if no margin was measured, or no float error. ``more_defects`` counts those that are
    not told one by one.
    """

    pictures: int
    reference: int
    matched: int
    ties: tuple[Located, ...]
    defects: tuple[Located, ...]
    closest: Closest | None = None
    more_defects: int = 0


@dataclass(frozen=True, slots=True)
class Decisions:
    """An Outcome as a verdict tells it: the first ties and defects, and how many more there are.

    ``unit`` is what ``pictures`` counts: "pictures", or "inputs" of a model that takes no picture.
    """

    pictures: int
    reference: int
    matched: int
    ties: tuple[Located, ...]
    defects: tuple[Located, ...]
    more_ties: int = 0
    more_defects: int = 0
    closest: Closest | None = None
    unit: str = PICTURES

    @classmethod
    def of(cls, outcome: Outcome, unit: str = PICTURES) -> Self:
        """The outcome with at most SHOWN_FINDINGS ties and as many defects."""
        return cls(
            outcome.pictures,
            outcome.reference,
            outcome.matched,
            outcome.ties[:SHOWN_FINDINGS],
            outcome.defects[:SHOWN_FINDINGS],
            len(outcome.ties[SHOWN_FINDINGS:]),
            len(outcome.defects[SHOWN_FINDINGS:]) + outcome.more_defects,
            outcome.closest,
            unit,
        )

    @property
    def counted(self) -> str:
        """On how many pictures or inputs the decisions were taken, in words: "12 pictures"."""
        return f"{self.pictures} {self.unit}"

    @property
    def tie_count(self) -> int:
        """How many ties there are, those that are not spelled out included."""
        return len(self.ties) + self.more_ties

    @property
    def defect_count(self) -> int:
        """How many defects there are, those that are not spelled out included."""
        return len(self.defects) + self.more_defects

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "pictures": self.pictures,
            "unit": self.unit,
            "reference": self.reference,
            "matched": self.matched,
            "ties": self.tie_count,
            "defects": self.defect_count,
            "closest": None if self.closest is None else asdict(self.closest),
            "findings": {
                "ties": [located.to_json() for located in self.ties],
                "defects": [located.to_json() for located in self.defects],
            },
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of ``to_json``."""
        ties, defects = (
            tuple(map(Located.from_json, value["findings"][kind])) for kind in ("ties", "defects")
        )
        return cls(
            value["pictures"],
            value["reference"],
            value["matched"],
            ties,
            defects,
            value["ties"] - len(ties),
            value["defects"] - len(defects),
            None if value.get("closest") is None else Closest(**value["closest"]),
            value.get("unit", PICTURES),
        )


@dataclass(frozen=True, slots=True)
class Failure:
    """A case on which the candidate did not answer, or answered in another form."""

    case: str
    reason: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What one candidate leg did.

    ``fields`` are measured on all cases but the inputs of one value, whose errors are in
    ``constant_fields``. ``all_rows`` are the decisions of a graph that ends in NMS on every row that it
    returns; it is None for other graphs. Of ``rows`` returned rows ``held_back`` were not measured: the
    reference has no counterpart, as where an earlier decision came out otherwise. ``repeated`` names the
    cases that were measured again, on inputs next to their own. ``oracle_missing`` has the fields without a
    float64 value, and for each the reason. ``reference`` and ``oracle`` are the names of the legs that the
    candidate was compared with.

    ``disorder`` has the cases whose rows are not in the order that the contract states. It is None if the
    contract states none.

    Three are of a graph in float64 alone. ``rounding`` has, by field, the largest difference that rounding
    alone makes, where that was measured, and ``rounding_constant`` the same on inputs of one value.
    ``beyond`` has the outputs that were not evaluated, and for each the reason.
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
    oracle_missing: Mapping[str, str]
    held_back: int = 0
    rows: int = 0
    repeated: tuple[str, ...] = ()
    all_rows: Decisions | None = None
    constant_fields: tuple[Measurement, ...] = ()
    reference: str = "torch-float32"
    oracle: str = "torch-float64"
    disorder: tuple[Failure, ...] | None = None
    rounding: Mapping[str, float] = field(default_factory=dict)
    rounding_constant: Mapping[str, float] = field(default_factory=dict)
    beyond: Mapping[str, str] = field(default_factory=dict)

    @property
    def yardstick(self) -> str:
        """What errors are divided by, in words: PyTorch's float32 error, say."""
        dtype = self.reference.removeprefix("torch-") if self.reference.startswith("torch-") else "float32"
        return f"{self.witness}'s {dtype} error"

    def unit_of(self, measured: Measurement) -> str:
        """What the errors of a field are divided by, in words.

        A model in float64 is its own truth: its errors are those of float32's rounding.
        """
        if self.reference == self.oracle and measured.floored:
            return FLOAT32_ROUNDING
        return self.yardstick

    @property
    def witness(self) -> str:
        """What the file is compared with, in a word."""
        return "PyTorch" if self.reference.startswith("torch") else self.reference
