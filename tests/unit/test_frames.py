"""Room for the frames of Python's calls."""

import sys
from collections.abc import Callable

import pytest

from onnxproof.system.frames import roomy

ROUNDS = 1000
DEPTHS = 100
"""How many depths are tried: their frames take more than a chunk of Python's."""


def page_faults() -> int:
    import resource  # not there on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def calls_below(depth: int) -> int:
    """How many page faults a loop of calls takes at a depth."""
    if depth:
        return calls_below(depth - 1)
    before = page_faults()
    for _ in range(ROUNDS):
        abs_of(-1)
    return page_faults() - before


def abs_of(number: int) -> int:
    return abs(number)


def worst() -> int:
    return max(map(calls_below, range(DEPTHS)))


@roomy
def with_room(work: Callable[[], int]) -> int:
    return work()


@pytest.mark.skipif(sys.platform != "linux", reason="counts Linux's page faults")
def test_a_loop_of_calls_asks_the_system_for_nothing_at_any_depth() -> None:
    assert with_room(worst) < ROUNDS / 10


def test_a_roomy_function_returns_what_it_did() -> None:
    assert with_room(lambda: 7) == 7
