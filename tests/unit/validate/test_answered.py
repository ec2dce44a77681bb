"""PyTorch answers the cases that follow while the file's legs are at one."""

import threading
from dataclasses import dataclass, field

import pytest
from contracts import contract

from onnxproof.errors import UserCodeError
from onnxproof.runtime.port import Port
from onnxproof.tensors import Dim, TensorSpec
from onnxproof.validate.answered import MOST_AHEAD, all_answered
from onnxproof.validate.cases import Case
from onnxproof.validate.legs.leg import Answer, Arrays, Ports, Truth
from onnxproof.validate.trial import Trial

SPEC = TensorSpec("x", "float32", ("batch", 1), (0.0, 1.0))
OUT = TensorSpec("y", "float32", ("batch", 1))
WAIT_S = 30.0


@dataclass
class Doubles:
    """x * 2. ``refuses`` is a batch that it cannot run; ``done`` is set when it has run ``last``.

    At the batch ``waits`` it sets ``begun``, and waits until it ``may`` go on.
    """

    last: int = 0
    refuses: int | None = None
    batches: list[int] = field(default_factory=list)
    waits: int | None = None
    done: threading.Event = field(default_factory=threading.Event)
    begun: threading.Event = field(default_factory=threading.Event)
    may: threading.Event = field(default_factory=threading.Event)
    name: str = "torch-float32"

    @property
    def ports(self) -> Ports:
        inputs, outputs = (Port(spec.name, spec.dtype, spec.shape) for spec in (SPEC, OUT))
        return Ports((inputs,), (outputs,))

    def run(self, inputs: Arrays) -> Answer:
        batch = len(inputs["x"])
        if batch == self.refuses:
            raise RuntimeError("no such batch")
        if batch == self.waits:
            self.begun.set()
            assert self.may.wait(WAIT_S)
        self.batches.append(batch)
        if batch == self.last:
            self.done.set()
        return Answer({"y": inputs["x"] * 2}, {})


def trial(leg: Doubles, *batches: int, beside: bool = True, at_hand: tuple[int, ...] = ()) -> Trial:
    own = contract(inputs=(SPEC,), outputs=(OUT,), dims=(Dim("batch", 1, 2 * MOST_AHEAD),))
    cases = tuple(Case(f"{batch}-noise", {"batch": batch}, "noise", batch) for batch in batches)
    names = frozenset(f"{batch}-noise" for batch in at_hand)
    return Trial(own, Truth(None, leg), (), cases, beside=beside, at_hand=names)


def test_cases_come_in_order_and_the_next_are_run_meanwhile() -> None:
    leg = Doubles(last=3)
    with all_answered(trial(leg, 2, 1, 3)) as answers:
        assert len(next(answers).arrays["x"]) == 2
        assert leg.done.wait(WAIT_S)  # the last case has run, and nobody has asked for it
        found = [(one.case.sizes["batch"], len(one.wanted.outputs["y"])) for one in answers]
    assert found == [(1, 1), (3, 3)]
    assert leg.batches == [2, 1, 3]


@pytest.mark.parametrize(("size", "beside"), [(MOST_AHEAD, True), (2, False)])
def test_a_large_case_waits_for_the_one_before_and_all_do_where_none_may_run_beside(
    size: int, *, beside: bool
) -> None:
    leg = Doubles(last=size)
    with all_answered(trial(leg, 1, size, beside=beside)) as answers:
        next(answers)
        assert leg.batches == [1]
        assert [one.case.sizes["batch"] for one in answers] == [size]
    assert leg.batches == [1, size]


def test_a_case_that_is_at_hand_holds_up_no_other() -> None:
    """Its answer is only looked up. PyTorch begins with the first case that it has not run."""
    leg = Doubles(last=MOST_AHEAD)
    with all_answered(trial(leg, 1, 2, MOST_AHEAD, at_hand=(1, 2))) as answers:
        assert next(answers).case.sizes["batch"] == 1
        assert leg.done.wait(WAIT_S)
        assert [one.case.sizes["batch"] for one in answers] == [2, MOST_AHEAD]
    assert sorted(leg.batches) == [1, 2, MOST_AHEAD]


def test_what_a_case_raises_is_raised_when_it_is_asked_for() -> None:
    expected = pytest.raises(
        UserCodeError, match=r"no such batch; the case was 2-noise \(batch 2, torch-float32\)"
    )
    with expected, all_answered(trial(Doubles(refuses=2), 1, 2)) as answers:
        next(answers)
        next(answers)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_waits_for_the_case_that_pytorch_is_at_and_ctrl_c_does_not(
    error: type[BaseException],
) -> None:
    leg = Doubles(last=2, waits=2)
    with pytest.raises(error), all_answered(trial(leg, 1, 2)) as answers:
        next(answers)
        assert leg.begun.wait(WAIT_S)
        if error is ValueError:
            threading.Timer(0.2, leg.may.set).start()
        raise error
    assert leg.done.is_set() == (error is ValueError)
    leg.may.set()
