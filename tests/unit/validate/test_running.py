"""Candidates run on a case while the file's graph is evaluated on it."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from contracts import contract

from onnxproof.tensors import Dim, TensorSpec
from onnxproof.validate.answered import MOST_AHEAD, Answered
from onnxproof.validate.cases import Case
from onnxproof.validate.legs.leg import Answer, Arrays, Leg, Ports, Truth
from onnxproof.validate.running import running
from onnxproof.validate.trial import Trial

WAIT_S = 30.0
SPEC = TensorSpec("x", "float32", ("batch", 1))
OUT = TensorSpec("y", "float32", ("batch", 1))


@dataclass
class Candidate:
    """Returns nothing, or raises ``refuses``. Notes in which threads it ran."""

    refuses: Exception | None = None
    ran: threading.Event = field(default_factory=threading.Event)
    threads: list[str] = field(default_factory=list)
    name: str = "ort-cpu"
    ports: Ports = field(default_factory=lambda: Ports((), ()))

    def run(self, inputs: Arrays) -> Answer:
        self.threads.append(threading.current_thread().name)
        self.ran.set()
        if self.refuses is not None:
            raise self.refuses
        return Answer(inputs, {})


def trial(leg: Leg, *, beside: bool, graphs: Sequence[Any] = ("a graph",)) -> Trial:
    own = contract(inputs=(SPEC,), outputs=(OUT,), dims=(Dim("batch", 1, 2 * MOST_AHEAD),))
    return Trial(own, Truth(None, leg), (leg,), (), graphs=cast("Any", tuple(graphs)), beside=beside)


def answered(batch: int = 1) -> Answered:
    empty = Answer({}, {})
    return Answered(Case(f"{batch}-noise", {"batch": batch}, "noise", batch), {}, empty, empty)


def test_a_candidate_runs_before_its_answer_is_asked_for() -> None:
    leg = Candidate()
    with running(trial(leg, beside=True)) as run:
        answer = run(leg, answered())
        assert leg.ran.wait(WAIT_S)
        assert isinstance(answer(), Answer)
    assert leg.threads == ["onnxproof-candidates_0"]


@pytest.mark.parametrize(
    ("beside", "graphs", "batch"),
    [(False, ("a graph",), 1), (True, (), 1), (True, ("a graph",), MOST_AHEAD + 1)],
    ids=["nothing may run beside", "there is no graph to run beside", "the case needs the memory for itself"],
)
def test_it_runs_when_it_is_asked_for_otherwise(beside: bool, graphs: Sequence[Any], batch: int) -> None:
    leg = Candidate()
    with running(trial(leg, beside=beside, graphs=graphs)) as run:
        answer = run(leg, answered(batch))
        assert not leg.threads
        answer()
    assert leg.threads == ["MainThread"]


@pytest.mark.parametrize("beside", [True, False])
def test_what_it_raises_is_its_answer(beside: bool) -> None:
    leg = Candidate(RuntimeError("no such size\nand more"))
    with running(trial(leg, beside=beside)) as run:
        assert run(leg, answered())() == "no such size"


def test_who_stops_early_does_not_wait() -> None:
    hold, leg = threading.Event(), Candidate()

    class Slow(Candidate):
        def run(self, inputs: Arrays) -> Answer:
            self.ran.set()
            assert hold.wait(WAIT_S)
            return Answer(inputs, {})

    slow = Slow()
    with pytest.raises(KeyboardInterrupt), running(trial(slow, beside=True)) as run:
        run(slow, answered())
        run(leg, answered())
        assert slow.ran.wait(WAIT_S)
        raise KeyboardInterrupt
    hold.set()
    assert not leg.threads
