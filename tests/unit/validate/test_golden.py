"""Golden cases: what is recorded, as which bytes, and how a leg is judged by them."""

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contracts import contract as made

from onnxproof.contract import Contract, Preprocess
from onnxproof.errors import CheckError, ModelFileError
from onnxproof.runtime.preprocess.lay import as_input
from onnxproof.tensors import Dim, Field, TensorSpec
from onnxproof.validate.cases import Case, materialise
from onnxproof.validate.checks import Check
from onnxproof.validate.golden.checks import inputs_check
from onnxproof.validate.golden.choose import MOST_CASES, chosen, record
from onnxproof.validate.golden.file import about, fitting, pack, unpack
from onnxproof.validate.golden.golden import About, Floor, Floors, Golden, GoldenCase, Lowered
from onnxproof.validate.golden.judged import judged
from onnxproof.validate.legs.choices import Choice
from onnxproof.validate.legs.leg import Answer, Arrays, Ports, Truth
from onnxproof.validate.legs.recorded import RecordedLeg
from onnxproof.validate.measure import Extremes
from onnxproof.validate.policy import FLOAT_FLOOR, LoweredFloor
from onnxproof.validate.texts import Text
from onnxproof.validate.trial import Plan, Settings
from onnxproof.validate.verdict import conclude

BATCH, HEIGHT, WIDTH = Dim("batch", 1, 4), Dim("height", 8, 64, 8), Dim("width", 8, 64, 8)
PLENTY = 10**6

PLAIN = made(
    inputs=(TensorSpec("x", "float32", ("batch", 4), (0, 1)),),
    outputs=(TensorSpec("y", "float32", ("batch", 4)),),
    dims=(BATCH,),
    fields=(Field("y", "value", "m"),),
)
PICTURES = made(
    inputs=(TensorSpec("image", "float32", ("batch", 3, "height", "width"), (0, 1)),),
    outputs=(TensorSpec("y", "float32", ("batch", 4)),),
    dims=(BATCH, HEIGHT, WIDTH),
    fields=(Field("y", "value", "m"),),
    preprocess=Preprocess("image", "NCHW", "float32", 255, "stretch", 8, HEIGHT, WIDTH),
)
ABOUT = About("a" * 64, "b" * 64, "pass", {"function": "pass"}, {"numpy": "2"}, ("CPU",), "R", "O", {})
NOTHING = Floors({}, {}, {})
ERROR = 1e-6
"""Of the reference, m."""


def answer(inputs: Arrays, error: float = 0.0, dtype: str = "float64") -> Answer:
    """What the model computes, m: the sums of its inputs, each number off by ``error`` or by its opposite."""
    rows = next(iter(inputs.values())).astype(np.float64).reshape(len(next(iter(inputs.values()))), -1)
    exact = rows[:, :4] + rows.sum(axis=1, keepdims=True)
    return Answer({"y": (exact + error * np.where(np.arange(4) % 2, 1, -1)).astype(dtype)}, {})


def golden(contract: Contract, *cases: GoldenCase, floors: Floors = NOTHING, **changes: Any) -> Golden:
    return Golden(replace(ABOUT, **changes), floors, cases)


def noise(name: str, contract: Contract = PLAIN, **sizes: int) -> GoldenCase:
    case = Case(name, sizes, "noise", 7)
    inputs = materialise(case, contract.inputs, contract.preprocess)
    return GoldenCase(case, inputs, answer(inputs, ERROR, "float32"), answer(inputs))


def picture(pixels: np.ndarray[Any, Any], name: str = "one.png") -> GoldenCase:
    spec = PICTURES.preprocess
    assert spec is not None
    inputs = {"image": as_input(pixels, spec)[None]}
    case = Case(name, {"batch": 1, "height": 8, "width": 8}, "picture", 0, Path(name), native=True)
    return GoldenCase(case, inputs, answer(inputs, ERROR, "float32"), answer(inputs))


def packed(found: Golden, contract: Contract = PLAIN, budget: int = PLENTY) -> bytes:
    """The file of the cases that fit."""
    cases = fitting(found, contract, budget)
    assert cases
    return pack(replace(found, cases=cases), contract)


def same(one: Arrays, other: Arrays) -> bool:
    return [*one] == [*other] and all(
        one[name].dtype == other[name].dtype and np.array_equal(one[name], other[name], equal_nan=True)
        for name in one
    )


def leg_of(found: Golden, contract: Contract, run: Callable[[Arrays], Answer]) -> RecordedLeg:
    return RecordedLeg.of(
        "ort-cpu", Ports.of(contract), ((one.inputs, run(one.inputs)) for one in found.cases)
    )


@pytest.mark.parametrize("rounded", [True, False])
def test_what_is_packed_is_unpacked(*, rounded: bool) -> None:
    seeded = noise("2", batch=2)
    rows = np.zeros((2, 1), int)
    choice = Choice(np.ones((2, 3)), rows, rows + 1, np.eye(3)[:2], distinct=True, rounded=rounded)
    nan = Answer({"y": np.full((2, 4), np.nan, np.float32)}, {"gap": np.arange(3.0)}, {"y": choice})
    given = golden(PLAIN, replace(seeded, reference=nan), floors=Floors({"value": Floor(1, 2, 3)}, {}, {}))
    found = unpack(packed(given), PLAIN, "golden.npz")
    assert (found.about, found.floors) == (given.about, given.floors)
    (one,) = found.cases
    assert (one.case, one.changed) == (seeded.case, ())
    assert same(one.inputs, seeded.inputs)
    assert one.oracle is not None
    assert seeded.oracle is not None
    assert same(one.oracle.outputs, seeded.oracle.outputs)
    assert same(one.reference.outputs, nan.outputs)
    assert same(one.reference.margins, nan.margins)
    kept = one.reference.choices["y"]
    assert (kept.distinct, kept.rounded) == (True, rounded)
    assert np.array_equal(kept.values, choice.values)


@pytest.mark.parametrize(
    "more",
    [
        {"full": True},
        {"gaps": ("left", "both")},
        {"ids": {"ids": (0, 7)}},
        {"ids": {"ids": (7,)}, "text": Text(0, (8, 9)), "full": True, "gaps": ("holes",)},
        {"ids": {"ids": (7,)}, "text": Text(None)},
    ],
)
def test_a_case_of_text_is_packed_with_all_that_its_arrays_are_made_from(more: Mapping[str, Any]) -> None:
    steps = ("batch", "time")
    inputs = (TensorSpec("ids", "int64", steps, (0, 9)), TensorSpec("mask", "int64", steps, mask=True))
    contract = replace(PLAIN, inputs=inputs, dims=(Dim("batch", 1, 4), Dim("time", 1, 8)))
    case = Case("4x8", {"batch": 4, "time": 8}, "noise", 7, **more)
    arrays = materialise(case, contract.inputs, None)
    told = Answer({"y": np.zeros((4, 4))}, {})
    given = golden(contract, GoldenCase(case, arrays, told, told))
    (found,) = unpack(packed(given, contract), contract, "golden.npz").cases
    assert (found.case, found.changed) == (case, ())
    assert same(found.inputs, arrays)


def test_the_same_cases_give_the_same_bytes_and_numpy_opens_them() -> None:
    given = golden(PLAIN, noise("1", batch=1))
    content = packed(given)
    assert content == packed(given)
    with np.load(io.BytesIO(content)) as archive:
        assert json.loads(archive["index.json"])["format"] == 1
        assert archive["00-00"].shape == (1, 4)


def test_inputs_from_a_seed_are_not_held() -> None:
    content = packed(golden(PICTURES, noise("n", PICTURES, batch=4, height=64, width=64)), PICTURES)
    assert len(content) < 3000 < 4 * 3 * 64 * 64


def test_a_picture_is_held_as_its_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    given = golden(PICTURES, picture(pixels))
    content = packed(given, PICTURES)
    with np.load(io.BytesIO(content)) as archive:
        assert np.array_equal(archive["00-00"][0], pixels)
    (found,) = unpack(content, PICTURES, "golden.npz").cases
    assert same(found.inputs, given.cases[0].inputs)
    assert found.changed == ()


def test_a_picture_that_is_no_whole_pixels_is_held_as_it_is() -> None:
    one = picture(np.zeros((8, 8, 3), np.uint8))
    given = golden(PICTURES, replace(one, inputs={"image": one.inputs["image"] + np.float32(0.001)}))
    (found,) = unpack(packed(given, PICTURES), PICTURES, "golden.npz").cases
    assert same(found.inputs, given.cases[0].inputs)


def test_cases_that_do_not_fit_are_left_out() -> None:
    cases = [noise("large", batch=4), noise("small", batch=1)]
    small = len(packed(golden(PLAIN, cases[1])))
    assert [one.case.name for one in unpacked(packed(golden(PLAIN, *cases)))] == ["large", "small"]
    for budget in range(small, 2 * small, 100):
        if fitting(golden(PLAIN, *cases), PLAIN, budget):
            assert len(packed(golden(PLAIN, *cases), budget=budget)) <= budget
    assert fitting(golden(PLAIN, *cases), PLAIN, 500) == ()
    heavy = replace(cases[0], oracle=Answer({"y": np.random.default_rng(0).random((4, 4))}, {"m": wide()}))
    kept = unpacked(packed(golden(PLAIN, heavy, cases[1]), budget=30_000))
    assert [one.case.name for one in kept] == ["small"]


def wide() -> np.ndarray[Any, Any]:
    return np.random.default_rng(1).random(10_000)


def unpacked(content: bytes) -> tuple[GoldenCase, ...]:
    return unpack(content, PLAIN, "golden.npz").cases


def edited(content: bytes, change: Callable[[dict[str, Any]], object], **members: bytes) -> bytes:
    """The file with a change of its index, and with members replaced."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(stream, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "index.json":
                index = json.loads(data)
                change(index)
                data = json.dumps(index).encode()
            new.writestr(name, members.get(name.removesuffix(".npy").replace("-", "_"), data))
    return stream.getvalue()


def objects() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([{}], object), allow_pickle=True)
    return stream.getvalue()


def header(text: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    ("change", "members", "says"),
    [
        pytest.param(lambda index: index.update(format=2), {}, "its format is 2, expected 1", id="newer"),
        pytest.param(lambda index: index.pop("floors"), {}, "lacks the key 'floors'", id="key"),
        pytest.param(lambda index: index.update(verdict="fine"), {}, "expected one of pass", id="status"),
        pytest.param(lambda index: index["cases"].clear(), {}, "cases of different names", id="no-case"),
        pytest.param(
            lambda index: index["cases"].append(index["cases"][0]), {}, "of different names", id="twice"
        ),
        pytest.param(
            lambda index: index["cases"][0]["sizes"].update(batch=2**30), {}, "elements", id="huge-input"
        ),
        pytest.param(lambda index: index["cases"][0]["sizes"].clear(), {}, "a size of batch", id="size"),
        pytest.param(
            lambda index: index["cases"][0]["inputs"].update(z={}), {}, "the unknown key", id="input"
        ),
        pytest.param(
            lambda index: index["cases"][0]["reference"]["outputs"].clear(), {}, "lacks the key", id="output"
        ),
        pytest.param(
            lambda index: index["cases"][0]["reference"]["outputs"].update(y="9"), {}, "'9'", id="no-array"
        ),
        pytest.param(lambda index: None, {"00_00": objects()}, "cannot be read", id="pickle"),
        pytest.param(lambda index: None, {"00_00": b"\x93NUMPY"}, "cannot be read", id="half"),
        pytest.param(
            lambda index: None,
            {"00_00": header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999999,)}\n")},
            "cannot be read",
            id="claims-terabytes",
        ),
        pytest.param(
            lambda index: None,
            {"00_00": header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}\n") + bytes(4)},
            "y with 2 axes",
            id="rank",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_refused(
    change: Callable[[dict[str, Any]], object], members: Mapping[str, bytes], says: str
) -> None:
    content = packed(golden(PLAIN, noise("1", batch=1)))
    with pytest.raises(ModelFileError, match=r"golden\.npz") as refused:
        unpack(edited(content, change, **members), PLAIN, "golden.npz")
    assert says in str(refused.value)


def test_half_a_file_is_refused() -> None:
    content = packed(golden(PLAIN, noise("1", batch=1)))
    for broken in (b"", content[: len(content) // 2]):
        with pytest.raises(ModelFileError, match="cannot be read"):
            about(broken, "golden.npz")


def test_a_seed_that_gives_other_numbers_is_an_error() -> None:
    cases = [noise("1", batch=1), noise("2", batch=2)]
    content = packed(golden(PLAIN, *cases))
    reseeded = edited(content, lambda index: index["cases"][1].update(seed=8))
    found = unpack(reseeded, PLAIN, "golden.npz")
    assert [one.changed for one in found.cases] == [(), ("x",)]
    check = inputs_check(found)
    assert check.status == "error"
    assert "1 of 2 golden cases cannot be made anew, first 2" in check.reason
    one = judged(found, PLAIN, leg_of(golden(PLAIN, cases[0]), PLAIN, healthy))
    facts, checks = one.facts, one.checks
    assert facts.cases == 1
    assert {one.status for one in checks} == {"pass"}


def healthy(inputs: Arrays) -> Answer:
    return answer(inputs, -ERROR, "float32")


def statuses(run: Callable[[Arrays], Answer], found: Golden) -> dict[str, str]:
    checks = judged(found, PLAIN, leg_of(found, PLAIN, run)).checks
    return {check.name: check.status for check in checks}


def test_a_leg_that_errs_as_pytorch_passes_and_others_fail() -> None:
    found = golden(PLAIN, noise("1", batch=1), noise("3", batch=3))
    assert set(statuses(healthy, found).values()) == {"pass"}
    assert statuses(lambda inputs: answer(inputs, 1e-3, "float32"), found)["ratio_rms"] == "fail"
    assert statuses(lambda inputs: answer(inputs, np.nan, "float32"), found)["finite"] == "fail"
    assert statuses(lambda inputs: answer(inputs, 0.0, "float64"), found)["shapes"] == "fail"
    assert statuses(lambda inputs: Answer({}, {}), found)["shapes"] == "fail"


def test_errors_are_divided_by_those_on_all_cases_of_the_verdict() -> None:
    """PyTorch may be lucky on a few cases: then what it erred on all others is the yardstick."""
    one = noise("1", batch=1)
    lucky = golden(PLAIN, replace(one, reference=answer(one.inputs, 0.0, "float32")))
    all_cases = replace(lucky, floors=Floors({"value": Floor(2e-5, 4e-5, 10.0)}, {}, {}))

    def rms(error: float, found: Golden) -> str:
        return statuses(lambda inputs: answer(inputs, error, "float32"), found)["ratio_rms"]

    assert (rms(3e-5, lucky), rms(3e-5, all_cases), rms(3e-4, all_cases)) == ("fail", "pass", "fail")


def test_a_field_of_few_values_has_a_wider_limit_and_says_so() -> None:
    """Three values of noise may err three times as much by luck; damage errs far more."""
    one = noise("1", batch=1)
    found = golden(PLAIN, replace(one, reference=answer(one.inputs, 1e-5, "float32")))
    known = {"value": Floor(1e-5, 2e-5, 1.0, 1000)}

    def rms(error: float) -> Check:
        told = replace(found, floors=Floors(known, {}, {}))
        leg = RecordedLeg.of("host", Ports.of(PLAIN), [(one.inputs, answer(one.inputs, error, "float32"))])
        checks = judged(told, PLAIN, leg).checks
        return next(check for check in checks if check.name == "ratio_rms")

    count = one.reference.outputs["y"].size
    assert count < 10
    lucky, damaged = rms(3.2e-5), rms(1e-3)
    assert (lucky.status, damaged.status) == ("pass", "fail")
    assert lucky.value is not None
    assert lucky.value > 2.7
    assert f"the limit is 2.7, and {lucky.limit:.3g} over {count} values" in lucky.reason


def test_how_many_values_a_floor_is_of_may_be_left_out() -> None:
    found = golden(PLAIN, noise("1", batch=1), floors=Floors({"value": Floor(1, 2, 3, 40)}, {}, {}))
    kept = unpack(packed(found), PLAIN, "golden.npz")
    assert kept.floors == found.floors

    def without(index: Any) -> None:
        del index["floors"]["fields"]["value"]["count"]

    older = unpack(edited(packed(found), without), PLAIN, "golden.npz")
    assert older.floors.fields["value"].count == 0


def test_without_an_oracle_a_fixed_tolerance_holds() -> None:
    one = replace(noise("1", batch=1), oracle=None)
    found = golden(PLAIN, one, oracle=None, oracle_missing={"y": "no float64"})
    found = unpack(packed(found), PLAIN, "golden.npz")
    assert statuses(healthy, found)["max_error"] == "pass"
    assert statuses(lambda inputs: answer(inputs, 0.1, "float32"), found)["max_error"] == "fail"


def test_a_leg_refuses_inputs_that_it_has_no_answer_to() -> None:
    one = noise("1", batch=1)
    leg = RecordedLeg.of("torch-float32", Ports.of(PLAIN), [(one.inputs, one.reference)])
    assert leg.run({"x": one.inputs["x"].copy()}) is one.reference
    with pytest.raises(
        CheckError, match=r"no answer of torch-float32 is recorded for these inputs \(x float32"
    ):
        leg.run({"x": np.nextafter(one.inputs["x"], np.float32(1))})


def case(name: str, content: Any, batch: int, height: int, *, native: bool = False) -> Case:
    place = Path(name) if content == "picture" else None
    return Case(name, {"batch": batch, "height": height}, content, 0, place, native=native)


def test_what_is_chosen_has_a_picture_and_the_ends_of_each_dim() -> None:
    cases = [
        case("black", "black", 1, 8),
        case("both-ends", "noise", 4, 64),
        case("low-high", "noise", 1, 64),
        case("high-low", "noise", 4, 8),
        *(case(f"middle-{at}", "noise", 2, 16 + 4 * at) for at in range(9)),
        case("nothing.png", "picture", 1, 16, native=True),
        case("objects.png", "picture", 1, 16, native=True),
    ]
    decided = {one.name: 3 * (one.name == "objects.png") for one in cases}
    names = [one.name for one in chosen(cases, (BATCH, Dim("height", 8, 64, 8)), decided)]
    assert names[0] == "objects.png"
    assert set(names[1:3]) == {"low-high", "high-low"}
    assert names[3] == "nothing.png"
    assert len(names) == MOST_CASES
    assert {"black", "both-ends"}.isdisjoint(names)


def recorded(rough: Mapping[str, float], *, held: bool = True) -> Golden:
    """What is recorded of a plan of ten cases of noise; on one of them the reference errs more."""
    cases = [noise(f"{at}", batch=1 + at % 4) for at in range(10)]
    cases = [replace(one, case=replace(one.case, seed=at)) for at, one in enumerate(cases)]
    cases = [replace(one, inputs=materialise(one.case, PLAIN.inputs, None)) for one in cases]
    errors = [1e-3] * 9 + [1e-2]
    exact = ((one.inputs, answer(one.inputs)) for one in cases)
    own = (
        (one.inputs, answer(one.inputs, error, "float32")) for one, error in zip(cases, errors, strict=True)
    )
    oracle, reference = (RecordedLeg.of("torch", Ports.of(PLAIN), answers) for answers in (exact, own))
    plan = Plan(PLAIN, Settings(), tuple(one.case for one in cases), None, FLOAT_FLOOR)
    return record(plan, Truth(oracle, reference), ABOUT, rough, lambda inputs: held)


def test_what_is_recorded_are_a_few_cases_and_the_errors_on_all() -> None:
    found = recorded({})
    assert len(found.cases) == MOST_CASES
    assert {one.case.sizes["batch"] for one in found.cases} >= {1, 4}
    floor = found.floors.fields["value"]
    assert floor.max == pytest.approx(1e-2, rel=1e-2)
    rows = [1 + at % 4 for at in range(10)]
    expected = (1e-6 * sum(rows[:9]) + 1e-4 * rows[9]) / sum(rows)
    assert floor.rms == pytest.approx(expected**0.5, rel=1e-2)
    assert statuses(lambda inputs: answer(inputs, 1e-3, "float32"), found)["ratio_rms"] == "pass"


def test_a_field_that_the_runtime_computes_roughly_has_a_floor_of_its_own() -> None:
    usual, rough = (recorded(factors).floors.fields["value"] for factors in ({}, {"value": 7.0}))
    assert (rough.rms, rough.max, rough.scale) == (7 * usual.rms, 7 * usual.max, usual.scale)
    assert recorded({"value": np.inf}).floors.fields == {}


def test_nothing_is_run_again_to_record() -> None:
    assert recorded({}, held=False).cases == ()


def test_a_model_of_fixed_sizes_has_its_smallest_noise() -> None:
    cases = [case("one", "noise", 1, 8), case("two", "noise", 2, 8)]
    assert chosen(cases, (Dim("height", 8, 8),), {"one": 0, "two": 0}) == tuple(cases)
    assert chosen((), (BATCH,), {}) == ()


LOWERED = Lowered("int8", 8.0, 0.15)


def test_that_cases_are_of_lower_precision_is_packed_and_told_from_others() -> None:
    given = golden(PLAIN, noise("1", batch=1), lowered=LOWERED)
    found = unpack(packed(given), PLAIN, "golden.npz")
    assert found.about == given.about
    assert found.about.policy.to_json()["yardstick"] == "rounding to the neighbouring step costs"
    plain = unpack(packed(golden(PLAIN, noise("1", batch=1))), PLAIN, "golden.npz")
    assert plain.about.policy == FLOAT_FLOOR


@pytest.mark.parametrize(
    ("error", "status", "apart"),
    [
        pytest.param(0.0, "pass", "0 of 4 values", id="no-step"),
        pytest.param(1.0, "pass", "4 of 4 values", id="a-step-away"),
        pytest.param(30.0, "fail", "4 of 4 values", id="beyond-all-steps"),
        pytest.param(np.nan, "fail", "4 of 4 values", id="nan"),
    ],
)
def test_a_leg_of_lower_precision_is_held_to_what_a_step_costs(error: float, status: str, apart: str) -> None:
    floors = Floors({"value": Floor(1.0, 2.0, 4.0)}, {}, {})
    found = golden(PLAIN, noise("1", batch=1), floors=floors, lowered=LOWERED)
    leg = leg_of(found, PLAIN, lambda inputs: answer(inputs, error, "float32"))
    one = judged(found, PLAIN, leg)
    assert conclude(one.checks) == status
    assert apart in one.notes[0]


def test_a_decision_is_excused_up_to_the_floor_of_both_legs() -> None:
    policy = LoweredFloor()
    at = Extremes(max_reference=2.0, max_candidate=1.0, scale_max=4.0)
    assert policy.bound(at, has_oracle=True) == 3.0
    for damaged in (50.0, np.nan):
        assert policy.bound(replace(at, max_candidate=damaged), has_oracle=True) == 4.0
