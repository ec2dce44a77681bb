"""Inputs in which cases are all alike: made for a model that calls a function that may decide by them."""

from typing import Any

import numpy as np
import pytest

from onnxproof.validate.cases import Case
from onnxproof.validate.unusual import QUIET, unusual

BASE: dict[str, Any] = {
    "x": np.linspace(0.1, 1, 12, dtype=np.float32).reshape(3, 4),
    "ids": np.arange(6).reshape(3, 2),
}
RANGES = {"x": (-1.0, 1.0)}


def test_rows_differ_in_level_and_in_how_much_of_them_is_zero() -> None:
    ((told, made),) = unusual({"amax"}, BASE, RANGES, ())
    assert "different levels" in told
    x = BASE["x"]
    np.testing.assert_array_equal(made["x"][0], [x[0, 0], x[0, 1], 0, 0])
    np.testing.assert_allclose(made["x"][1], QUIET * x[1], rtol=1e-6)
    np.testing.assert_array_equal(made["x"][2], [x[2, 0], x[2, 1], 0, 0])
    assert made["ids"] is BASE["ids"]


@pytest.mark.parametrize(("dtype", "low"), [("float32", 0.5), ("uint8", 100)])
def test_what_a_range_leaves_out_is_not_made(dtype: str, low: float) -> None:
    base: dict[str, Any] = {"x": (low + np.arange(24).reshape(2, 3, 4)).astype(dtype)}
    ((_, made),) = unusual({"topk"}, base, {"x": (low, low + 50)}, ())
    assert made["x"].dtype == dtype
    assert made["x"].min() == low
    assert (made["x"][0, :, 2:] == low).all()
    assert (made["x"][0, :, :2] == base["x"][0, :, :2]).all()


def test_nan_is_held_by_floats_alone() -> None:
    base = {**BASE, "picture": np.zeros((1, 4), np.uint8)}
    found = list(unusual({"isnan"}, base, {**RANGES, "picture": (0.0, 255.0)}, ()))
    assert ["NaN" in told for told, _ in found] == [True, True]
    for _, made in found:
        assert 0 < np.isnan(made["x"]).sum() < made["x"].size
        assert made["picture"] is base["picture"]


def test_a_row_is_nan_alone() -> None:
    *_, (told, made) = unusual({"isnan"}, BASE, RANGES, ())
    assert "a row of NaN alone" in told
    assert np.isnan(made["x"][-1]).all()
    assert not np.isnan(made["x"][0]).all()
    alone = {"x": np.zeros(4, np.float32)}
    assert not any("alone" in told for told, _ in unusual({"isnan"}, alone, RANGES, ()))


def test_ids_that_are_treated_specially_stand_alone() -> None:
    cases = (Case("plain", {}, "noise", 0), Case("texts", {}, "noise", 0, ids={"ids": (0, 7)}))
    found = list(unusual({"relu"}, BASE, RANGES, cases))
    assert [told for told, _ in found] == ["hold one id alone (ids = 0)", "hold one id alone (ids = 7)"]
    assert [np.unique(made["ids"]).tolist() for _, made in found] == [[0], [7]]


def test_nothing_is_made_for_a_model_that_decides_by_nothing() -> None:
    assert not list(unusual({"linear", "relu", "clamp"}, BASE, RANGES, ()))


def test_floats_hold_a_number_of_their_range_that_is_looked_for() -> None:
    base = {**BASE, "x": np.zeros((3, 4), np.float32)}
    ((told, made),) = unusual({"eq"}, base, {"x": (-1.0, 1.0)}, (), {-1.0, 7.0})
    assert told == "hold the number -1, which the model looks for"
    assert made["x"].tolist() == [[-1, 0, -1, 0], [-1, 0, -1, 0], [-1, -1, -1, -1]]
