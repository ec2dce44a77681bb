"""Inputs between the numbers of a case and the ends of their ranges that reach where a model decides.

Steps along the gradient of a margin lead beyond a cut-off. Halving the way back leads close to it.
"""

import itertools
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxproof.validate.legs.cut_offs import CASTING, COMPARING, ROUNDING, SORTING, CutOff, CutOffs, Ran
from onnxproof.validate.legs.leg import Arrays
from onnxproof.validate.unusual import JOINING, Ranges

STEPPING = frozenset((*SORTING, *ROUNDING, *CASTING))
"""Functions that compare with several numbers, or with every integer."""

TWO_SIDED = frozenset((*COMPARING, *SORTING))
"""Functions that have a cut-off from above and one from below at each number."""

MOST_JOINED = 3
"""How many pairs of comparisons, one after the other in a run, are sought together."""

STEPS = (1.0, 0.5, 0.25, 0.25)
"""Steps along the gradient's sign, as shares of an input's range. After the first, each element is at an end
of its range (Goodfellow et al. 2015, "Explaining and harnessing adversarial examples")."""

HALVINGS = 24
"""How often the way between two inputs is halved, of which one lies above a compared number and one
below: as often as float32 can be halved."""

APART = 2e-4
"""By what share of itself each float is then moved on, so that the inputs stay on their sides if each number
is moved by half as much."""


def comparisons(ran: Ran) -> tuple[CutOff, ...]:
    """The comparisons of a run, one side of each, then the boundaries of functions that compare with several
    numbers."""
    sides: dict[int, CutOff] = {}
    boundaries: list[CutOff] = []
    for cut in ran.margins:
        if cut.operation in COMPARING:
            sides.setdefault(cut.call, cut)
        elif cut.operation in STEPPING and cut.upper:
            boundaries.append(cut)
    return (*(sides[call] for call in sorted(sides)), *boundaries)


def together(ran: Ran, most: int) -> Iterator[tuple[CutOff, ...]]:
    """At ``most`` so many comparisons of a run; and two sides of two of them, one after the other, if it
    joins conditions."""
    by_call: dict[int, list[CutOff]] = defaultdict(list)
    for cut in ran.margins:
        if cut.operation in COMPARING:
            by_call[cut.call].append(cut)
    yield from ((cut,) for cut in comparisons(ran)[:most])
    joined = not JOINING.isdisjoint(ran.functions)
    for one, other in itertools.islice(itertools.pairwise(sorted(by_call)), MOST_JOINED if joined else 0):
        yield from itertools.product(by_call[one], by_call[other])


def turned(
    model_run: CutOffs, base: Arrays, ranges: Ranges, cuts: tuple[CutOff, ...]
) -> Iterator[tuple[str, Arrays]]:
    """An input beyond all of the cut-offs; and two between it and one that is not, of which one lies just
    beyond them and the other just does not. Nothing if no such inputs are found."""

    def margin(inputs: Arrays) -> float:
        return model_run.slope(inputs, cuts, ())[0]

    told = " and ".join(map(str, cuts))
    ends = [{name: np.full_like(base[name], ranges[name][end]) for name in ranges} for end in (0, 1)]
    found = [base, climbed(model_run, base, ranges, cuts), *({**base, **end} for end in ends)]
    margins = [margin(inputs) for inputs in found]
    beyond = next((at for at, one in enumerate(margins) if one > 0), None)
    before = next((at for at, one in enumerate(margins) if not one > 0), None)
    if beyond is None:
        return
    if before is None and len(cuts) == 1 and cuts[0].operation in TWO_SIDED:
        other = climbed(model_run, base, ranges, (replace(cuts[0], upper=not cuts[0].upper),))
        if not margin(other) > 0:
            found, before = [*found, other], len(found)
    inside, outside = found[beyond], None if before is None else found[before]
    yield f"reach {told}{' at once' if len(cuts) > 1 else ''}", inside
    if outside is None:
        return
    towards = {name: np.sign(inside[name].astype(np.float64) - outside[name]) for name in ranges}
    for _ in range(HALVINGS):
        middle = {**base, **{name: _middle(inside[name], outside[name]) for name in ranges}}
        if margin(middle) > 0:
            inside = middle
        else:
            outside = middle
    yield f"lie just beyond {told}", {**inside, **_moved_on(inside, towards, ranges, APART)}
    yield f"lie just before {told}", {**outside, **_moved_on(outside, towards, ranges, -APART)}


def climbed(model_run: CutOffs, base: Arrays, ranges: Ranges, cuts: Collection[CutOff]) -> Arrays:
    """The input with the largest margin that a few steps along its gradient lead to."""
    best, largest = base, -np.inf
    inputs = base
    for step in (*STEPS, 0.0):
        margin, slopes = model_run.slope(inputs, cuts, ranges if step else ())
        if margin > largest:
            best, largest = inputs, margin
        moved = {name: _stepped(inputs[name], slopes[name], step, ranges[name]) for name in slopes}
        if are_same(moved, inputs):
            break
        inputs = {**inputs, **moved}
    return best


def _moved_on(inputs: Arrays, towards: Arrays, ranges: Ranges, share: float) -> Arrays:
    """The inputs that hold floats, each number moved by a share of itself in a direction, -1 or 1."""
    moved = {}
    for name, (low, high) in ranges.items():
        array = inputs[name]
        if array.dtype.kind == "f":
            numbers = np.clip(array + share * towards[name] * np.abs(array), low, high)
            moved[name] = numbers.astype(array.dtype)
    return moved


def _middle(one: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
    middle: NDArray[Any] = ((one.astype(np.float64) + other) / 2).astype(one.dtype)
    return middle


def _stepped(
    array: NDArray[Any], slope: NDArray[Any], step: float, span: tuple[float, float]
) -> NDArray[Any]:
    low, high = span
    moved = np.clip(array + step * (high - low) * np.nan_to_num(np.sign(slope)), low, high)
    return np.asarray(moved.astype(array.dtype))


def are_same(one: Arrays, other: Arrays) -> bool:
    """Whether the arrays of one hold the same numbers in the other."""
    return all(np.array_equal(array, other[name]) for name, array in one.items())
