"""Tell which of a file's outputs are which of a model's, by what both return for the same input."""

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxproof.runtime.port import Port
from onnxproof.tensors import TensorSpec
from onnxproof.validate.unpacked import Unpacked, unpackings

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
    ``unpacked`` says which of the file's outputs holds several of the model's; None if none does.
    """

    error: float
    names: Mapping[str, str]
    turned: tuple[str, ...] = ()
    unpacked: Unpacked | None = None

    @property
    def alike(self) -> bool:
        """Whether both compute the same, but for rounding or a small fault."""
        return self.error < ALIKE


def likest(theirs: Arrays, ours: Arrays, mapping: Mapping[str, str]) -> Likeness | None:
    """The pairing with the least difference. Returns None if some output of the model has no counterpart.

    ``theirs`` is what the file returned and ``ours`` what the model returned. ``mapping`` has pairs that are
    given.
    """
    found = [_paired(theirs, ours, mapping)]
    for how in unpackings(theirs, ours):
        parts = how.arrays(theirs[how.output])
        rest = {name: one for name, one in theirs.items() if name != how.output}
        left = {name: one for name, one in ours.items() if name not in parts}
        paired = _paired(rest, left, mapping) if left else Likeness(0.0, {})
        if paired is not None:
            errors = [_error(part, ours[name]) for name, part in parts.items()]
            found.append(replace(paired, error=max(paired.error, *errors), unpacked=how))
    whole = [one for one in found if one is not None]
    return min(whole, key=lambda one: one.error) if whole else None


def _paired(theirs: Arrays, ours: Arrays, mapping: Mapping[str, str]) -> Likeness | None:
    """The best pairing of outputs, one to one."""
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
    return replace(found[0], error=max(one.error for one in found))


def outputs_fit(ours: Sequence[TensorSpec], theirs: Sequence[Port]) -> bool:
    """Whether each of the model's outputs may have a counterpart of its kind, rank and fixed sizes.

    Several of three or more axes may be packed into one.
    """
    packed = any("float" in port.dtype and len(port.shape) == 3 for port in theirs)
    if packed and sum(len(spec.shape) > 2 for spec in ours) > 1:
        return True
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
