"""Run candidates on a case while the file's graph is evaluated on it.

Both spend their time outside of Python. Where PyTorch has answered all cases, each has a core.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from onnxproof.validate.a_thread import a_thread
from onnxproof.validate.answered import MOST_AHEAD, Answered
from onnxproof.validate.cases import volume
from onnxproof.validate.legs.leg import Answer, Leg
from onnxproof.validate.trial import Trial

Ran = Callable[[], Answer | str]
"""A candidate's answer, or why it does not run. It waits until it is there."""

Run = Callable[[Leg, Answered], Ran]
"""Runs a candidate on a case, now or when its answer is asked for."""


def ran_here(leg: Leg, one: Answered) -> Ran:
    """Run a candidate when its answer is asked for."""
    return partial(_answer, leg, one)


@contextmanager
def running(trial: Trial) -> Iterator[Run]:
    """How the candidates of a trial are run: in a thread of their own, if the trial lets legs run beside
    each other.

    A large case has the memory for itself, so it is run when its answer is asked for.
    """
    if not (trial.beside and trial.graphs):
        yield ran_here
        return
    with a_thread("onnxproof-candidates") as pool:

        def run(leg: Leg, one: Answered) -> Ran:
            if volume([one.case]) > MOST_AHEAD:
                return ran_here(leg, one)
            return pool.submit(_answer, leg, one).result

        yield run


def _answer(leg: Leg, one: Answered) -> Answer | str:
    try:
        return leg.run(one.arrays)
    except Exception as error:  # noqa: BLE001
        # A runtime's exceptions have no common public base below Exception.
        return str(error).strip().partition("\n")[0]
