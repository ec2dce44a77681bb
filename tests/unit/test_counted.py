"""Steps behind a padding mask: left out of every measurement; damage at the others is found."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pytest
from contracts import contract
from numpy.typing import NDArray

from onnxproof.contract import Contract
from onnxproof.counted import counted, likely_masks, not_compared
from onnxproof.runtime.port import Port
from onnxproof.tensors import Dim, Field, TensorSpec
from onnxproof.validate.cases import Case
from onnxproof.validate.facts import Facts
from onnxproof.validate.judge import judge, ranks_of
from onnxproof.validate.legs.leg import Answer, Arrays, Ports, Truth
from onnxproof.validate.sweep import sweep
from onnxproof.validate.trial import Trial
from onnxproof.validate.verdict import conclude

BATCH, TIME, CLASSES = 3, 6, 4
SIZES = {"batch": BATCH, "time": TIME}
MASK = TensorSpec.parse("mask", "int64[batch, time] as mask")
X = TensorSpec.parse("x", "float32[batch, time, 4] in -1..1")
DIMS = (Dim("batch", 1, 8), Dim("time", 1, 8))
LENGTHS = np.array([6, 1, 3])
STEPS = np.arange(TIME) < LENGTHS[:, None]


def made(output: str, *masks: str, **parts: Any) -> Contract:
    outputs = (TensorSpec.parse("output", output),)
    kind: Literal["continuous", "label"] = "continuous" if output.startswith("float") else "label"
    inputs = (X, *(TensorSpec.parse(f"mask_{i}", text) for i, text in enumerate(masks)))
    parts = {"fields": (Field("output", "output", "", kind=kind),), "dims": DIMS, **parts}
    return contract(inputs=inputs, outputs=outputs, **parts)


def kept(given: Contract, masks: list[NDArray[Any]], shape: tuple[int, ...]) -> NDArray[np.bool_] | None:
    inputs = {"x": np.zeros((BATCH, TIME, 4)), **{f"mask_{i}": mask for i, mask in enumerate(masks)}}
    found = counted(given, inputs, {"output": np.zeros(shape)}).get("output")
    return None if found is None else np.broadcast_to(found, shape)


@pytest.mark.parametrize(
    ("output", "shape", "expected"),
    [
        pytest.param("float32[batch, time, 7]", (3, 6, 7), STEPS[..., None], id="logits"),
        pytest.param("int64[batch, time]", (3, 6), STEPS, id="classes"),
        pytest.param("float32[time, batch, 7]", (6, 3, 7), STEPS.T[..., None], id="time-first"),
        pytest.param("float32[batch, 2, time, time]", (3, 2, 6, 6), STEPS[:, None, :, None], id="attention"),
        pytest.param("float32[batch, 7]", (3, 7), None, id="no-time"),
        pytest.param("float32[time, 7]", (6, 7), None, id="no-batch"),
    ],
)
def test_the_masks_steps_are_found_by_the_names_of_axes(
    output: str, shape: tuple[int, ...], expected: NDArray[np.bool_] | None
) -> None:
    found = kept(made(output, "int64[batch, time] as mask"), [STEPS.astype(np.int64)], shape)
    if expected is None:
        assert found is None
    else:
        assert found is not None
        np.testing.assert_array_equal(found, np.broadcast_to(expected, shape))


def test_two_masks_of_the_same_axes_keep_what_either_keeps() -> None:
    other = np.arange(TIME) < np.array([2, 4, 3])[:, None]
    given = made("float32[batch, time, 7]", "int64[batch, time] as mask", "bool[batch, time] as mask")
    found = kept(given, [STEPS.astype(np.int64), other], (BATCH, TIME, 7))
    assert found is not None
    np.testing.assert_array_equal(found[..., 0], STEPS | other)


def test_masks_along_different_axes_keep_what_both_keep() -> None:
    query = np.arange(4) < np.array([2, 4, 3])[:, None]
    given = made(
        "float32[batch, words, time]",
        "int64[batch, time] as mask",
        "int64[batch, words] as mask",
        dims=(*DIMS, Dim("words", 1, 4)),
    )
    found = kept(given, [STEPS, query], (BATCH, 4, TIME))
    assert found is not None
    np.testing.assert_array_equal(found, query[:, :, None] & STEPS[:, None, :])


def test_an_input_that_is_no_mask_hides_nothing() -> None:
    assert kept(made("float32[batch, time, 7]", "int64[batch, time] in 0..1"), [STEPS], (3, 6, 7)) is None


def test_a_note_names_output_and_mask() -> None:
    (note,) = not_compared(made("float32[batch, time, 7]", "int64[batch, time] as mask"))
    assert note.startswith("output is not compared at steps that mask_0 drops")
    assert not list(not_compared(made("float32[batch, 7]", "int64[batch, time] as mask")))


@pytest.mark.parametrize("text", ["int64[batch, time]", "float32[batch, time] in 0..1"])
def test_an_input_that_is_named_as_a_mask_gets_a_note(text: str) -> None:
    (note,) = likely_masks(made("float32[batch, time, 7]", text))
    assert note.startswith("mask_0 is drawn as any zeros and ones")
    assert f'write "{text.partition(" in ")[0]} as mask"' in note


@pytest.mark.parametrize(
    "text",
    ["int64[batch, time] as mask", "float32[batch, time] in -9..0", "float32[batch, 7]", "float32[batch]"],
    ids=["a-mask", "a-bias", "of-one-length", "a-number-a-row"],
)
def test_an_input_that_is_none_gets_none(text: str) -> None:
    assert not list(likely_masks(made("float32[batch, time, 7]", text)))


@dataclass(frozen=True)
class Model:
    """A leg that returns x with noise. Behind the mask it returns ``behind``; elsewhere it adds ``damage`` to
    one element of the last step that counts."""

    contract: Contract
    name: str
    noise: float = 0.0
    behind: float = 0.0
    damage: float = 0.0

    @property
    def ports(self) -> Ports:
        specs = (self.contract.inputs, self.contract.outputs)
        inputs, outputs = (tuple(Port(one.name, one.dtype, one.shape) for one in group) for group in specs)
        return Ports(inputs, outputs)

    def run(self, inputs: Arrays) -> Answer:
        x, lengths = inputs["x"].astype(np.float64), np.maximum((inputs["mask_0"] != 0).sum(axis=1), 1)
        mask = np.arange(TIME) < lengths[:, None]
        values = x + self.noise * np.random.default_rng(len(self.name)).normal(size=x.shape)
        values[0, lengths[0] - 1, 0] += self.damage
        values[~mask] = self.behind
        names = [spec.name for spec in self.contract.outputs]
        if len(names) == 2:
            return Answer({"output": values, "lengths": lengths}, {})
        integers = self.contract.outputs[0].dtype == "int64"
        return Answer({"output": values.argmax(-1) if integers else values}, {})


def swept(given: Contract, **candidate: float) -> Facts:
    legs = Model(given, "torch-float64"), Model(given, "torch-reference", noise=1e-6, behind=0.3)
    tried = Model(given, "candidate", **{"noise": 1e-6, **candidate})
    cases = tuple(Case(f"{seed}", SIZES, "noise", seed) for seed in range(4))
    (facts,) = sweep(Trial(given, Truth(*legs), (tried,), cases))
    return facts


RAW = made("float32[batch, time, 4]", "int64[batch, time] as mask")
IN_STEPS = contract(
    task="sequence",
    inputs=(X, TensorSpec.parse("mask_0", "int64[batch, time]")),
    outputs=(
        TensorSpec.parse("output", "float32[batch, time, 4]"),
        TensorSpec.parse("lengths", "int64[batch]"),
    ),
    dims=DIMS,
    fields=(Field("output", "logit", ""), Field("lengths", "length", "steps", kind="label")),
    postprocess={"decode": "none", "outputs": ["output", "lengths"], "blank": None},
)
"""Here it is the module's own lengths that say how many steps count."""


@pytest.mark.parametrize("given", [RAW, IN_STEPS], ids=["raw", "sequence"])
@pytest.mark.parametrize(
    ("candidate", "status"),
    [
        pytest.param({}, "pass", id="zeros"),
        pytest.param({"behind": 1e6}, "pass", id="large-numbers"),
        pytest.param({"behind": np.nan}, "pass", id="nan"),
        pytest.param({"damage": 1e-3}, "fail", id="damage-at-a-step-that-counts"),
        pytest.param({"damage": np.nan}, "fail", id="nan-at-a-step-that-counts"),
        pytest.param({"damage": 1e-3, "behind": 1e6}, "fail", id="both"),
    ],
)
def test_only_steps_that_count_are_judged(given: Contract, candidate: dict[str, float], status: str) -> None:
    facts = swept(given, **candidate)
    assert conclude(judge(facts, ranks_of(given.fields))) == status
    counted_values = facts.fields[0].count
    assert 0 < counted_values < 4 * BATCH * TIME * CLASSES


def test_classes_behind_the_mask_do_not_flip() -> None:
    given = made("int64[batch, time]", "int64[batch, time] as mask")
    facts = swept(given, behind=np.nan, noise=0.0)
    assert conclude(judge(facts, ranks_of(given.fields))) == "pass"
    facts = swept(given, damage=5.0, noise=0.0)
    assert conclude(judge(facts, ranks_of(given.fields))) == "fail"
