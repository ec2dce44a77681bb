"""What a reported fault changes, in units of PyTorch's own float32 error."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from soundness.reported.fault import Pair, Reported

from onnxproof.seeded import FLOAT32_EPSILON
from onnxproof.steps.planning import plan_of
from onnxproof.validate.cases import materialise
from onnxproof.validate.exact.graph import ExactGraph, NotRunnableError
from onnxproof.validate.legs.onnx_runtime import OrtLeg
from onnxproof.wrappers.family import WrappedModel

Outputs = Mapping[str, NDArray[Any]]


def effect_of(fault: Reported, pair: Pair) -> float:
    """The rms change of an output over all cases, in units of PyTorch's rms error in float32; the largest of
    the outputs.

    Both files are evaluated in float64; the damaged file of a runtime fault is run by ONNX Runtime. The unit
    is at least the error of one rounding at the output's own scale. Infinite if names or shapes differ, if
    numbers are NaN or infinite on one side only, or if the damaged file does not run.
    """
    model = fault.model()
    healthy = ExactGraph(pair.healthy)
    damaged = None if fault.made == "runtime" else ExactGraph(pair.damaged)
    runtime = OrtLeg(pair.damaged, ["CPUExecutionProvider"], 1)
    sums: dict[str, NDArray[Any]] = {}
    largest: dict[str, float] = {}
    for case in plan_of(fault.job(), model).cases:
        arrays = materialise(case, model.contract.inputs, model.contract.preprocess)
        right = healthy.run(arrays)
        try:
            wrong: Outputs = runtime.run(arrays).outputs if damaged is None else damaged.run(arrays)
        except NotRunnableError:
            return math.inf
        if set(wrong) != set(right) or any(wrong[name].shape != right[name].shape for name in right):
            return math.inf
        float32 = _float32(model, arrays)
        for name, exact in right.items():
            change = np.subtract(wrong[name], exact, dtype=np.float64)
            if not np.isfinite(change).all():
                return math.inf
            error = np.subtract(float32[name], exact, dtype=np.float64)
            squares = np.array([(change**2).sum(), (error**2).sum(), exact.size])
            sums[name] = sums.get(name, np.zeros(3)) + squares
            largest[name] = max(largest.get(name, 0.0), float(np.abs(exact).max(initial=0.0)))
    return max(_ratio(sums[name], largest[name]) for name in sums)


def _float32(model: WrappedModel, arrays: Outputs) -> Outputs:
    """What PyTorch computes in float32."""
    with torch.inference_mode():
        returned = model.module(*(torch.from_numpy(np.array(array)) for array in arrays.values()))
    values = returned if isinstance(returned, tuple | list) else (returned,)
    names = [spec.name for spec in model.contract.outputs]
    return {name: value.numpy() for name, value in zip(names, values, strict=True)}


def _ratio(sums: NDArray[Any], scale: float) -> float:
    change, error, count = sums.tolist()
    rounding = FLOAT32_EPSILON * scale / math.sqrt(12)
    unit = max(math.sqrt(error / count), rounding, math.ulp(0.0))
    return math.sqrt(change / count) / unit
