"""Rows that a top-k put into another order are measured against the rows that they are."""

from typing import Any

import numpy as np
from contracts import reading_of
from numpy.typing import NDArray

from onnxproof.validate.compare.any_order import arrays_in_order_of

Array = NDArray[Any]
READING = reading_of("detection", decode="rows", nms="none", outputs=["rows"], score_threshold=0.5)
FIXED = reading_of("detection", decode="split", nms="none", outputs=["boxes", "scores"], score_threshold=0.5)


def rows(seed: int = 0) -> Array:
    """Two pictures with eight rows each, the best first."""
    random = np.random.default_rng(seed)
    corners, sides = random.uniform(0, 50, (2, 8, 2)), random.uniform(1, 50, (2, 8, 2))
    scores = -np.sort(-random.uniform(0, 1, (2, 8, 1)), axis=1)
    labels = random.integers(0, 4, (2, 8, 1))
    return np.concatenate((corners, corners + sides, scores, labels), axis=-1)


def test_rows_that_changed_places_come_back_each_picture_by_itself() -> None:
    wanted = rows()
    moved = wanted.copy()
    moved[0, [2, 3, 5]] = wanted[0, [3, 5, 2]]
    moved += 1e-6 * np.random.default_rng(1).normal(size=moved.shape)
    found = arrays_in_order_of({"rows": wanted}, {"rows": moved, "other": moved}, READING)
    np.testing.assert_allclose(found["rows"], wanted, atol=1e-5)
    assert found["other"] is moved


def test_a_wrong_row_stays_wrong_and_no_row_stands_for_two() -> None:
    wanted = rows()
    wrong = wanted.copy()
    wrong[0, 4] = wanted[0, 1]
    wrong[1, 0, 0] += 7
    found = arrays_in_order_of({"rows": wanted}, {"rows": wrong}, READING)["rows"]
    assert sorted(map(tuple, found[0].tolist())) == sorted(map(tuple, wrong[0].tolist()))
    assert np.abs(found - wanted).max() >= 7
    assert (found[0] != wanted[0]).any()


def test_rows_of_nan_do_not_disturb_the_others() -> None:
    wanted = rows()
    broken = wanted[:, ::-1].copy()
    broken[0, 0] = np.nan
    found = arrays_in_order_of({"rows": wanted}, {"rows": broken}, READING)["rows"]
    np.testing.assert_array_equal(found[0, :7], wanted[0, :7])
    assert np.isnan(found[0, 7]).all()


def test_rows_with_a_place_of_their_own_stay_there() -> None:
    boxes, scores = rows()[..., :4], rows()[..., 4:5]
    swapped = {"boxes": boxes[:, ::-1], "scores": scores[:, ::-1]}
    assert arrays_in_order_of({"boxes": boxes, "scores": scores}, swapped, FIXED) is swapped


def test_rows_that_are_all_of_the_first_class_come_back_too() -> None:
    wanted = rows()
    wanted[..., 5] = 0
    found = arrays_in_order_of({"rows": wanted}, {"rows": wanted[:, ::-1]}, READING)["rows"]
    np.testing.assert_array_equal(found, wanted)
