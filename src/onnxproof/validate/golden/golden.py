"""Golden cases as a value: recorded inputs and answers, and where they come from."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from onnxproof.contract import Contract
from onnxproof.validate.cases import Case
from onnxproof.validate.legs.leg import Answer, Arrays, Leg, Ports, Truth
from onnxproof.validate.legs.recorded import RecordedLeg
from onnxproof.validate.policy import FLOAT_FLOOR, FloatFloor, LoweredFloor, Policy
from onnxproof.validate.trial import Trial

MOST_ELEMENTS = 2**24
"""Elements of the inputs of one case at most. Whoever reads golden cases makes no larger ones."""


@dataclass(frozen=True, slots=True)
class Floor:
    """PyTorch's error of one field, or of one quantity that decisions rest on, over all cases of a verdict.

    ``rms`` and ``max`` are of the error, ``scale`` is the largest value of the oracle. A few cases alone
    would be a poor yardstick: on a picture of nothing PyTorch may err a hundred times less than on one of
    objects. ``count`` is of how many values a field's ``rms`` is; 0 if that is not told.
    """

    rms: float
    max: float
    scale: float
    count: int = 0


@dataclass(frozen=True, slots=True)
class Floors:
    """The floors of a verdict by name: of its fields, of the quantities that decisions rest on, and of those
    that all rows rest on which a graph with NMS returns."""

    fields: Mapping[str, Floor]
    decisions: Mapping[str, Floor]
    rows: Mapping[str, Floor]


@dataclass(frozen=True, slots=True)
class Lowered:
    """That golden cases are of a file of lower precision, of which ``mode``: "int8", "fp16" or "bf16".

    Their oracle is the file's own graph in float64, their reference the leg that the decision budget judged.
    Their floors are what a number costs that is rounded to the neighbouring step. ``box_px`` and ``score``
    are the budget's limits on how far a kept decision may move.
    """

    mode: str
    box_px: float
    score: float


@dataclass(frozen=True, slots=True)
class About:
    """Where golden cases come from.

    ``model_sha256`` is the checksum of the model file in the bundle, ``metadata_sha256`` that of the text
    of onnxproof's metadata in it. ``verdict`` is the status of its verdict, and ``links`` what came of each
    link. ``versions`` are those of the packages that ran it on ``providers``. ``reference`` and ``oracle``
    are the names of PyTorch's legs; ``oracle`` is None if the model does not run in float64.
    ``oracle_missing`` is as in ``Truth``. ``lowered`` is None for a file in float32.
    """

    model_sha256: str
    metadata_sha256: str
    verdict: str
    links: Mapping[str, str]
    versions: Mapping[str, str]
    providers: tuple[str, ...]
    reference: str
    oracle: str | None
    oracle_missing: Mapping[str, str]
    lowered: Lowered | None = None

    @property
    def policy(self) -> FloatFloor:
        """What a leg is judged by on these cases."""
        return FLOAT_FLOOR if self.lowered is None else LoweredFloor(mode=self.lowered.mode)


@dataclass(frozen=True, slots=True, eq=False)
class GoldenCase:
    """A case, its inputs by name, and the answers of PyTorch's legs.

    ``oracle`` is None if the model does not run in float64. ``changed`` names the inputs that were made anew
    from the seed and are not those that were recorded. ``sums`` has the SHA-256 of each input as it was
    recorded (``sha256_of_array``); it is empty before the case is written.
    """

    case: Case
    inputs: Arrays
    reference: Answer
    oracle: Answer | None
    changed: tuple[str, ...] = ()
    sums: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Golden:
    """The golden cases of a bundle."""

    about: About
    floors: Floors
    cases: tuple[GoldenCase, ...]

    def trial(self, contract: Contract, leg: Leg, policy: Policy) -> Trial:
        """The trial of a leg on the cases whose inputs are as they were recorded."""
        cases = [one for one in self.cases if not one.changed]
        ports = Ports.of(contract)
        about = self.about
        reference = RecordedLeg.of(about.reference, ports, ((one.inputs, one.reference) for one in cases))
        oracle = None
        if about.oracle is not None:
            answers = ((one.inputs, one.oracle) for one in cases if one.oracle is not None)
            oracle = RecordedLeg.of(about.oracle, ports, answers)
        return Trial(
            contract,
            Truth(oracle, reference, about.oracle_missing),
            (leg,),
            tuple(one.case for one in cases),
            policy,
            given={one.case.name: one.inputs for one in cases},
        )


def elements_of(case: Case, contract: Contract) -> int:
    """How many elements the inputs of a case have."""
    return sum(math.prod(spec.sized(case.sizes)) for spec in contract.inputs)
