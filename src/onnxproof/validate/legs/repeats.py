"""Whether a model answers alike when it is run again on the same input.

A module that keeps state from run to run, or draws random numbers, has no answer that a file could be held
to: every comparison with it, in float32 or in float64, would blame something else.
"""

from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from onnxproof.validate.legs.leg import Arrays, Leg

ROUNDING_SHARE = 1e-5
"""How far two runs on one input may differ, as a share of the output's largest value. Kernels that add in
parallel may add in another order each time; that costs some units in the last place (1.2e-7 each)."""

RUNS = 3
"""A state that is made in the first run is used in the second, and may be changed from then on."""


def differs_when_repeated(leg: Leg, arrays: Arrays, other: Arrays | None = None) -> str | None:
    """How the leg's answers to the same input differ from run to run. Returns None if they do not.

    Before the last run it is run on ``other``, an input of the same sizes: a mean over the runs, as of the
    frames of a video, stays where it is as long as nothing else comes. Raises whatever the leg raises on
    ``arrays``.
    """
    first = leg.run(arrays).outputs
    kept = {name: array.copy() for name, array in first.items()}
    for run in range(2, RUNS + 1):
        if run == RUNS and other is not None:
            # What the model refuses here, the sweep tells where it matters.
            with suppress(Exception):
                leg.run(other)
        again = leg.run(arrays).outputs
        for name, array in kept.items():
            difference = _difference(array, again[name])
            if difference is not None:
                return (
                    "the model answers otherwise when it is run again on the same input "
                    f"({name} {difference}): it keeps state from run to run, or draws random numbers; return "
                    "the state as an output and take it as an input, or switch off what is random"
                )
    return None


def _difference(first: NDArray[np.generic], again: NDArray[np.generic]) -> str | None:
    if first.shape != again.shape:
        return f"is {list(first.shape)}, then {list(again.shape)}"
    if np.array_equal(first, again, equal_nan=first.dtype.kind == "f"):
        return None
    if first.dtype.kind != "f":
        return f"differs in {np.count_nonzero(first != again)} of {first.size} values"
    with np.errstate(invalid="ignore"):
        apart = np.abs(np.subtract(first, again, dtype=np.float64))
    largest = float(np.max(np.abs(first), initial=0, where=np.isfinite(first)))
    if np.array_equal(np.isfinite(first), np.isfinite(again)):
        change = float(np.max(apart, initial=0, where=np.isfinite(apart)))
        if change <= ROUNDING_SHARE * largest:
            return None
        return f"changes by up to {change:.3g}, its largest value is {largest:.3g}"
    return "is finite at other places"
