"""PyTorch's side of a trial, run while another process captures."""

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from onnxproof.job import Job
from onnxproof.steps.planning import plan_of
from onnxproof.validate.ahead import Ahead
from onnxproof.wrappers.wrap import wrap_for_job

THREAD = "onnxproof-ahead_0"
WAIT_S = 30.0


@dataclass
class Runs:
    """With how many threads each run of a module was computed, and which thread of Python ran it.

    A run waits until ``may`` is set.
    """

    threads: list[int] = field(default_factory=list)
    runners: list[str] = field(default_factory=list)
    may: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.may.set()

    def wait_for_more_than(self, count: int) -> None:
        until = time.monotonic() + WAIT_S
        while len(self.runners) <= count:
            assert time.monotonic() < until
            time.sleep(0.001)


class Counting(nn.Module):
    """Notes its runs."""

    def __init__(self, runs: Runs) -> None:
        super().__init__()
        self.runs = runs

    def __deepcopy__(self, _: object) -> "Counting":
        return Counting(self.runs)

    def forward(self, x: Tensor) -> Tensor:
        self.runs.threads.append(torch.get_num_threads())
        self.runs.runners.append(threading.current_thread().name)
        assert self.runs.may.wait(WAIT_S)
        return x * 2


def ahead(runs: Runs) -> Ahead:
    document = {
        "name": "doubled",
        "model": {"family": "module", "task": "raw"},
        "inputs": {"x": "float32[n, 3] in -1..1"},
        "dims": {"n": "1..4"},
        "validate": {"threads": 2},
    }
    job = Job.from_document(document, folder=Path(), source="the test")
    model = wrap_for_job(job, Counting(runs).eval())
    return Ahead(model, plan_of(job, model))


def test_a_leg_has_as_many_threads_ahead_as_later() -> None:
    """With another number PyTorch adds up in another order: figures would depend on what was done ahead."""
    runs = Runs()
    started = ahead(runs)
    runs.threads.clear()
    assert sum(1 for _ in started.steps()) > 2
    started.prepared.truth.reference.run({"x": torch.zeros(7, 3).numpy()})
    assert set(runs.threads) == {2}


def test_what_is_left_is_done_beside_the_next_process() -> None:
    runs = Runs()
    started = ahead(runs)
    next(started.steps())
    begun = len(runs.threads)
    assert sum(1 for _ in started.steps()) > 2
    assert len(runs.threads) > begun
    assert not list(started.steps())


def test_a_thread_goes_on_until_the_trial_begins() -> None:
    runs = Runs()
    started = ahead(runs)
    next(started.steps())
    begun = len(runs.runners)
    with started.going_on():
        runs.wait_for_more_than(begun)
        kept = started.prepared.rest()
        ran = len(runs.runners)
        left = list(started.steps())
    names = {case.name for case in started.plan.cases}
    assert kept <= names
    assert set(runs.runners[begun:ran]) == {THREAD}
    assert set(runs.runners[ran:]) == ({"MainThread"} if left else set())
    assert started.rest() == names


def test_who_leaves_early_does_not_wait() -> None:
    """Ctrl-C ends the run although the model is at a case."""
    runs = Runs()
    started = ahead(runs)
    next(started.steps())
    begun = len(runs.runners)
    runs.may.clear()
    with pytest.raises(KeyboardInterrupt), started.going_on():
        runs.wait_for_more_than(begun)
        raise KeyboardInterrupt
    assert runs.runners[begun:] == [THREAD]
    runs.may.set()
    assert list(started.steps())
    assert set(runs.runners[begun + 1 :]) == {"MainThread"}
