"""What PyTorch answers on the cases of a trial: the oracle and the reference.

PyTorch goes ahead of the file's legs, in a thread of its own. Both spend their time outside of Python, so
that each has a core.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain

from onnxproof.errors import CheckError, OnnxproofError, UserCodeError
from onnxproof.system.usercode import told, users_place
from onnxproof.validate.a_thread import a_thread
from onnxproof.validate.cases import Case, volume
from onnxproof.validate.legs.leg import Answer, Arrays, Leg
from onnxproof.validate.trial import Trial

MOST_AHEAD = 2**19
"""The input volume (batch x height x width) of the cases that PyTorch may be ahead, at most. A larger case
has the memory for itself: it is run when the one before it is done with."""


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """A case, its inputs, and PyTorch's answers: ``wanted`` of the reference, ``exact`` of the oracle.

    An output that has no float64 value is the reference's in both.
    """

    case: Case
    arrays: Arrays
    wanted: Answer
    exact: Answer


def answered(trial: Trial, case: Case) -> Answered:
    """Run PyTorch on one case.

    Raises CheckError if it cannot, UserCodeError if the module's own code raises.
    """
    arrays = trial.inputs_of(case)
    wanted = exact = _run(trial.truth.reference, case, arrays)
    if trial.truth.oracle is not None:
        exact = _run(trial.truth.oracle, case, arrays)
        stand_ins = {name: wanted.outputs[name] for name in trial.truth.oracle_missing}
        exact = replace(exact, outputs={**exact.outputs, **stand_ins})
    return Answered(case, arrays, wanted, exact)


@contextmanager
def all_answered(trial: Trial) -> Iterator[Iterator[Answered]]:
    """Run PyTorch on each case of the trial, in order.

    If the trial lets it run ``beside`` the file's legs, it runs the cases that follow while the caller is at
    one. Those whose answers are ``at_hand`` do not hold it up. Raises as ``answered`` does, when the case is
    asked for.
    """
    if not trial.beside:
        yield (answered(trial, case) for case in trial.cases)
        return
    with a_thread("onnxproof-pytorch") as pool:
        yield _answered_by(pool, trial)


def _answered_by(pool: ThreadPoolExecutor, trial: Trial) -> Iterator[Answered]:
    begun: deque[tuple[Case | None, Callable[[], Answered]]] = deque()
    for case in chain(trial.cases, (None,)):
        if case is not None and case.name in trial.at_hand:
            begun.append((None, partial(answered, trial, case)))
            continue
        while begun and (case is None or volume([case, *(one for one, _ in begun if one)]) > MOST_AHEAD):
            yield begun.popleft()[1]()
        if case is not None:
            begun.append((case, pool.submit(answered, trial, case).result))


def _run(leg: Leg, case: Case, arrays: Arrays) -> Answer:
    try:
        return leg.run(arrays)
    except OnnxproofError:
        raise
    except Exception as error:
        # The model's own code runs here and may raise any type.
        sizes = ", ".join(f"{name} {size}" for name, size in case.sizes.items())
        if users_place(error) is not None:
            raise UserCodeError(
                f"the module's forward {told(error)}; the case was {case.name} ({sizes}, {leg.name}): "
                "mend it there, or narrow [dims] to what the model supports"
            ) from error
        reason = str(error).strip().partition("\n")[0]
        raise CheckError(
            f"PyTorch itself ({leg.name}) cannot run the case {case.name} ({sizes}): {reason}; "
            "narrow [dims] to what the model supports"
        ) from error
