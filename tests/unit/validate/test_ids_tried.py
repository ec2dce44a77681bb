"""Cases in which integers and conditions are all alike, and those that have each number."""

from typing import Any

import numpy as np
import pytest

from onnxproof.contract import Preprocess
from onnxproof.tensors import Dim, TensorSpec
from onnxproof.validate.cases import Case, fewest, materialise, plan
from onnxproof.validate.contents import OF_IDS

BATCH, TIME = Dim("batch", 1, 8), Dim("time", 2, 16)
SIDES = Dim("height", 64, 64), Dim("width", 64, 64)
USER = TensorSpec("user", "int64", ("batch",), (0, 999))
ITEM = TensorSpec("item", "int32", ("batch",), (100, 499))
FLAGS = TensorSpec("flags", "bool", ("batch", 6))
LEVELS = TensorSpec("levels", "float32", ("batch", 4), (-1, 1))
MASK = TensorSpec("mask", "int64", ("batch", "time"), mask=True)
WORDS = TensorSpec("words", "int64", ("batch", "time"), (0, 99))
PICTURE = TensorSpec("image", "uint8", ("batch", "height", "width", 3), (0, 255))
PREPROCESS = Preprocess("image", "NHWC", "uint8", 1, "crop", 64, *SIDES)


def planned(*inputs: TensorSpec, effort: Any = "quick", dims: tuple[Dim, ...] = (BATCH,)) -> list[Case]:
    pictures = PREPROCESS if PICTURE in inputs else None
    return [case for case in plan(dims, pictures, [], effort, 0, inputs=inputs) if case.kind in OF_IDS]


def test_each_input_is_at_its_ends_and_all_are_equal_once() -> None:
    cases = {case.name: case for case in planned(USER, ITEM, FLAGS, LEVELS) if case.kind == "alike"}
    arrays = {name: materialise(case, (USER, ITEM, FLAGS, LEVELS), None) for name, case in cases.items()}
    assert list(arrays) == ["4-lowest-ids", "4-highest-ids", "4-equal-ids", "4-all-false", "4-all-true"]
    lowest, highest, equal, *_ = arrays.values()
    assert [np.unique(lowest[name]).tolist() for name in ("user", "item")] == [[0], [100]]
    assert [np.unique(highest[name]).tolist() for name in ("user", "item")] == [[999], [499]]
    assert np.unique(equal["user"]).tolist() == np.unique(equal["item"]).tolist()
    assert not arrays["4-all-false"]["flags"].any()
    assert arrays["4-all-true"]["flags"].all()
    assert len(np.unique(lowest["levels"])) == lowest["levels"].size, "what is no id is drawn"
    evaluated = fewest(plan((BATCH,), None, [], "quick", 0, inputs=[USER, ITEM, FLAGS]), 0)
    assert {*cases} <= {case.name for case in evaluated}


@pytest.mark.parametrize(
    ("inputs", "dims"),
    [
        pytest.param((LEVELS,), (BATCH,), id="floats"),
        pytest.param((LEVELS, MASK), (BATCH, TIME), id="a-mask"),
        pytest.param((PICTURE,), (BATCH, *SIDES), id="a-picture"),
    ],
)
def test_floats_masks_and_pictures_have_none(inputs: tuple[TensorSpec, ...], dims: tuple[Dim, ...]) -> None:
    assert planned(*inputs, dims=dims) == []


def test_each_number_of_a_small_range_is_tried() -> None:
    year = TensorSpec("year", "int64", ("batch",), (1900, 2100))
    tried = [materialise(case, [year, LEVELS], None) for case in planned(year, LEVELS) if case.kind == "each"]
    assert len(tried) == 26
    assert {*np.concatenate([one["year"] for one in tried]).tolist()} == {*range(1900, 2101)}
    assert len({one["levels"].tobytes() for one in tried}) == len(tried)


def test_of_more_numbers_than_a_few_cases_have_as_many_are_tried() -> None:
    for effort, count in (("quick", 32), ("thorough", 64)):
        cases = [case for case in planned(USER, effort=effort) if case.kind == "each"]
        assert len({number for case in cases for number in case.ids["user"]}) == 8 * count


@pytest.mark.parametrize(
    ("inputs", "dims", "count"),
    [
        pytest.param((FLAGS,), (BATCH,), 16, id="conditions-are-drawn-twice-as-often-as-there-are"),
        pytest.param((WORDS,), (BATCH, TIME), 1, id="all-fit-in-one"),
        pytest.param((WORDS, MASK), (BATCH, TIME), 0, id="texts-have-cases-of-their-own"),
        pytest.param((TensorSpec("id", "int64", (), (0, 9)),), (), 10, id="a-single-number"),
        pytest.param((TensorSpec("id", "int64", ("batch",), (0, 5000)),), (BATCH,), 0, id="too-many"),
        pytest.param(
            (USER, TensorSpec("x", "float32", ("batch", 64, 9), (0, 1))), (BATCH,), 2, id="a-small-case"
        ),
        pytest.param(
            (USER, TensorSpec("x", "float32", ("batch", 64, 99), (0, 1))), (BATCH,), 0, id="no-small-case"
        ),
    ],
)
def test_how_many_cases_have_each_number(
    inputs: tuple[TensorSpec, ...], dims: tuple[Dim, ...], count: int
) -> None:
    cases = planned(*inputs, dims=dims)
    assert sum(case.kind == "each" for case in cases) == count
    assert any(case.kind == "alike" for case in cases)


def test_a_picture_beside_ids_is_no_picture_of_one_value() -> None:
    label = TensorSpec("label", "int64", ("batch",), (0, 9))
    cases = planned(PICTURE, label, dims=(BATCH, *SIDES))
    assert [case.name for case in cases][:2] == ["4x64x64-lowest-ids", "4x64x64-highest-ids"]
    arrays = materialise(cases[1], [PICTURE, label], PREPROCESS)
    assert arrays["label"].tolist() == [9] * 4
    assert len(np.unique(arrays["image"])) > 100
