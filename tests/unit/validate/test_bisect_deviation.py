"""How far an output is from the truth, and how far rounding alone would take it."""

import math

import numpy as np
import pytest

from onnxproof.validate.bisect.deviation import Deviation, deviation, move

EPSILON = float(np.finfo(np.float32).eps)


def test_an_error_is_held_against_what_moved_inputs_do() -> None:
    truth = np.array([1.0, 2.0, 3.0, 4.0])
    found = (truth + np.array([0.0, 0.0, 0.0, 0.5])).astype(np.float32)
    moved = (found + np.array([0.25, -0.25, 0.25, -0.25])).astype(np.float32)
    measured = deviation(found, moved, truth, "Conv")
    assert (measured.rms, measured.maximum) == (0.25, 0.5)
    assert (measured.floor_rms, measured.floor_max) == (0.25, 0.25)
    assert (measured.ratio, measured.ratio_max) == (1.0, 2.0)


def test_the_floor_is_never_below_one_rounding() -> None:
    truth = np.full(8, 2.0)
    measured = deviation(truth.astype(np.float32), truth.astype(np.float32), truth, "Add")
    assert measured.ratio == 0
    assert measured.floor_rms == pytest.approx(2 * EPSILON / math.sqrt(12))
    assert measured.floor_max == pytest.approx(2 * EPSILON)


@pytest.mark.parametrize(
    ("operator", "ratio"), [("Sigmoid", 2 * math.sqrt(12)), ("Mul", 2e6 * math.sqrt(12))]
)
def test_kernels_that_approximate_are_held_against_a_unit_of_one(operator: str, ratio: float) -> None:
    """A sigmoid of large negative numbers is nearly 0, and ONNX Runtime's errs by a unit of 1.0 there."""
    truth = np.full(8, 1e-6)
    found = (truth + 2 * EPSILON).astype(np.float32)
    assert deviation(found, found, truth, operator).ratio == pytest.approx(ratio, rel=0.02)


@pytest.mark.parametrize(
    ("found", "wanted", "infinite"),
    [
        pytest.param(-np.inf, -np.inf, False, id="a-mask-of-attention"),
        pytest.param(np.nan, np.nan, False, id="both-are-nan"),
        pytest.param(np.nan, 1.0, True, id="a-nan-where-a-number-is"),
        pytest.param(np.inf, 1.0, True, id="an-infinity-where-a-number-is"),
        pytest.param(1.0, np.nan, True, id="a-number-where-a-nan-is"),
    ],
)
def test_what_is_not_finite_agrees_or_is_infinitely_wrong(
    found: float, wanted: float, infinite: bool
) -> None:
    values = np.array([found, 1.0], np.float32)
    measured = deviation(values, values, np.array([wanted, 1.0]), "Add")
    assert math.isinf(measured.ratio) == infinite
    assert measured.ratio in (0.0, math.inf)
    assert (measured.to_json()["ratio"] is None) == infinite


def test_a_nan_fails_a_limit() -> None:
    assert Deviation(math.nan, 0.0, 1.0, 1.0, 1.0).ratio == math.inf


def test_moved_numbers_lie_next_to_their_own() -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=1000).astype(np.float32)
    moved = move(values, random)
    steps = (moved.astype(np.float64) - values) / values
    assert np.abs(steps).max() < 1.6 * EPSILON
    assert (steps > 0).sum() > 300
    assert (steps < 0).sum() > 300


def test_round_numbers_and_integers_stay() -> None:
    random = np.random.default_rng(0)
    rounds = np.array([0.0, 1.0, -2.0, 0.5, 96.0, 255.0, np.inf], np.float32)
    assert np.array_equal(move(rounds, random), rounds)
    assert np.isnan(move(np.array([np.nan], np.float32), random))
    whole = np.arange(5)
    assert move(whole, random) is whole
