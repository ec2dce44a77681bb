"""What a leg did on golden cases, judged as ``validate`` judges a file."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from onnxproof.contract import Contract
from onnxproof.progress import Progress, silent
from onnxproof.validate.compare.decisions import DecisionPool
from onnxproof.validate.facts import Facts
from onnxproof.validate.golden.few import FewValues
from onnxproof.validate.golden.golden import Floor, Golden
from onnxproof.validate.judge import judge, ranks_of
from onnxproof.validate.legs.leg import Leg
from onnxproof.validate.measure import Extremes, Measurement
from onnxproof.validate.policy import FLOAT_FLOOR
from onnxproof.validate.sweep import facts_under, measure
from onnxproof.validate.verdict import Check

NO_FLOOR = Floor(0.0, 0.0, 0.0)


@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def judged(
    golden: Golden,
    contract: Contract,
    leg: Leg,
    *,
    progress: Progress = silent,
) -> tuple[Facts, tuple[Check, ...]]:
    """The facts of a leg on golden cases, and the checks of the links ``runtime`` and ``decisions``.

    Errors are divided by PyTorch's on these cases or on all cases of the verdict, whichever are larger. There
    is no second look: it would need PyTorch. Instead, the limits of a field with few values are wider
    (few.py). NumPy warns of nothing, whatever numbers the leg answers. ``contract`` is the one that the cases
    were recorded with. Raises CheckError if no case is left.
    """
    floors = golden.floors.fields
    policy = FewValues(counts={name: floor.count for name, floor in floors.items() if floor.count})
    trial = golden.trial(contract, leg, policy)
    (tally,) = measure(trial, progress=progress)
    pools = ((tally.decisions, golden.floors.decisions), (tally.all_rows, golden.floors.rows))
    for pool, quantities in pools:
        if pool is not None:
            _raise(pool, quantities)
    facts = facts_under(trial, leg, tally)
    fields = (_under(measured, floors.get(measured.name, NO_FLOOR)) for measured in facts.fields)
    facts = replace(facts, fields=tuple(fields))
    counts = {measured.name: measured.count for measured in facts.fields}
    checks = judge(facts, ranks_of(contract.fields), policy)
    return facts, tuple(_told(check, counts) for check in checks)


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
