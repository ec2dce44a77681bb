"""A model that answers otherwise when it is run again: what is told, and what is only rounding."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from onnxproof.validate.legs.leg import Answer, Arrays, Ports
from onnxproof.validate.legs.repeats import differs_when_repeated

Array = NDArray[np.generic]
START = np.array([1.0, -2.0, 4.0], np.float32)


@dataclass
class Counting:
    """A leg whose answer depends on how often it ran before."""

    answer: Callable[[int], Array]
    name: str = "torch-float32"
    ports: Ports = field(default_factory=lambda: Ports((), ()))
    runs: int = 0

    def run(self, inputs: Arrays) -> Answer:
        self.runs += 1
        return Answer({"same": START, "output": self.answer(self.runs)}, {})


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        pytest.param(lambda run: START * run, "output changes by up to 4, its largest", id="adds-up"),
        pytest.param(lambda run: START + 0.5 * (run > 2), "changes by up to 0.5", id="from-the-third-run-on"),
        pytest.param(lambda run: np.ones(run), r"output is \[1\], then \[2\]", id="grows"),
        pytest.param(lambda run: np.array([7, run]), "output differs in 1 of 2 values", id="counts"),
        pytest.param(lambda run: START / (run - 1.0), "finite at other places", id="infinite-at-first"),
        pytest.param(lambda run: np.array([run > 1]), "output differs in 1 of 1 values", id="truth-values"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_another_answer_to_the_same_input_is_told(answer: Callable[[int], Array], says: str) -> None:
    with np.errstate(divide="ignore"):
        told = differs_when_repeated(Counting(answer), {})
    assert told is not None
    assert "keeps state" in told
    assert re.search(says, told)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda run: START, id="the-same-array"),
        pytest.param(lambda run: START * np.float32(1 + 2.0**-22 * run), id="rounded-otherwise"),
        pytest.param(lambda run: np.array([np.nan, np.inf, 1]), id="not-finite"),
        pytest.param(lambda run: np.zeros((0, 3)), id="empty"),
        pytest.param(lambda run: np.float32(3), id="a-scalar"),
    ],
)
def test_the_same_answer_but_for_rounding_is_not(answer: Callable[[int], Array]) -> None:
    assert differs_when_repeated(Counting(answer), {}) is None


@dataclass
class Smoothing:
    """A leg that answers with the mean of this input and what it was run on before; it refuses NaN."""

    mean: bool
    name: str = "torch-float32"
    ports: Ports = field(default_factory=lambda: Ports((), ()))
    before: Array | None = None

    def run(self, inputs: Arrays) -> Answer:
        x = inputs["x"]
        if np.isnan(x).any():
            raise ValueError("no number")
        found = x if self.before is None else (x + self.before) / 2
        self.before = x
        return Answer({"output": found if self.mean else x}, {})


def test_a_mean_over_the_runs_is_told_by_another_input_in_between() -> None:
    here, other = {"x": START}, {"x": -START}
    assert differs_when_repeated(Smoothing(mean=True), here) is None
    told = differs_when_repeated(Smoothing(mean=True), here, other)
    assert told is not None
    assert "changes by up to 4" in told
    assert differs_when_repeated(Smoothing(mean=False), here, other) is None


def test_another_input_that_the_model_refuses_is_no_reason_to_stop() -> None:
    refused = {"x": np.full(3, np.nan, np.float32)}
    assert differs_when_repeated(Smoothing(mean=False), {"x": START}, refused) is None


def test_an_answer_that_the_next_run_overwrites_is_kept_for_comparison() -> None:
    memory = START.copy()

    def overwritten(run: int) -> Array:
        memory[:] = START * run
        return memory

    assert differs_when_repeated(Counting(overwritten), {}) is not None
