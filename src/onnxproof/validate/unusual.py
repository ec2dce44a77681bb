"""Inputs in which cases are all alike, and by which a model may decide: made only for a model that can.

Numbers of a case are drawn from the whole of a range, for each row in the same way, and no case holds NaN. So
the largest number of a batch is about that of each row, a floor below the largest number holds nothing up,
and nothing is filled in. No float is equal to a number that stands for what is missing. An integer input of
many ids hardly ever is one id alone, such as that of padding.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxproof.validate.cases import Case
from onnxproof.validate.contents import OF_IDS
from onnxproof.validate.legs.leg import Arrays

LARGEST = frozenset(
    """
    amax amin aminmax max min maximum minimum cummax cummin sort argsort msort topk kthvalue
    median quantile
    """.split()
)
"""Functions whose result depends on where the largest or the smallest numbers are."""

OF_NAN = frozenset("isnan isfinite isinf nan_to_num nansum nanmean nanmedian nanquantile".split())
"""Functions that a model calls because its numbers may be NaN."""

JOINING = frozenset("and or logical_and logical_or bitwise_and bitwise_or where".split())
"""Functions that join conditions, or choose where one holds."""

QUIET = 1e-5
"""What the numbers of every second row are multiplied by."""

WITH_NAN = 8
"""How many numbers of an input are NaN."""

MOST_EQUAL = 4
"""How many numbers that a model asks its floats to be equal to are put into inputs."""

MOST_IDS = 3
"""How many ids fill an input, each alone."""

Ranges = Mapping[str, tuple[float, float]]
"""The lowest and the highest number of each input that may hold any between them."""

Unusual = tuple[str, Arrays]
"""What an input was made to hold, in words, and the input."""


def unusual(
    functions: Collection[str],
    base: Arrays,
    ranges: Ranges,
    cases: Sequence[Case],
    equal: Collection[float] = (),
) -> Iterator[Unusual]:
    """The unusual inputs that a model that calls these ``functions`` may decide by, made from a case's.

    ``equal`` are the numbers that it asks floats to be equal to.
    """
    for number in sorted(equal)[:MOST_EQUAL]:
        takes = [name for name, (low, high) in ranges.items() if low <= number <= high]
        some = {name: _with_some(base[name], number) for name in takes if base[name].dtype.kind == "f"}
        if some:
            yield f"hold the number {number:.7g}, which the model looks for", {**base, **some}
    if not LARGEST.isdisjoint(functions) and ranges:
        uneven = {name: _uneven(base[name], *ranges[name]) for name in ranges}
        yield "hold rows of different levels, and rows that are half zeros", {**base, **uneven}
    if not OF_NAN.isdisjoint(functions):
        with_nan = {name: _with_nan(base[name]) for name in ranges if base[name].dtype.kind == "f"}
        if with_nan:
            yield "hold NaN, which the model looks for", {**base, **with_nan}
        emptied = {name: _emptied(array) for name, array in with_nan.items() if array.ndim > 1}
        if emptied:
            yield "hold a row of NaN alone, which the model looks for", {**base, **emptied}
    ids = next((case.ids for case in cases if case.ids and case.kind not in OF_IDS), {})
    for at in range(MOST_IDS):
        alone = {name: numbers[at] for name, numbers in ids.items() if at < len(numbers)}
        if alone:
            told = ", ".join(f"{name} = {number}" for name, number in alone.items())
            filled = {name: np.full_like(base[name], number) for name, number in alone.items()}
            yield f"hold one id alone ({told})", {**base, **filled}


def _uneven(array: NDArray[Any], low: float, high: float) -> NDArray[Any]:
    """Every second row closer to 0, or to the end of the range that is next to it, and half of each other row
    at it."""
    zero = np.clip(0.0, low, high)
    moved = array.astype(np.float64)
    if array.ndim:
        moved[1::2] = zero + QUIET * (moved[1::2] - zero)
    if array.ndim > 1:
        axis = 1 + int(np.argmax(array.shape[1:]))
        halves = np.moveaxis(moved, axis, 1)
        halves[::2, (array.shape[axis] + 1) // 2 :] = zero
    return moved.astype(array.dtype)


def _with_some(array: NDArray[Any], number: float) -> NDArray[Any]:
    """Every second number is this one, and all of the last row if there are several."""
    flat = array.flatten()
    flat[::2] = number
    some = flat.reshape(array.shape)
    if array.ndim > 1 and len(array) > 1:
        some[-1] = number
    return some


def _emptied(array: NDArray[Any]) -> NDArray[Any]:
    """The last row is NaN alone."""
    emptied = array.copy()
    emptied[-1:] = np.nan
    return emptied


def _with_nan(array: NDArray[Any]) -> NDArray[Any]:
    flat = array.flatten()
    flat[:: max(2, flat.size // WITH_NAN)] = np.nan
    return flat.reshape(array.shape)
