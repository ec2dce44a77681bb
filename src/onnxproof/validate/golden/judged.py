"""What a leg did on golden cases, judged as ``validate`` judges a file."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from onnxproof.contract import Contract
from onnxproof.progress import Progress, silent
from onnxproof.validate.compare.decisions import DecisionPool
from onnxproof.validate.facts import Facts
from onnxproof.validate.golden.golden import Floor, Golden
from onnxproof.validate.judge import judge, ranks_of
from onnxproof.validate.legs.leg import Leg
from onnxproof.validate.measure import Extremes, Measurement
from onnxproof.validate.policy import FLOAT_FLOOR, Policy
from onnxproof.validate.sweep import facts_under, measure
from onnxproof.validate.verdict import Check

NO_FLOOR = Floor(0.0, 0.0, 0.0)


@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def judged(
    golden: Golden,
    contract: Contract,
    leg: Leg,
    *,
    policy: Policy = FLOAT_FLOOR,
    progress: Progress = silent,
) -> tuple[Facts, tuple[Check, ...]]:
    """The facts of a leg on golden cases, and the checks of the links ``runtime`` and ``decisions``.

    Errors are divided by PyTorch's on these cases or on all cases of the verdict, whichever are larger. So
    the limits hold for a few cases, too. There is no second look: it would need PyTorch. NumPy warns of
    nothing, whatever numbers the leg answers. ``contract`` is the one that the cases were recorded with.
    Raises CheckError if no case is left.
    """
    trial = golden.trial(contract, leg, policy)
    (tally,) = measure(trial, progress=progress)
    pools = ((tally.decisions, golden.floors.decisions), (tally.all_rows, golden.floors.rows))
    for pool, quantities in pools:
        if pool is not None:
            _raise(pool, quantities)
    facts = facts_under(trial, leg, tally)
    floors = golden.floors.fields
    fields = (_under(measured, floors.get(measured.name, NO_FLOOR)) for measured in facts.fields)
    facts = replace(facts, fields=tuple(fields))
    return facts, judge(facts, ranks_of(contract.fields), policy)


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
