"""Measurements: ratios as computed by hand, floors, NaN and infinity, and constant memory."""

import math
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from onnxproof.seeded import FLOAT32_EPSILON
from onnxproof.tensors import Field
from onnxproof.validate.measure import ErrorPool, Measurement
from onnxproof.validate.pools import FieldPools, LabelPool

NAN, INF = float("nan"), float("inf")
Array = NDArray[Any]
Leg = Sequence[float]


def measured(*cases: tuple[Leg, Leg, Leg]) -> Measurement:
    """The measurement of cases given as oracle, reference and candidate, in float64."""
    pool = ErrorPool("box", "px")
    for number, legs in enumerate(cases):
        pool.add(f"case-{number}", *(np.array(leg, np.float64) for leg in legs))
    return pool.result()


def test_errors_and_ratios_are_those_computed_by_hand() -> None:
    found = measured(([10, -20], [10.1, -20.3], [10.2, -19.6]), ([30], [30.2], [29.4]))
    assert found.count == 3
    assert found.rms_reference == pytest.approx(math.sqrt((0.01 + 0.09 + 0.04) / 3))
    assert found.rms_candidate == pytest.approx(math.sqrt((0.04 + 0.16 + 0.36) / 3))
    assert found.max_reference == pytest.approx(0.3)
    assert found.max_candidate == pytest.approx(0.6)
    assert found.ratio_rms == pytest.approx(2)
    assert found.ratio_max == pytest.approx(2)
    assert (found.scale_max, found.worst_case, found.nonfinite) == (30, "case-1", 0)


def test_the_worst_case_is_the_candidates() -> None:
    assert measured(([0], [9], [1]), ([0], [0], [2]), ([0], [0], [-1])).worst_case == "case-1"
    assert measured(([0], [0], [-3]), ([0], [0], [2])).worst_case == "case-0"


def test_cases_are_pooled_as_if_they_were_one() -> None:
    random = np.random.default_rng(0)
    legs = random.normal(size=(3, 40))
    apart = measured(*[tuple(legs[:, start : start + 8]) for start in range(0, 40, 8)])
    together = measured((legs[0], legs[1], legs[2]))
    assert apart.rms_candidate == pytest.approx(together.rms_candidate)
    once: dict[str, Any] = {"rms_reference": 0, "rms_candidate": 0, "worst_case": "", "heaviest": ()}
    assert replace(apart, **once) == replace(together, **once)


def test_differences_are_taken_in_float64() -> None:
    pool = ErrorPool("score", "probability")
    truth = np.array([1 + 1e-9])
    pool.add("a", truth, truth.astype(np.float32), np.array([1], np.float32))
    assert pool.result().max_candidate == pytest.approx(1e-9)


def test_integers_are_measured_too() -> None:
    pool = ErrorPool("count", "")
    pool.add("a", np.array([2]), np.array([2]), np.array([255], np.uint8))
    assert pool.result().max_candidate == 253


@pytest.mark.parametrize(
    ("scale", "ratio_max", "ratio_rms"),
    [
        pytest.param(1.0, 1.0, math.sqrt(12), id="one-unit-in-the-last-place"),
        pytest.param(1024.0, 1.0, math.sqrt(12), id="the-floor-grows-with-the-scale"),
    ],
)
def test_an_exact_reference_counts_as_one_rounding(scale: float, ratio_max: float, ratio_rms: float) -> None:
    found = measured(([scale], [scale], [scale * (1 - FLOAT32_EPSILON)]))
    assert found.max_reference == found.rms_reference == 0
    assert found.ratio_max == pytest.approx(ratio_max)
    assert found.ratio_rms == pytest.approx(ratio_rms)


def test_the_floor_gives_way_to_a_larger_error_of_the_reference() -> None:
    found = measured(([1], [1.5], [1.25]))
    assert (found.floor_max, found.floor_rms) == (0.5, 0.5)
    assert found.ratio_max == 0.5


def test_all_zeros_divide_nothing_by_zero() -> None:
    found = measured(([0, 0], [0, 0], [0, 0]))
    assert (found.ratio_rms, found.ratio_max) == (0, 0)


def test_zeros_that_the_candidate_misses_have_a_huge_ratio() -> None:
    assert measured(([0], [0], [1e-30])).ratio_max > 1e9


@pytest.mark.parametrize(
    ("legs", "nonfinite", "count"),
    [
        pytest.param(([1, 2], [1, 2], [1, NAN]), 1, 1, id="the-candidate-alone-is-nan"),
        pytest.param(([1, 2], [1, 2], [INF, -INF]), 2, 0, id="the-candidate-alone-is-infinite"),
        pytest.param(([1, 2, 3], [1, 2, 3], [INF, -INF, 3]), 2, 1, id="infinities-that-would-cancel"),
        pytest.param(([NAN, 2], [NAN, 2], [1, 2]), 1, 1, id="the-candidate-alone-is-finite"),
        pytest.param(([INF, 2], [INF, 2], [-INF, 2]), 1, 1, id="the-other-infinity"),
        pytest.param(([INF, 2], [INF, 2], [NAN, 2]), 1, 1, id="nan-for-infinity"),
        pytest.param(([NAN, 2], [NAN, 2], [NAN, 2]), 0, 1, id="nan-in-all"),
        pytest.param(([INF, -INF], [INF, -INF], [INF, -INF]), 0, 0, id="the-same-infinities-in-all"),
        pytest.param(([1e300, 2], [INF, 2], [INF, 2]), 0, 1, id="both-float32-legs-overflow"),
        pytest.param(([1e300, 2], [INF, 2], [3e38, 2]), 0, 1, id="the-candidate-is-finite-as-the-oracle"),
        pytest.param(([NAN, 2], [1, 2], [NAN, 2]), 0, 1, id="the-candidate-is-nan-as-the-oracle"),
        pytest.param(([NAN, 2], [1, 2], [1, 2]), 0, 1, id="the-candidate-is-finite-as-the-reference"),
    ],
)
def test_what_is_not_finite(legs: tuple[Leg, Leg, Leg], nonfinite: int, count: int) -> None:
    found = measured(([0], [0], [0]), legs)
    assert (found.nonfinite, found.count) == (nonfinite, count + 1)
    assert found.nonfinite_case == ("case-1" if nonfinite else "")
    assert math.isfinite(found.ratio_rms)
    assert math.isfinite(found.ratio_max)


def test_the_first_case_with_nan_is_named() -> None:
    nan: tuple[Leg, Leg, Leg] = ([1], [1], [NAN])
    assert measured(([0], [0], [0]), nan, nan).nonfinite_case == "case-1"


def test_large_finite_numbers_are_no_infinity() -> None:
    found = measured(([0, 0], [0, 0], [1.7e308, 1.7e308]))
    assert (found.nonfinite, found.count, found.max_candidate) == (0, 2, 1.7e308)


@pytest.mark.parametrize(
    "cases",
    [
        pytest.param([], id="no-case"),
        pytest.param([([], [], [])], id="a-case-without-values"),
        pytest.param([([NAN], [NAN], [NAN])], id="nothing-finite"),
    ],
)
def test_nothing_compared_is_told(cases: list[tuple[Leg, Leg, Leg]]) -> None:
    found = measured(*cases)
    assert (found.count, found.nonfinite, found.worst_case) == (0, 0, "")


def test_a_case_without_values_changes_nothing() -> None:
    assert measured(([1], [2], [4]), ([], [], [])) == measured(([1], [2], [4]))


@given(
    legs=st.lists(
        st.tuples(*[st.floats(allow_nan=True, allow_infinity=True, width=32)] * 3), min_size=1, max_size=6
    )
)
def test_no_numbers_raise_or_warn(legs: list[tuple[float, float, float]]) -> None:
    oracle, reference, candidate = zip(*legs, strict=True)
    found = measured((oracle, reference, candidate))
    assert found.count + found.nonfinite <= len(legs)
    assert not math.isnan(found.rms_candidate)


def test_memory_does_not_grow_with_the_cases() -> None:
    pool, labels = ErrorPool("box", "px"), LabelPool("label")
    values = np.arange(100_000.0)

    def add(cases: int) -> None:
        for number in range(cases):
            pool.add(f"case-{number}", values, values, values + 1)
            labels.add(f"case-{number}", values, values + 1, values)

    add(3)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    add(50)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < values.nbytes
    assert pool.result().count == labels.count == 53 * values.size


class TestLabels:
    def test_equal_labels_are_no_flips(self) -> None:
        pool = LabelPool("label")
        pool.add("a", np.array([1, 2]), np.array([1, 2]), np.array([0.0, 0.0]))
        found = pool.result()
        assert (found.count, found.flips, found.worst_case) == (2, 0, "")
        assert math.isnan(found.largest_margin)

    def test_the_largest_lead_among_the_flipped_counts(self) -> None:
        pool = LabelPool("label")
        pool.add("a", np.array([1, 2, 3]), np.array([1, 9, 9]), np.array([0.9, 0.1, 0.2]))
        pool.add("b", np.array([1, 2, 3]), np.array([1, 9, 3]), np.array([0.9, 0.15, 0.2]))
        found = pool.result()
        assert (found.count, found.flips, found.largest_margin, found.worst_case) == (6, 3, 0.2, "a")

    @pytest.mark.parametrize(
        "margins",
        [
            pytest.param([None], id="not-known"),
            pytest.param([np.array([NAN])], id="nan"),
            pytest.param([np.array([NAN]), np.array([0.1])], id="nan-and-then-a-number"),
            pytest.param([np.array([0.1]), None], id="a-number-and-then-not-known"),
        ],
    )
    def test_an_unknown_lead_is_infinite_and_stays_so(self, margins: list[Array | None]) -> None:
        pool = LabelPool("label")
        for margin in margins:
            pool.add("a", np.array([1]), np.array([2]), margin)
        assert pool.result().largest_margin == INF

    def test_nan_is_no_label(self) -> None:
        pool = LabelPool("label")
        pool.add("a", np.array([1.0]), np.array([NAN]), np.array([0.5]))
        assert pool.result().flips == 1

    def test_margins_may_lack_the_labels_last_axis(self) -> None:
        pool = LabelPool("label")
        pool.add("a", np.array([[[1.0], [2.0]]]), np.array([[[1.0], [3.0]]]), np.array([[0.5, 0.25]]))
        assert pool.result().largest_margin == 0.25

    def test_no_labels(self) -> None:
        pool = LabelPool("label")
        pool.add("a", np.zeros((0, 1)), np.zeros((0, 1)), np.zeros(0))
        assert pool.result().count == 0
        assert pool.result().only is None

    def test_one_label_alone_is_told_until_another_comes(self) -> None:
        pool, other = LabelPool("label"), LabelPool("label")
        pool.add("a", np.array([3, 3]), np.array([3, 1]), np.zeros(2))
        assert pool.result().only == 3
        other.add("b", np.array([4]), np.array([4]), np.zeros(1))
        pool.merge(other)
        assert pool.result().only is None


def test_fields_take_their_channels_and_no_others() -> None:
    fields = (
        Field("output", "box", "px", 0, 4),
        Field("output", "label", "class", 4, 5, kind="label", ranks="score"),
        Field("output", "score", "probability", 5),
        Field("other", "other", "", 0),
    )
    truth = {"output": np.array([[[1, 2, 3, 4, 7, 0.5]]]), "other": np.zeros((1, 1))}
    candidate = {"output": np.array([[[1, 2, 3, 6, 8, 0.5]]]), "other": np.full((1, 1), 9.0)}
    pools = FieldPools(fields)
    pools.add("a", truth, truth, candidate, {"label": np.array([[0.125]])})
    errors = {name: pool.result().max_candidate for name, pool in pools.errors.items()}
    assert errors == {"box": 2, "score": 0, "other": 9}
    assert {name: pool.result().largest_margin for name, pool in pools.labels.items()} == {"label": 0.125}


def test_a_reference_in_half_has_the_floor_of_half() -> None:
    pool = ErrorPool("y", "")
    oracle = np.array([1.0, 0.5])
    pool.add("a", oracle, oracle.astype(np.float16), (oracle + 2.0**-11).astype(np.float16))
    measured = pool.result()
    assert measured.epsilon == 2.0**-10
    assert measured.floor_max == 2.0**-10
    other = ErrorPool("y", "")
    other.add("b", oracle, oracle.astype(np.float32), oracle.astype(np.float32))
    assert other.result().floor_max == 2.0**-23
    other.merge(pool)
    assert other.result().epsilon == 2.0**-10
