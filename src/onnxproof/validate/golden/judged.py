"""What a leg did on golden cases, judged as ``validate`` judges a file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from onnxproof.contract import Contract
from onnxproof.progress import Progress, silent
from onnxproof.validate.cases import Case
from onnxproof.validate.compare.decisions import DecisionPool
from onnxproof.validate.facts import Facts
from onnxproof.validate.golden.few import FewValues
from onnxproof.validate.golden.golden import Floor, Golden
from onnxproof.validate.golden.moved import Moved
from onnxproof.validate.judge import judge, ranks_of
from onnxproof.validate.legs.leg import Answer, Leg
from onnxproof.validate.measure import Extremes, Measurement
from onnxproof.validate.policy import FLOAT_FLOOR, FloatFloor
from onnxproof.validate.sweep import facts_under, measure
from onnxproof.validate.verdict import Check

NO_FLOOR = Floor(0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Judged:
    """What a leg did, how that was judged, and notes on it."""

    facts: Facts
    checks: tuple[Check, ...]
    notes: tuple[str, ...] = ()


@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def judged(
    golden: Golden,
    contract: Contract,
    leg: Leg,
    *,
    progress: Progress = silent,
) -> Judged:
    """The facts of a leg on golden cases, and the checks of the links ``runtime`` and ``decisions``.

    Errors are divided by PyTorch's on these cases or on all cases of the verdict, whichever are larger. There
    is no second look: it would need PyTorch. Instead, the limits of a field with few values are wider
    (few.py). NumPy warns of nothing, whatever numbers the leg answers. ``contract`` is the one that the cases
    were recorded with. Raises CheckError if no case is left.
    """
    floors, lowered = golden.floors.fields, golden.about.lowered
    policy: FloatFloor = FewValues(counts={name: one.count for name, one in floors.items() if one.count})
    if lowered is not None:
        policy = golden.about.policy
    trial = golden.trial(contract, leg, policy)
    moved = None if lowered is None else Moved(contract, lowered)

    def watch(case: Case, wanted: Answer, found: Sequence[Answer | None]) -> None:
        if moved is not None and trial.truth.oracle is not None:
            moved.add(case, trial.truth.oracle.run(trial.inputs_of(case)).outputs, wanted, found[0])

    (tally,) = measure(trial, progress=progress, watch=watch)
    pools = ((tally.decisions, golden.floors.decisions), (tally.all_rows, golden.floors.rows))
    for pool, quantities in pools:
        if pool is not None:
            _raise(pool, quantities)
    facts = facts_under(trial, leg, tally)
    fields = (_under(measured, floors.get(measured.name, NO_FLOOR)) for measured in facts.fields)
    facts = replace(facts, fields=tuple(fields))
    if moved is not None and facts.decisions is not None:
        # How near a decision is to flipping is told in float errors, and this floor is no float error.
        facts = replace(facts, decisions=replace(facts.decisions, closest=None))
    counts = {measured.name: measured.count for measured in facts.fields}
    checks = tuple(_told(check, counts) for check in judge(facts, ranks_of(contract.fields), policy))
    if moved is None:
        return Judged(facts, checks)
    return Judged(facts, (*checks, *moved.checks(leg.name)), tuple(moved.notes(leg.name)))


def _told(check: Check, counts: Mapping[str, int]) -> Check:
    """The check; if its limit grew, with the reason why."""
    usual = {"ratio_rms": FLOAT_FLOOR.ratio_rms, "ratio_max": FLOAT_FLOOR.ratio_max}.get(check.name)
    if usual is None or check.limit is None or check.field is None or not check.limit > usual:
        return check
    told = f"the limit is {usual:g}, and {check.limit:.3g} over {counts[check.field]} values"
    return replace(check, reason=f"{check.reason}; {told}")


def _raise(pool: DecisionPool, floors: Mapping[str, Floor]) -> None:
    """Raise what PyTorch errs in the quantities of a pool to what it erred on all cases."""
    for name, floor in floors.items():
        pool.quantities.setdefault(name, Extremes()).merge(Extremes(floor.max, 0.0, floor.scale))


def _under(measured: Measurement, floor: Floor) -> Measurement:
    return replace(
        measured,
        rms_reference=max(measured.rms_reference, floor.rms),
        max_reference=max(measured.max_reference, floor.max),
        scale_max=max(measured.scale_max, floor.scale),
    )
