"""PyTorch's side of a trial. It is the same for every file of a model, so it can run before there is one."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from threading import Event

from onnxproof.validate.cases import materialise, smallest
from onnxproof.validate.exact.known import Known
from onnxproof.validate.exact.record import known_of
from onnxproof.validate.legs.leg import Answer, Arrays, Leg, Ports, Truth
from onnxproof.validate.legs.pytorch import torch_truth
from onnxproof.validate.legs.recorded import key_of
from onnxproof.validate.trial import Plan
from onnxproof.wrappers.family import WrappedModel
from onnxproof.wrappers.weights import bytes_of

MOST_KEPT_BYTES = 2**28
"""How many bytes of answers each leg keeps."""

MOST_WEIGHTS_BYTES = 2**28
"""Models with more bytes of weights run alone: their float64 weights would take memory beside what another
process or another leg takes."""

DONE = object()


def leaves_room(model: WrappedModel) -> bool:
    """Whether a model may run while another process or another leg does."""
    return bytes_of(model.module) <= MOST_WEIGHTS_BYTES


class Kept:
    """A leg that keeps its answers, and gives them again for the same inputs.

    Once they take ``MOST_KEPT_BYTES``, it keeps no more. ``leg`` is the leg itself.
    """

    def __init__(self, leg: Leg) -> None:
        self.leg = leg
        self._answers: dict[bytes, Answer] = {}
        self._bytes = 0

    @property
    def name(self) -> str:
        """The leg's name."""
        return self.leg.name

    @property
    def ports(self) -> Ports:
        """The leg's ports."""
        return self.leg.ports

    @property
    def full(self) -> bool:
        """Whether it keeps no more."""
        return self._bytes > MOST_KEPT_BYTES

    def holds(self, inputs: Arrays) -> bool:
        """Whether the answer to these inputs was kept."""
        return key_of(inputs) in self._answers

    def run(self, inputs: Arrays) -> Answer:
        key = key_of(inputs)
        if key in self._answers:
            return self._answers[key]
        answer = self.leg.run(inputs)
        self._bytes += sum(
            array.nbytes for part in (answer.outputs, answer.margins) for array in part.values()
        )
        if not self.full:
            self._answers[key] = answer
        return answer


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """The model as oracle and reference, and what constants its files may hold.

    ``rest`` is called before a trial begins: no leg is at work from then on. It returns the names of the
    cases whose answers are kept.
    """

    truth: Truth
    known: Known
    rest: Callable[[], frozenset[str]] = frozenset


class Ahead:
    """The model in PyTorch, run on the cases of ``plan`` before a file is there."""

    def __init__(self, model: WrappedModel, plan: Plan) -> None:
        self._model, self.plan = model, plan
        self._prepared: Prepared | None = None
        self._steps = self._made_steps()
        self._kept: set[str] = set()
        self._thread = ThreadPoolExecutor(1, "onnxproof-ahead")
        self._going_on: Future[None] | None = None
        self._stopped = Event()

    @property
    def prepared(self) -> Prepared:
        """Raises UserCodeError if the module's own code raises."""
        if self._prepared is None:
            self._prepared = replace(prepare(self._model, self.plan, keep=True), rest=self.rest)
        return self._prepared

    def steps(self) -> Iterator[None]:
        """The pieces of work that are left: prepare, then run each case.

        A leg has the same number of threads here as later. With another number PyTorch adds up in another
        order, and the figures of a verdict would depend on how much was done ahead. What raises is left for
        the sweep, which raises it again and tells of which case. Does nothing for a model that does not
        leave room.
        """
        self.rest()
        return self._steps

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Inside, a thread goes through the steps that are left, until ``rest`` is called.

        It does nothing if the legs are not open yet. If the block raises an error, the step that it is at is
        waited for (a_thread.py has why). A signal or Ctrl-C ends the run at once.
        """
        self.rest()
        self._stopped.clear()
        if self._prepared is not None:
            self._going_on = self._thread.submit(self._go_on)
        try:
            yield
        except Exception:
            self.rest()
            raise
        finally:
            self._stopped.set()

    def _go_on(self) -> None:
        while not self._stopped.is_set() and next(self._steps, DONE) is not DONE:
            pass

    def rest(self) -> frozenset[str]:
        """Wait until no step is at work, and begin no other. Returns the names of the cases whose answers are
        kept."""
        self._stopped.set()
        if self._going_on is not None:
            self._going_on.result()
        return frozenset(self._kept)

    def _made_steps(self) -> Iterator[None]:
        if not leaves_room(self._model):
            return
        with suppress(Exception):
            truth = self.prepared.truth
            yield
            if truth.unsteady is not None:
                return
            for case in self.plan.cases:
                arrays = materialise(case, self._model.contract.inputs, self._model.contract.preprocess)
                legs = [leg for leg in (truth.reference, truth.oracle) if isinstance(leg, Kept)]
                for leg in legs:
                    leg.run(arrays)
                    yield
                if not any(leg.full for leg in legs):
                    self._kept.add(case.name)


def prepare(model: WrappedModel, plan: Plan, *, keep: bool = False) -> Prepared:
    """Open PyTorch's side of a trial; ``keep`` its answers for other files of the model.

    Raises UserCodeError if the module's own code raises.
    """
    truth = torch_truth(model, plan.cases[0], plan.settings.threads)
    if keep:
        oracle = None if truth.oracle is None else Kept(truth.oracle)
        truth = replace(truth, oracle=oracle, reference=Kept(truth.reference))
    return Prepared(truth, known_for(model, plan, truth))


def known_for(model: WrappedModel, plan: Plan, truth: Truth) -> Known:
    """What constants a file of the model may hold, recorded on the plan's smallest case."""
    contract = model.contract
    inputs = materialise(smallest(plan.cases), contract.inputs, contract.preprocess)
    return known_of(model, inputs, truth.rewritten)
