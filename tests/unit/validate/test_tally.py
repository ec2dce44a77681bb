"""Tallies: the order and the place of the work do not matter, and measuring reads no limit."""

import json
import pickle
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from contracts import contract
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from onnxproof.runtime.port import Port
from onnxproof.tensors import Dim, Field, TensorSpec
from onnxproof.validate.cases import Case
from onnxproof.validate.facts import Facts
from onnxproof.validate.judge import judge, ranks_of
from onnxproof.validate.legs.leg import Answer, Arrays, Ports, Truth
from onnxproof.validate.policy import FLOAT_FLOOR, FixedTolerance, FloatFloor, Policy
from onnxproof.validate.sweep import measure, merge, settle, sweep
from onnxproof.validate.tally import Tally
from onnxproof.validate.trial import Trial
from onnxproof.validate.verdict import Verdict, conclude

CLASSES = 5
SPEC = TensorSpec("x", "float32", ("batch", CLASSES), (0.0, 1.0))
OUT = TensorSpec("logits", "float32", ("batch", CLASSES))


CONTRACT = contract(
    task="classification",
    inputs=(SPEC,),
    outputs=(OUT,),
    dims=(Dim("batch", 1, 8),),
    fields=(Field("logits", "logits", "logit"),),
    preprocess=None,
    classes=(),
    postprocess={"decode": "none", "outputs": ["logits"], "top_k": 2},
)


@dataclass(frozen=True)
class Noisy:
    """A leg that returns its input with noise that depends on the input alone; NaN or nothing at times."""

    name: str
    noise: float
    breaks_at: tuple[int, ...] = ()
    nan_at: tuple[int, ...] = ()

    @property
    def ports(self) -> Ports:
        inputs, outputs = (Port(spec.name, spec.dtype, spec.shape) for spec in (SPEC, OUT))
        return Ports((inputs,), (outputs,))

    def run(self, inputs: Arrays) -> Answer:
        x = inputs["x"].astype(np.float64)
        if len(x) in self.breaks_at:
            raise ValueError(f"no memory for {len(x)}")
        seed = [*inputs["x"].tobytes()[:16], *self.name.encode()]
        values = x + self.noise * np.random.default_rng(seed).normal(size=x.shape)
        if len(x) in self.nan_at:
            values[0, 0] = np.nan
        return Answer({"logits": values}, {})


CASES = tuple(
    Case(f"{batch}-{seed}", {"batch": batch}, "noise", seed) for seed in range(4) for batch in (1, 2, 5)
)
CANDIDATES = (
    Noisy("healthy", 1e-6),
    Noisy("rough", 4e-6),
    Noisy("damaged", 1e-2),
    Noisy("broken", 1e-6, breaks_at=(2,), nan_at=(5,)),
)
TRIAL = Trial(CONTRACT, Truth(Noisy("oracle", 0.0), Noisy("reference", 1e-6)), CANDIDATES, CASES)


def document(trial: Trial, facts: Sequence[Facts]) -> str:
    """What is written of the facts, to the byte."""
    checks = [check for one in facts for check in judge(one, ranks_of(trial.contract.fields), trial.policy)]
    verdict = Verdict(conclude(checks), tuple(checks), tuple(facts), trial.cases, (), "", {})
    return json.dumps(verdict.to_json())


def measured(trial: Trial, parts: Sequence[Sequence[Case]]) -> tuple[Tally, ...]:
    """The parts, measured one by one, sent through a pipe and merged in the order given."""
    tallies = [measure(trial.on(*part)) for part in parts if part]
    return merge([pickle.loads(pickle.dumps(part)) for part in tallies])


WHOLE = document(TRIAL, sweep(TRIAL))


@examples(25, derandomize=True)
@given(st.lists(st.integers(0, 2), min_size=len(CASES), max_size=len(CASES)), st.permutations(CASES))
def test_a_sweep_cut_in_parts_and_merged_in_any_order_is_the_same_to_the_byte(
    places: list[int], cases: list[Case]
) -> None:
    parts = [[case for case, place in zip(cases, places, strict=True) if place == part] for part in range(3)]
    assert document(TRIAL, settle(TRIAL, measured(TRIAL, parts))) == WHOLE


def test_merging_commutes_and_associates() -> None:
    a, b, c = CASES[:3], CASES[3:7], CASES[7:]
    left = merge([measured(TRIAL, [a, b]), measured(TRIAL, [c])])
    right = merge([measured(TRIAL, [c]), measured(TRIAL, [b, a])])
    assert document(TRIAL, settle(TRIAL, left)) == document(TRIAL, settle(TRIAL, right)) == WHOLE


def statuses(policy: Policy) -> list[str]:
    trial = Trial(TRIAL.contract, TRIAL.truth, CANDIDATES[:3], CASES, policy)
    found = settle(trial, measured(trial, [CASES]))
    return [conclude(judge(facts, {}, policy)) for facts in found]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        pytest.param(FLOAT_FLOOR, ["pass", "fail", "fail"], id="the-float-floor"),
        pytest.param(FloatFloor(ratio_rms=10, ratio_max=20), ["pass", "pass", "fail"], id="looser-ratios"),
        pytest.param(FixedTolerance(absolute=1.0), ["pass", "pass", "pass"], id="a-wide-tolerance"),
        pytest.param(FixedTolerance(absolute=1e-9, relative=0), ["fail", "fail", "fail"], id="a-narrow-one"),
    ],
)
def test_one_tally_is_judged_by_any_policy(policy: Policy, expected: list[str]) -> None:
    assert statuses(policy) == expected


def test_a_policy_is_told_with_its_limits() -> None:
    assert FixedTolerance(1e-3).to_json() == {"name": "fixed tolerance", "absolute": 1e-3, "relative": 1e-4}
    assert FLOAT_FLOOR.to_json()["ratio_rms"] == FLOAT_FLOOR.ratio_rms
