"""An output of which the oracle has no value is held to a fixed tolerance, and all others to float error."""

from dataclasses import dataclass

import numpy as np
import pytest
from contracts import contract

from onnxproof.runtime.port import Port
from onnxproof.tensors import Dim, Field, TensorSpec
from onnxproof.validate.cases import Case
from onnxproof.validate.judge import judge
from onnxproof.validate.legs.leg import Answer, Arrays, Ports, Truth
from onnxproof.validate.policy import FIXED_TOLERANCE
from onnxproof.validate.sweep import sweep
from onnxproof.validate.trial import Trial
from onnxproof.validate.verdict import Check

SPEC = TensorSpec("x", "float32", ("batch", 64), (0.5, 1.0))
SEEN, UNSEEN = (TensorSpec(name, "float32", ("batch", 64)) for name in ("seen", "unseen"))
CONTRACT = contract(
    task="raw",
    inputs=(SPEC,),
    outputs=(SEEN, UNSEEN),
    dims=(Dim("batch", 1, 4),),
    fields=(Field("seen", "seen", ""), Field("unseen", "unseen", "")),
    preprocess=None,
    classes=(),
    postprocess={},
)
CASES = (Case("noise", {"batch": 2}, "noise", 1), Case("black", {"batch": 2}, "black", 2))


@dataclass(frozen=True)
class Scaled:
    """Returns its input twice, each scaled."""

    name: str
    seen: float = 1.0
    unseen: float = 1.0
    dtype: type[np.floating] = np.float32

    @property
    def ports(self) -> Ports:
        given, *returned = (Port(spec.name, spec.dtype, spec.shape) for spec in (SPEC, SEEN, UNSEEN))
        return Ports((given,), tuple(returned))

    def run(self, inputs: Arrays) -> Answer:
        x = inputs["x"].astype(np.float64) + 1e-9
        outputs = {"seen": x * self.seen, "unseen": x * self.unseen}
        return Answer({name: value.astype(self.dtype) for name, value in outputs.items()}, {})


def checks(candidate: Scaled) -> list[Check]:
    # What the oracle itself says of the output that it has no value of is not used: it is ten times off.
    oracle = Scaled("oracle", unseen=10.0, dtype=np.float64)
    truth = Truth(oracle, Scaled("reference"), {"unseen": "TypeError: no float64"})
    (facts,) = sweep(Trial(CONTRACT, truth, (candidate,), CASES))
    return list(judge(facts, {}))


@pytest.mark.parametrize(
    ("candidate", "failed"),
    [
        pytest.param(Scaled("file"), set(), id="healthy"),
        pytest.param(
            Scaled("file", seen=1 + 1e-5), {("ratio_rms", "seen"), ("ratio_max", "seen")}, id="seen"
        ),
        pytest.param(Scaled("file", unseen=1 + FIXED_TOLERANCE / 2), set(), id="within-the-tolerance"),
        pytest.param(
            Scaled("file", unseen=1 + FIXED_TOLERANCE * 2), {("max_error", "unseen")}, id="beyond-it"
        ),
    ],
)
def test_only_the_output_without_a_value_is_held_to_the_tolerance(
    candidate: Scaled, failed: set[tuple[str, str]]
) -> None:
    found = checks(candidate)
    assert failed <= {(check.name, check.field) for check in found if check.status == "fail"}
    assert bool(failed) == any(check.status == "fail" for check in found)
    held = {(check.field, check.name) for check in found if check.field}
    assert {name for field, name in held if field == "unseen"} == {"finite", "max_error"}
    assert ("seen", "max_error") not in held


@pytest.mark.parametrize(
    ("truth", "notes"),
    [
        pytest.param(Truth(Scaled("o"), Scaled("r")), (), id="nothing-missing"),
        pytest.param(
            Truth(None, Scaled("r"), {"a": "no kernel", "b": "no kernel"}),
            ("the model does not run in float64 (no kernel), so a fixed tolerance was used",),
            id="no-oracle",
        ),
        pytest.param(
            Truth(Scaled("o"), Scaled("r"), {"a": "no kernel", "b": "NumPy", "c": "no kernel"}),
            (
                "no float64 value of a, c (no kernel), so a fixed tolerance was used there",
                "no float64 value of b (NumPy), so a fixed tolerance was used there",
            ),
            id="some-outputs",
        ),
    ],
)
def test_the_notes_say_which_outputs_and_why(truth: Truth, notes: tuple[str, ...]) -> None:
    assert truth.notes == notes
