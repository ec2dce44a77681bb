"""The limits of a self-test: as those of a verdict over many values, wider by what few values scatter."""

from dataclasses import replace

import numpy as np
import pytest

from onnxproof.validate.golden.few import CONFIDENCE, FewValues, beta, scatter_of
from onnxproof.validate.measure import Measurement
from onnxproof.validate.policy import FLOAT_FLOOR, HEALTHY_MAX, HEALTHY_RMS

FIELD = Measurement("score", "", 3, 1e-6, 1e-6, 1e-6, 1e-6, 1.0, "a", 0, "")


@pytest.mark.parametrize(
    ("count", "reference", "quantile"),
    [(1, 1, 405_284), (3, 3, 141.1), (5, 5, 29.75), (10, 10, 8.754), (3, 30, 7.054), (60, 120, 1.95)],
)
def test_it_is_the_root_of_fishers_quantile(count: int, reference: int, quantile: float) -> None:
    """Values of printed tables of F at 0.999."""
    assert scatter_of(count, reference) ** 2 == pytest.approx(quantile, rel=1e-3)


def test_the_incomplete_beta_function_has_its_known_values() -> None:
    assert beta(1, 1, 0.3) == pytest.approx(0.3)
    assert beta(0.5, 0.5, 0.25) == pytest.approx(1 / 3)
    assert beta(2, 3, 0.4) == pytest.approx(0.5248)
    assert (beta(2, 3, 0), beta(2, 3, 1)) == (0, 1)


def test_so_many_ratios_of_equal_errors_stay_below_it() -> None:
    random = np.random.default_rng(5)
    ratios = np.sqrt(np.mean(random.normal(size=(40_000, 3)) ** 2, 1))
    ratios /= np.sqrt(np.mean(random.normal(size=(40_000, 12)) ** 2, 1))
    for confidence in (0.9, 0.99):
        assert np.mean(ratios > scatter_of(3, 12, confidence)) == pytest.approx(1 - confidence, rel=0.1)
    assert np.mean(ratios > scatter_of(3, 12)) < 2 * (1 - CONFIDENCE)


def limits(count: int, reference: int | None = None) -> tuple[float, float]:
    counts = {} if reference is None else {FIELD.name: reference}
    rms, largest = FewValues(counts=counts).held(replace(FIELD, count=count), has_oracle=True)
    assert (rms.check, largest.check) == ("ratio_rms", "ratio_max")
    return rms.limit, largest.limit


def test_over_many_values_the_limits_are_those_of_a_verdict() -> None:
    assert limits(1000) == (FLOAT_FLOOR.ratio_rms, FLOAT_FLOOR.ratio_max)
    assert FewValues(counts={"score": 3}).to_json() == FLOAT_FLOOR.to_json()


def test_over_few_values_they_grow_by_what_those_scatter() -> None:
    assert limits(3) == pytest.approx((HEALTHY_RMS * 2.329, HEALTHY_MAX * 2.329), rel=1e-3)
    assert limits(3, 30) == pytest.approx((HEALTHY_RMS * 2.656, HEALTHY_MAX * 2.656), rel=1e-3)
    assert limits(3, 3) == pytest.approx((HEALTHY_RMS * 11.88, HEALTHY_MAX * 11.88), rel=1e-3)
    assert limits(1, 1) == (100, 100)
    grown = [limits(count)[0] for count in (1, 2, 5, 20, 100, 1000)]
    assert grown == sorted(grown, reverse=True)


def test_without_an_oracle_nothing_grows() -> None:
    (held,) = FewValues().held(FIELD, has_oracle=False)
    (usual,) = FLOAT_FLOOR.held(FIELD, has_oracle=False)
    assert held == usual


@pytest.mark.parametrize(
    ("count", "of_many", "of_as_many"),
    [
        (1, 8.0, 100),
        (3, 5.7, 29),
        (5, 4.9, 13),
        (10, 4.2, 7.2),
        (30, 3.4, 4.4),
        (100, 3.0, 3.3),
        (400, 2.7, 2.8),
    ],
)
def test_the_limits_are_those_of_the_page(count: int, of_many: float, of_as_many: float) -> None:
    """docs/deploy.md has them to two digits."""
    found = limits(count)[0], limits(count, count)[0]
    assert tuple(float(f"{limit:.2g}") for limit in found) == (of_many, of_as_many)


def test_over_three_values_one_ratio_of_fifteen_exceeds_the_usual_limit() -> None:
    """docs/deploy.md says so. P(F(3, 3) > f) is beta's complement."""
    square = FLOAT_FLOOR.ratio_rms**2
    assert 14.5 < 1 / (1 - beta(1.5, 1.5, square / (square + 1))) < 15.5
