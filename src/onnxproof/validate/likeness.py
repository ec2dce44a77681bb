"""Tell which of a file's outputs are which of a model's, by what both return for the same input."""

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxproof.runtime.port import Port
from onnxproof.tensors import TensorSpec

Arrays = Mapping[str, NDArray[Any]]

ALIKE = 0.05
"""The relative difference below which two networks compute the same but for rounding or a small fault. Other
arrangements of the right file, and other weights, differ by more than 0.3 (tests/parity/test_check.py)."""

MOST_PAIRINGS = 720
"""How many ways to pair outputs of one shape are tried: six outputs in any order."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """A pairing of outputs. ``error`` is the largest relative difference of a pair.

    It is infinite if shapes differ. ``names`` has the model's name of each of the file's outputs that is
    paired. ``turned`` are the model's outputs whose last two axes the file exchanges.
    """

    error: float
    names: Mapping[str, str]
    turned: tuple[str, ...] = ()

    @property
    def alike(self) -> bool:
        """Whether both compute the same, but for rounding or a small fault."""
        return self.error < ALIKE


def likest(theirs: Arrays, ours: Arrays, mapping: Mapping[str, str]) -> Likeness | None:
    """The pairing with the least difference. Returns None if some output of the model has no counterpart.

    ``theirs`` is what the file returned and ``ours`` what the model returned, for one input or, along the
    first axis of object arrays, for several. ``mapping`` has pairs that are given.
    """
    given = {known: name for name, known in mapping.items() if known in ours}
    choices = [_fitting(name, theirs, ours, given) for name in ours]
    if not all(choices):
        return None
    best: Likeness | None = None
    for names in itertools.islice(_distinct(choices), MOST_PAIRINGS):
        pairs = dict(zip(names, ours, strict=True))
        errors, turned = [], []
        for name, known in pairs.items():
            straight, other = _error(theirs[name], ours[known]), math.inf
            if theirs[name].ndim == 3:
                other = _error(theirs[name].transpose(0, 2, 1), ours[known])
            errors.append(min(straight, other))
            if other < straight:
                turned.append(known)
        found = Likeness(max(errors), pairs, tuple(turned))
        if best is None or found.error < best.error:
            best = found
    return best


def worst(found: Sequence[Likeness]) -> Likeness:
    """What several inputs show together: the first one's pairing, with the largest error of any."""
    return Likeness(max(one.error for one in found), found[0].names, found[0].turned)


def outputs_fit(ours: Sequence[TensorSpec], theirs: Sequence[Port]) -> bool:
    """Whether each of the model's outputs has a counterpart of its kind, rank and fixed sizes."""
    left = list(theirs)
    for spec in sorted(ours, key=lambda spec: -sum(isinstance(axis, int) for axis in spec.shape)):
        found = next((port for port in left if _may_be(spec, port)), None)
        if found is None:
            return False
        left.remove(found)
    return True


def _may_be(spec: TensorSpec, port: Port) -> bool:
    if ("float" in spec.dtype) != ("float" in port.dtype):
        return False
    if not port.shape:  # a file may declare no shape
        return True
    if len(spec.shape) != len(port.shape):
        return False
    fixed = Counter(axis for axis in spec.shape if isinstance(axis, int))
    there = Counter(axis for axis in port.shape if isinstance(axis, int))
    return (fixed - there).total() <= len(port.shape) - there.total()


def _fitting(known: str, theirs: Arrays, ours: Arrays, given: Mapping[str, str]) -> tuple[str, ...]:
    """The file's outputs that may be this one: the one that is given, or those of its kind and rank."""
    if known in given:
        return (given[known],)
    wanted = ours[known]
    return tuple(
        name
        for name, array in theirs.items()
        if name not in given.values()
        and array.ndim == wanted.ndim
        and (array.dtype.kind == "f") == (wanted.dtype.kind == "f")
        and sorted(array.shape) == sorted(wanted.shape)
    )


def _distinct(choices: Sequence[Sequence[str]]) -> Iterator[tuple[str, ...]]:
    """One of each list, none twice."""

    def rest(at: int, taken: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        if at == len(choices):
            yield taken
            return
        for name in choices[at]:
            if name not in taken:
                yield from rest(at + 1, (*taken, name))

    return rest(0, ())


def _error(theirs: NDArray[Any], ours: NDArray[Any]) -> float:
    """The root mean square of the difference, as a share of how far ``ours`` spreads."""
    if theirs.shape != ours.shape:
        return math.inf
    if not ours.size:
        return 0.0
    one, other = theirs.astype(np.float64), ours.astype(np.float64)
    if ours.dtype.kind != "f":
        return float(np.mean(one != other))
    spread = float(np.std(other)) or float(np.sqrt(np.mean(other**2))) or 1.0
    error = float(np.sqrt(np.mean((one - other) ** 2))) / spread
    return error if math.isfinite(error) else math.inf
