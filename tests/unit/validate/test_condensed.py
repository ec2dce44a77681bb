"""Bounded tallies: what is measured of all cases stays exact, in any order of merging and condensing."""

import itertools
import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxproof.validate.measure import ErrorPool, Measurement
from onnxproof.validate.run_errors import ExactSum

CASES = 40
MOST = 4


def pool_of(cases: list[int]) -> ErrorPool:
    """Each case's values are seeded by its number."""
    pool = ErrorPool("score", "")
    for case in cases:
        random = np.random.default_rng(case)
        exact = random.normal(size=50)
        error = random.normal(size=(2, 50)) * 10.0 ** random.integers(-7, -3)
        pool.add(f"{case:03}", exact, (exact + error[0]).astype(np.float32), exact + error[1])
    return pool


def without_names(measured: Measurement) -> Measurement:
    return replace(measured, heaviest=(), by_case=())


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_condensing_changes_no_figure(order: tuple[int, ...]) -> None:
    whole = pool_of(list(range(CASES))).result([f"{case:03}" for case in range(CASES)])
    parts = [pool_of(list(range(part, CASES, 4))) for part in order]
    first, *others = parts
    for number, other in enumerate(others):
        first.merge(other)
        if number % 2:
            first.condense(MOST)
    first.condense(MOST)
    assert len(first.cases) <= 2 * MOST
    found = first.result(sorted(first.cases))
    assert without_names(found) == without_names(whole)
    few = whole.heaviest[:MOST]
    assert found.heaviest[: len(few)] == few


def test_what_is_kept_does_not_depend_on_the_order() -> None:
    kept = []
    for parts in (3, 5, 40):
        pool = ErrorPool("score", "")
        for part in reversed(range(parts)):
            pool.merge(pool_of(list(range(part, CASES, parts))))
            pool.condense(MOST)
        kept.append((pool.cases, pool.rest))
    assert kept[0] == kept[1] == kept[2]


def test_a_value_that_is_not_finite_is_still_named() -> None:
    pool = pool_of(list(range(CASES)))
    zeros = np.zeros(3)
    for case in ("700", "600"):
        pool.add(case, zeros, zeros.astype(np.float32), np.array([0.0, np.nan, 0.0]))
    pool.condense(MOST)
    found = pool.result(sorted(pool.cases))
    assert (found.nonfinite, found.nonfinite_case) == (2, "600")


def test_a_forgotten_case_takes_its_errors_with_it() -> None:
    whole, condensed = pool_of(list(range(CASES))), pool_of(list(range(CASES)))
    condensed.condense(MOST)
    worst = whole.result(sorted(whole.cases)).worst_case
    for pool in (whole, condensed):
        pool.forget(worst)
    assert without_names(condensed.result(sorted(condensed.cases))) == without_names(
        whole.result(sorted(whole.cases))
    )


@given(st.lists(st.floats(0, allow_nan=False, allow_infinity=False), max_size=20))
def test_the_sum_is_rounded_once(values: list[float]) -> None:
    parts = [ExactSum(), ExactSum()]
    for number, value in enumerate(values):
        parts[number % 2].add(value)
    parts[1].merge(parts[0])
    exact = sum(map(Fraction, values), Fraction())
    try:
        wanted = float(exact)
    except OverflowError:
        wanted = math.inf
    assert parts[1].with_terms(()) == wanted


def test_an_infinite_term_makes_an_infinite_sum() -> None:
    total = ExactSum()
    for value in (1.0, math.inf, 2.0):
        total.add(value)
    assert total.with_terms([3.0]) == math.inf
