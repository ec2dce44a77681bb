"""Fingerprints: every element counts, and equal tensors are recognised in any shape."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from onnxproof.validate.bisect.fingerprint import PARTS, Fingerprint, Shelf, distance

Array = NDArray[Any]


def numbers(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


def apart(one: Array, other: Array) -> float:
    return distance(Fingerprint.of(one), Fingerprint.of(other))


@pytest.mark.parametrize("size", [1, 2, 63, 64, 65, 1000, 100_003])
def test_rounding_moves_a_fingerprint_by_as_much_and_one_element_is_seen(size: int) -> None:
    values = numbers(size)
    assert apart(values, values.copy()) == 0
    rounded = values * (1 + 2.0**-52 * np.random.default_rng(1).choice((-1, 1), size))
    assert apart(values, rounded) < 1e-14
    for at in (0, size // 2, size - 1):
        moved = values.copy()
        moved[at] += 1e-6
        assert apart(values, moved) > 1e-9


def test_what_is_laid_out_anew_is_another_tensor() -> None:
    values = numbers(4, 12, 12)
    assert apart(values, values.transpose(0, 2, 1)) > 0.1
    assert apart(values, values[::-1]) > 0.1
    swapped = values.copy()
    swapped[0, 0, [0, 1]] = swapped[0, 0, [1, 0]]
    assert apart(values, swapped) > 1e-3


def test_the_same_numbers_in_another_shape_are_recognised() -> None:
    values = numbers(4, 6)
    assert apart(values, values.reshape(2, 12)) == 0
    assert Fingerprint.of(values).shape == (4, 6)


def test_a_share_of_the_tensor_is_a_share_of_its_size() -> None:
    values = 1000 * numbers(100, 100)
    assert 1e-3 < apart(values, 1.001 * values) < 1e-2
    assert apart(values, -values) > 0.5


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf, float(np.finfo(np.float32).min)])
def test_what_is_not_finite_counts_by_its_place(odd: float) -> None:
    """Masks hold float32's least number. Beside it no other number would be seen."""
    values = numbers(500)
    values[7] = odd
    moved = values.copy()
    assert apart(values, moved) == 0
    moved[100] += 1e-6
    assert 1e-9 < apart(values, moved) < 1e-5
    moved[[7, 8]] = moved[[8, 7]]
    assert apart(values, moved) == math.inf
    assert apart(values, np.where(np.arange(500) == 7, 0.0, values)) == math.inf


def test_an_infinity_is_a_mask() -> None:
    values, masked = numbers(500), numbers(500)
    values[7], masked[7] = -np.inf, np.finfo(np.float32).min
    assert apart(values, masked) == 0


def test_kinds_and_sizes_are_told_apart() -> None:
    assert apart(np.arange(4), np.arange(4.0)) == math.inf
    assert apart(np.arange(4), np.arange(5)) == math.inf
    assert Fingerprint.of(np.array(["a"], object)).kind == ""
    assert Fingerprint.of(np.zeros((0, 4))).alike
    assert apart(np.zeros((0, 4)), np.zeros((3, 0))) == 0
    assert Fingerprint.of(np.ones(3)).alike
    assert not Fingerprint.of(np.array([True, False])).alike


def test_a_small_tensor_is_its_own_fingerprint() -> None:
    assert np.array_equal(Fingerprint.of(np.arange(PARTS)).sums, np.arange(PARTS))


def test_a_shelf_tells_the_distance_of_each() -> None:
    tensors = [numbers(200, seed=seed) for seed in range(3)]
    shelf = Shelf((4, 5, 9), [Fingerprint.of(one) for one in tensors])
    distances = shelf.distances(Fingerprint.of(tensors[1] * 1.01))
    assert shelf.numbers[int(np.argmin(distances))] == 5
    assert distances[1] < 0.05 < distances.max()
