"""Choose the cases of a plan that are recorded, and measure PyTorch's own error on all of them.

The legs are those of a verdict that was just reached, which keep their answers. They are asked again, and
run nothing for that.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, replace

from onnxproof.contract import Contract
from onnxproof.tensors import Dim
from onnxproof.validate.cases import Case, volume
from onnxproof.validate.compare.decisions import DecisionPool
from onnxproof.validate.golden.golden import (
    MOST_ELEMENTS,
    About,
    Floor,
    Floors,
    Golden,
    GoldenCase,
    elements_of,
)
from onnxproof.validate.golden.moved import values_apart
from onnxproof.validate.legs.leg import Answer, Arrays, Leg, Truth
from onnxproof.validate.sweep import measure, merge
from onnxproof.validate.tally import Tally
from onnxproof.validate.trial import Plan, Trial

MOST_CASES = 8
"""How many cases are recorded at most."""

PICTURES = 2
"""How many of the job's pictures are among them at most."""

MOVED = 0.5
"""The share of the values that a graph's own rounding must move to be a yardstick. Where it moves fewer, one
number that another runtime rounds otherwise may weigh more than all that were seen."""

NO_FLOORS = Floors({}, {}, {})

Holds = Callable[[Arrays], bool]
"""Whether the legs have their answers to some inputs at hand."""


def record(plan: Plan, truth: Truth, about: About, rough: Mapping[str, float], holds: Holds) -> Golden:
    """Record golden cases of a plan, the most useful first; there may be none.

    ``rough`` has the fields that the verified runtime computes less well than PyTorch, each node within its
    rounding bound: by name, how many times PyTorch's error it errs. Their floors count that much more.
    """
    trial = Trial(plan.contract, truth, (truth.reference,), plan.cases, plan.policy)
    total: tuple[Tally, ...] = ()
    decided: dict[str, int] = {}
    pictures = 0
    for case in trial.cases:
        inputs = trial.inputs_of(case)
        # Answers that were not kept are asked for again, but only of a picture that is still wanted.
        if case.name in decided or not (holds(inputs) or (case.native and pictures < PICTURES)):
            continue
        found = measure(replace(trial.on(case), given={case.name: inputs}))
        decided[case.name] = 0 if found[0].decisions is None else found[0].decisions.reference
        pictures += case.native and decided[case.name] > 0
        total = merge((total, found)) if total else found
    if not total:
        return Golden(about, NO_FLOORS, ())
    known = {case.name: case for case in reversed(plan.cases) if case.name in decided}
    small = [case for case in known.values() if elements_of(case, plan.contract) <= MOST_ELEMENTS]
    cases = chosen(small[::-1], plan.contract.dims, decided)
    return Golden(about, _floors(total[0], rough), tuple(_recorded(trial, case) for case in cases))


def record_lowered(
    contract: Contract,
    cases: Sequence[Case],
    truth: Truth,
    judged: Leg,
    healthy: Iterable[Sequence[Leg]],
    about: About,
) -> Golden:
    """Record golden cases of a file of lower precision, of those that were planned; there may be none.

    ``truth`` has the file's graph in float64 and the leg that the budget ``judged``, with the same margins.
    The floors are the errors of that leg and of ``healthy`` ones, on the cases that are recorded: of the
    first legs that part from the graph in a share MOVED of the values.
    """
    small = {case.name: case for case in cases if elements_of(case, contract) <= MOST_ELEMENTS}
    decided: dict[str, int] = {}
    pictures = 0
    for case in small.values():
        decided[case.name] = 0
        if case.native and pictures < PICTURES:
            pool = measure(Trial(contract, Truth(judged, judged), (judged,), (case,)))[0].decisions
            decided[case.name] = 0 if pool is None else pool.reference
            pictures += decided[case.name] > 0
    trial = Trial(contract, truth, (truth.reference,), chosen(tuple(small.values()), contract.dims, decided))
    if not trial.cases:
        return Golden(about, NO_FLOORS, ())
    found: list[tuple[tuple[Tally, ...], float]] = []
    for legs in healthy:
        found = [_parted(trial, leg) for leg in legs]
        if min((share for _, share in found), default=1.0) >= MOVED:
            break
    total = merge([measure(trial), *(tallies for tallies, _ in found)])
    return Golden(about, _floors(total[0], {}), tuple(_recorded(trial, case) for case in trial.cases))


def _parted(trial: Trial, leg: Leg) -> tuple[tuple[Tally, ...], float]:
    """What a leg errs in the reference's place, and in which share of the values it parts from the oracle."""
    counts = [0, 0]

    def watch(case: Case, wanted: Answer, _: Sequence[Answer | None]) -> None:
        oracle = trial.truth.oracle
        assert oracle is not None
        exact = oracle.run(trial.inputs_of(case)).outputs
        for place, count in enumerate(values_apart(trial.contract, exact, wanted.outputs)):
            counts[place] += count

    own = replace(trial, truth=replace(trial.truth, reference=leg), candidates=(leg,))
    return measure(own, watch=watch), counts[1] / max(counts[0], 1)


def chosen(cases: Sequence[Case], dims: Sequence[Dim], decided: Mapping[str, int]) -> tuple[Case, ...]:
    """At most MOST_CASES, the most useful first.

    They are a picture of the job on which something is ``decided``, small cases of noise that have the ends
    of every dim, more pictures, and the smallest others of noise.
    """
    pictures = sorted((case for case in cases if case.native), key=lambda case: not decided[case.name])
    noise = sorted((case for case in cases if case.kind == "noise"), key=lambda case: volume((case,)))
    ends = {(dim.name, size) for dim in dims if not dim.fixed for size in (dim.min, dim.max)}
    ordered = (*pictures[:1], *_covering(noise, ends), *pictures[:PICTURES], *noise)
    return tuple({case.name: case for case in ordered}.values())[:MOST_CASES]


def _covering(cases: Sequence[Case], wanted: set[tuple[str, int]]) -> Iterator[Case]:
    """Cases that together have all sizes that are wanted, the most of them for the least volume first."""
    left = {at: wanted & set(case.sizes.items()) for at, case in enumerate(cases)}
    while any(left.values()):
        best = max(left, key=lambda at: len(left[at]) / volume((cases[at],)))
        covered = left.pop(best)
        left = {at: sizes - covered for at, sizes in left.items()}
        yield cases[best]


def _recorded(trial: Trial, case: Case) -> GoldenCase:
    inputs = trial.inputs_of(case)
    truth = trial.truth
    oracle = None
    if truth.oracle is not None:
        exact = truth.oracle.run(inputs)
        known = {name: array for name, array in exact.outputs.items() if name not in truth.oracle_missing}
        oracle = Answer(known, exact.margins, exact.choices)
    return GoldenCase(case, inputs, truth.reference.run(inputs), oracle)


def _floors(tally: Tally, rough: Mapping[str, float]) -> Floors:
    fields = {}
    for name, pool in tally.pools.errors.items():
        found, factor = pool.result(), max(rough.get(name, 1.0), 1.0)
        if found.count:
            rms, largest = factor * found.rms_reference, factor * found.max_reference
            fields[name] = Floor(rms, largest, found.scale_max, found.count)
    worst = max((1.0, *rough.values()))
    return Floors(_told(fields), _of(tally.decisions, worst), _of(tally.all_rows, worst))


def _of(pool: DecisionPool | None, factor: float) -> dict[str, Floor]:
    """The floors of what decisions rest on."""
    quantities = {} if pool is None else pool.quantities
    floors = {
        name: Floor(0.0, factor * found.max_reference, found.scale_max) for name, found in quantities.items()
    }
    return _told(floors)


def _told(floors: Mapping[str, Floor]) -> dict[str, Floor]:
    """Those that are numbers: others are no yardstick."""
    return {name: floor for name, floor in floors.items() if all(map(math.isfinite, astuple(floor)))}
