"""A trial: what is promised, the legs that are compared, the cases, and the policy that judges.

A plan is made once, before any model runs; a trial is a plan with its legs open. validate, compare, bisect
and the labelled pictures all run trials, so that they try the same things in the same way.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from onnxproof.contract import Contract
from onnxproof.counted import selects
from onnxproof.errors import JobError
from onnxproof.runtime.session import CPU, Optimization, require_providers, require_threads
from onnxproof.seeded import require_drawable
from onnxproof.source import find_pictures
from onnxproof.tensors import Field
from onnxproof.validate.cases import Case, Effort, case_or_reason, materialise, plan
from onnxproof.validate.dataset.labels import Labels
from onnxproof.validate.dataset.plan import plan_labels
from onnxproof.validate.facts import Failure
from onnxproof.validate.legs.leg import Arrays, Leg, Truth
from onnxproof.validate.policy import FLOAT_FLOOR, Policy

if TYPE_CHECKING:  # they need onnx_ir, and a trial on recorded answers does not
    from onnxproof.validate.conditions import Seen
    from onnxproof.validate.exact.constants import Proven
    from onnxproof.validate.exact.known import Known
    from onnxproof.validate.looked_up import ChangedRows

Closer = Callable[[Sequence[Case], Sequence[Field]], Mapping[str, float]]
"""Measures on some cases how far rounding alone may move each field: by name, the largest element of the
difference."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How files are tried: a job's ``[validate]``, less what the model's decisions are cut by.

    ``images`` is a pattern of pictures and ``annotations`` a file of labels, both seen from ``folder`` and
    None for none. ``optimization`` lists ONNX Runtime's levels, each of which is judged. ``threads`` is the
    number of intra-op threads of PyTorch and of ONNX Runtime. If ``leaves_out``, pictures that cannot be used
    are left out of the plan, which lists them. ``chosen`` are settings of decisions, such as
    "score_threshold", that a file may state otherwise: they were chosen for this verdict alone. ``guessed``
    are the inputs and dims whose values nobody declared. Raises RequestError for too many threads, and for a
    provider that the installed ONNX Runtime lacks.
    """

    images: str | None = None
    annotations: str | None = None
    folder: Path = Path()
    providers: tuple[str, ...] = (CPU,)
    optimization: tuple[Optimization, ...] = ("all",)
    effort: Effort = "normal"
    threads: int = 2
    seed: int = 0
    leaves_out: bool = False
    chosen: frozenset[str] = frozenset()
    guessed: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        require_threads(self.threads)
        require_providers(self.providers)


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be tried, before anything runs. ``labels`` are None if no labelled pictures are named.

    ``pictures`` are those that are tried, ``unread`` are those that are left out, each with the reason.
    """

    contract: Contract
    settings: Settings
    cases: tuple[Case, ...]
    labels: Labels | None
    policy: Policy
    pictures: tuple[Path, ...] = ()
    unread: tuple[Failure, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Stated:
    """What a file states: its graph in float64, ``leg``.

    ``candidates`` are the indices of the candidates that run this file. ``cases`` are the names of the cases
    on which the graph is evaluated. ``contract`` is the trial's, less the outputs that the evaluator cannot
    do; ``missing`` has the reason of each, by the output's name. ``proven`` is what the file's constants are.
    ``closer`` measures how far rounding alone can part the graph from the oracle; None if that cannot be
    measured. ``known`` is what constants the checkpoint's files may hold; None without a checkpoint. ``seen``
    is what the graph's conditions were in its runs; None if nobody watches them. ``changed`` are the rows of
    tables that differ from the checkpoint's. ``more`` are the cases that the file and its model ask for, and
    ``notes`` tell of those that the model does not take.
    """

    leg: Leg
    candidates: tuple[int, ...]
    cases: frozenset[str]
    contract: Contract
    missing: Mapping[str, str]
    proven: "Proven"
    closer: Closer | None = None
    known: "Known | None" = None
    seen: "Seen | None" = None
    changed: "tuple[ChangedRows, ...]" = ()
    more: tuple[Case, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """A plan with its legs open. ``graphs`` has the function link of each file; it may be empty.

    ``beside`` says that PyTorch may run in a thread beside the file's legs. It may not where other processes
    have the other cores, or where the model's weights leave no memory. ``at_hand`` are the names of the cases
    whose answers PyTorch's legs have already. ``given`` has the inputs of cases that are not made but held,
    by the case's name. ``sought`` are the names of the cases that were made for graphs, which no candidate
    runs.
    """

    contract: Contract
    truth: Truth
    candidates: tuple[Leg, ...]
    cases: tuple[Case, ...]
    policy: Policy = FLOAT_FLOOR
    graphs: tuple[Stated, ...] = ()
    beside: bool = False
    at_hand: frozenset[str] = frozenset()
    given: Mapping[str, Arrays] = field(default_factory=dict)
    sought: frozenset[str] = frozenset()

    @classmethod
    def of(cls, plan: Plan, truth: Truth, candidates: Sequence[Leg], graphs: Sequence[Stated] = ()) -> Self:
        """The trial of a plan on these legs, with the cases that the files themselves ask for."""
        more = {case.name: case for graph in graphs for case in graph.more}
        cases = (*plan.cases, *more.values())
        return cls(plan.contract, truth, tuple(candidates), cases, plan.policy, tuple(graphs))

    def inputs_of(self, case: Case) -> Arrays:
        """The arrays of a case, by input name."""
        held = self.given.get(case.name)
        return materialise(case, self.contract.inputs, self.contract.preprocess) if held is None else held

    def on(self, *cases: Case) -> "Trial":
        """The same trial on some cases alone."""
        return replace(self, cases=cases)


def plan_trial(contract: Contract, settings: Settings, policy: Policy = FLOAT_FLOOR) -> Plan:
    """Plan what a file is tried on. Needs no model and no tensor; opens every picture, once.

    Raises PictureError if no picture is there, or one cannot be used and the settings do not leave it out,
    JobError if the model takes no pictures and some are named, or if the labelled pictures do not fit,
    RequestError if a case's array would be too large.
    """
    pictures = find_pictures(settings.images, settings.folder)
    if pictures and contract.preprocess is None:
        raise JobError(
            f'validate.images = "{settings.images}": the model has no picture among its inputs '
            f"({', '.join(spec.name for spec in contract.inputs)}); leave the key out"
        )
    unread: dict[Path, str] = {}
    opened: dict[Path, Case] = {}
    if settings.leaves_out and contract.preprocess is not None:
        for path in pictures:
            found = case_or_reason(path, contract.preprocess, contract.dims)
            if isinstance(found, str):
                unread[path] = found
            else:
                opened[path] = found
        pictures = tuple(opened)
    labels = plan_labels(settings.annotations, settings.folder, pictures, contract)
    cases = plan(
        contract.dims,
        contract.preprocess,
        pictures,
        settings.effort,
        settings.seed,
        constant=not selects(contract.reading),
        inputs=contract.inputs,
        opened=opened,
    )
    for case in cases:
        for spec in contract.inputs:
            require_drawable(spec, case.sizes)
    left_out = tuple(Failure(str(path), reason) for path, reason in unread.items())
    return Plan(contract, settings, cases, labels, policy, pictures, left_out)
