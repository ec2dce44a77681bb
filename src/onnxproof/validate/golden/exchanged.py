"""Outputs that stand in each other's place: of two cases, or two outputs of one."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from onnxproof.errors import CheckError
from onnxproof.validate.golden.golden import Golden
from onnxproof.validate.golden.kit import Array
from onnxproof.validate.legs.leg import Arrays

NEAR = 1e-3
"""The share of the largest value by which an answer and what it is an answer to may differ. Rounding in half
precision is of that order; an answer to another input differs by far more."""

Place = tuple[int, str]
"""The number of a case and the name of an output."""


def exchanged(golden: Golden, answer: Callable[[int], Arrays]) -> Iterator[str]:
    """A note for each output that is not what PyTorch answered there, but what it answered elsewhere.

    ``answer`` gives the outputs to a case by its number, or raises CheckError.
    """
    wanted: dict[Place, Array] = {
        (number, name): array
        for number, one in enumerate(golden.cases)
        for name, array in one.reference.outputs.items()
    }
    for number, one in enumerate(golden.cases):
        try:
            outputs = answer(number)
        except CheckError:
            continue
        for name, found in outputs.items():
            place = _elsewhere((number, name), found, wanted)
            if place is not None:
                told = golden.cases[place[0]].case.name
                yield (
                    f"{name} of case {number} ({one.case.name}) holds what PyTorch answered for {place[1]} "
                    f"of case {place[0]} ({told}): were files exchanged?"
                )


def _elsewhere(own: Place, found: Array, wanted: Mapping[Place, Array]) -> Place | None:
    """Where an output belongs that is in the wrong place. None if it is not, or if that is not known."""
    if own not in wanted or not found.size or _near(found, wanted[own]):
        return None
    return next((place for place, array in wanted.items() if place != own and _near(found, array)), None)


def _near(found: Array, wanted: Array) -> bool:
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return False
    with np.errstate(invalid="ignore", over="ignore"):
        one, other = (array.astype(np.float64) for array in (found, wanted))
        return bool(np.max(np.abs(one - other)) <= NEAR * np.max(np.abs(other)))
