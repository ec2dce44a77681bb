"""What fails by a few numbers is looked at again, on inputs next to its own: luck goes, damage stays."""

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from contracts import contract

from onnxproof.contract import Preprocess
from onnxproof.runtime.port import Port
from onnxproof.seeded import FLOAT32_EPSILON
from onnxproof.tensors import Dim, Field, TensorSpec
from onnxproof.validate.cases import Case, materialise
from onnxproof.validate.facts import Facts
from onnxproof.validate.judge import doubtful, judge
from onnxproof.validate.legs.leg import Answer, Arrays, Ports, Truth
from onnxproof.validate.measure import ErrorPool
from onnxproof.validate.policy import BEYOND_DOUBT, FEW, RATIO_RMS, REPEATS
from onnxproof.validate.sweep import sweep
from onnxproof.validate.trial import Trial

SPEC = TensorSpec("x", "float32", ("batch", 4), (0.0, 1.0))
OUT = TensorSpec("y", "float32", ("batch", 4))
NOISE = 1e-5
"""Of the legs below, far above a rounding."""


CONTRACT = contract(
    task="raw",
    inputs=(SPEC,),
    outputs=(OUT,),
    dims=(Dim("batch", 1, 4),),
    fields=(Field("y", "y", ""),),
    preprocess=None,
    classes=(),
    postprocess={},
)


@dataclass
class NoisyLeg:
    """x + 1 with noise that depends on the last bits of x, ``damage`` of it in one direction.

    ``lucky`` scales the noise of what is not moved: the first run of a case, and not those beside it.
    """

    name: str
    noise: float
    damage: float = 0.0
    lucky: float = 1.0
    runs: int = 0
    known: dict[bytes, None] = field(default_factory=dict)

    @property
    def ports(self) -> Ports:
        inputs, outputs = (Port(spec.name, spec.dtype, spec.shape) for spec in (SPEC, OUT))
        return Ports((inputs,), (outputs,))

    def run(self, inputs: Arrays) -> Answer:
        self.runs += 1
        x = inputs["x"].astype(np.float64)
        random = np.random.default_rng([*inputs["x"].tobytes(), len(self.name)])
        first = self.runs <= len(CASES)
        noise = random.normal(size=x.shape) * self.noise * (self.lucky if first else 1.0)
        return Answer({"y": x + 1 + noise + self.damage}, {})


CASES = tuple(Case(f"{batch}-noise", {"batch": batch}, "noise", batch) for batch in (1, 2))


def facts_of(candidate: NoisyLeg, reference: NoisyLeg) -> Facts:
    truth = Truth(NoisyLeg("oracle", 0.0), reference)
    (facts,) = sweep(Trial(CONTRACT, truth, (candidate,), CASES))
    return facts


def test_a_file_that_passes_is_looked_at_once() -> None:
    candidate = NoisyLeg("candidate", NOISE)
    facts = facts_of(candidate, NoisyLeg("reference", NOISE))
    assert facts.repeated == ()
    assert candidate.runs == len(CASES)


def test_a_reference_that_was_lucky_is_measured_again_and_the_file_passes() -> None:
    candidate = NoisyLeg("candidate", NOISE)
    facts = facts_of(candidate, NoisyLeg("reference", NOISE, lucky=0.05))
    assert facts.repeated
    assert candidate.runs == len(CASES) + len(facts.repeated) * (REPEATS // len(facts.repeated))
    assert {check.status for check in judge(facts, {}) if check.name == "ratio_rms"} == {"pass"}


def test_damage_stays() -> None:
    facts = facts_of(NoisyLeg("candidate", NOISE, damage=5 * NOISE), NoisyLeg("reference", NOISE))
    assert facts.repeated
    (measured,) = facts.fields
    assert measured.ratio_rms == pytest.approx(math.hypot(5, 1), rel=0.3)
    assert {check.status for check in judge(facts, {}) if check.name == "ratio_rms"} == {"fail"}


def test_gross_damage_needs_no_second_look() -> None:
    candidate = NoisyLeg("candidate", NOISE, damage=1.0)
    facts = facts_of(candidate, NoisyLeg("reference", NOISE))
    assert facts.fields[0].ratio_rms > BEYOND_DOUBT
    assert facts.repeated == ()
    assert candidate.runs == len(CASES)


def pooled(errors: dict[str, float]) -> Facts:
    """Facts of one field whose candidate errs by so much in each case, with a reference that hardly errs."""
    pool = ErrorPool("y", "")
    for case, error in errors.items():
        truth = np.ones(4)
        pool.add(case, truth, truth + 1e-6, truth + error)
    return replace(
        facts_of(NoisyLeg("candidate", NOISE), NoisyLeg("reference", NOISE)), fields=(pool.result(),)
    )


def test_the_cases_that_carry_the_error_are_chosen_the_heaviest_first() -> None:
    facts = pooled({"light": 1e-8, "heavy": 1e-5, "half": 8e-6})
    assert facts.fields[0].heaviest == ("heavy", "half")
    assert doubtful(facts, {}) == ("heavy", "half")


def test_a_failure_that_rests_on_many_cases_is_none_of_luck() -> None:
    assert doubtful(pooled({str(case): 1e-5 for case in range(4 * FEW)}), {}) == ()


def test_nan_is_beyond_doubt() -> None:
    facts = pooled({"heavy": 1e-5, "broken": math.nan})
    assert facts.fields[0].nonfinite
    assert facts.fields[0].ratio_rms > RATIO_RMS
    assert doubtful(facts, {}) == ()


def test_a_file_that_does_not_run_somewhere_is_beyond_doubt() -> None:
    facts = replace(pooled({"heavy": 1e-5}), interface=("renamed",))
    assert doubtful(facts, {}) == ()


REPLICA = replace(CASES[1], replica=1)


def test_an_input_next_to_a_cases_own_is_moved_by_a_rounding_and_stays_in_its_range() -> None:
    own, beside, other = (
        materialise(case, (SPEC,), None)["x"] for case in (CASES[1], REPLICA, replace(REPLICA, replica=2))
    )
    assert beside.dtype == np.float32
    assert (own != beside).mean() > 0.9
    assert (beside != other).any()
    assert np.abs(own.astype(np.float64) - beside).max() <= 2 * FLOAT32_EPSILON
    assert beside.min() >= 0
    assert beside.max() <= 1
    np.testing.assert_array_equal(beside, materialise(REPLICA, (SPEC,), None)["x"])


@pytest.mark.parametrize("content", ["black", "saturated"])
def test_a_picture_of_bytes_is_moved_by_one(content: Any) -> None:
    height, width = Dim("height", 8, 64), Dim("width", 8, 64)
    spec = TensorSpec("image", "uint8", ("batch", "height", "width", 3), (0.0, 255.0))
    preprocess = Preprocess("image", "NHWC", "uint8", 1, "stretch", 16, height, width)
    case = Case("x", {"batch": 1, "height": 16, "width": 8}, content, 3, replica=1)
    own, beside = (
        materialise(replace(case, replica=replica), (spec,), preprocess)["image"].astype(int)
        for replica in (0, 1)
    )
    np.testing.assert_array_equal(np.abs(own - beside), 1)


def test_masks_stay_and_numbers_that_name_something_are_drawn_anew() -> None:
    mask = TensorSpec("mask", "int64", ("batch", 8), None, True)
    ids = TensorSpec("ids", "int64", ("batch", 8), (0.0, 999.0))
    own, beside = (materialise(case, (ids, mask), None) for case in (CASES[1], REPLICA))
    np.testing.assert_array_equal(own["mask"], beside["mask"])
    assert (own["ids"] != beside["ids"]).mean() > 0.9
    assert beside["ids"].max() <= 999
