"""Whether one file runs slower than another: paired, in turn, on the same input."""

import statistics
import time
from pathlib import Path

from onnxproof.validate.cases import materialise, volume
from onnxproof.validate.legs.onnx_runtime import OrtLeg
from onnxproof.validate.trial import Plan

PAIRS = 9
"""How many pairs of runs are timed. The median of their ratios bears four that other work disturbed."""

WARM_UP = 2


def time_ratio(file: Path, other: Path, plan: Plan) -> float:
    """The time that a file takes, as a multiple of the other's: the median over pairs of runs in turn.

    Both run on the plan's case of the middle size. Raises what ONNX Runtime raises.
    """
    ordered = sorted(plan.cases, key=lambda case: volume((case,)))
    case = ordered[len(ordered) // 2]
    inputs = materialise(case, plan.contract.inputs, plan.contract.preprocess)
    settings = plan.settings
    legs = [
        OrtLeg(each, settings.providers, settings.threads, settings.optimization[0]) for each in (file, other)
    ]
    ratios = []
    for number in range(WARM_UP + PAIRS):
        taken = []
        for leg in legs:
            start = time.perf_counter()
            leg.run(inputs)
            taken.append(time.perf_counter() - start)
        if number >= WARM_UP:
            ratios.append(taken[0] / taken[1])
    return statistics.median(ratios)
