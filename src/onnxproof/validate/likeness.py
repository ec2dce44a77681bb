"""Tell which of a file's outputs are which of a model's, by what both return for the same input."""

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxproof.runtime.port import Port
from onnxproof.tensors import TensorSpec
from onnxproof.validate.unpacked import BOX, ROW, SCORE, Unpacked, UnpackedRows, in_order, unpackings

Arrays = Mapping[str, NDArray[Any]]

ALIKE = 0.05
"""The relative difference below which two networks compute the same but for rounding or a small fault. Other
arrangements of the right file, and other weights, differ by more than 0.3 (tests/parity/test_check.py)."""

ROW_OUTPUTS = ("boxes", "labels", "scores", "counts")
"""The model's outputs that a file may pack into the rows that NMS in its graph has kept. What the rows carry
beside them stands before the counts, and then what the rows of a picture share."""

ALIKE_IN_HALF = 0.2
"""The same for a file in half precision. An untrained network, whose scores hardly differ, errs that much."""

NONE_GIVEN: Mapping[str, str] = MappingProxyType({})

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
    unpacked: Unpacked | UnpackedRows | None = None

    def alike(self, dtype: str = "float32") -> bool:
        """Whether both compute the same, but for rounding to the file's dtype or a small fault."""
        return self.error < (ALIKE if dtype == "float32" else ALIKE_IN_HALF)


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


def likest_rows(theirs: Arrays, ours: Arrays, mapping: Mapping[str, str] = NONE_GIVEN) -> Likeness | None:
    """The same for a model whose graph chooses its rows. ``error`` is that of half of the rows.

    ``ours`` has one output [b, n, 6 or more] and then what the rows carry or share, or those of
    ``ROW_OUTPUTS`` with what the rows carry and share. Rows that float error reorders or exchanges are left
    out of account with the other half. Returns None if no output of the file holds such rows.
    """
    if not ours.keys() >= {*ROW_OUTPUTS}:
        name, *after = ours
        found = []
        for output, rows in theirs.items():
            error, paired = _rows_error_of(rows, ours[name]), _beside(output, after, theirs, ours, mapping)
            if error is not None and paired is not None:
                error = max(error, paired.error)
                found.append(replace(paired, error=error, names={output: name, **paired.names}))
            whole = _in_one(ours)
            error = None if whole is None else _rows_error_of(rows, whole)
            if error is not None:
                found.append(Likeness(error, {}, unpacked=in_order(output, ours)))
        return min(found, key=lambda one: one.error) if found else None
    boxes, labels, scores = (ours[name] for name in ROW_OUTPUTS[:3])
    others = {name: values for name, values in ours.items() if name not in ROW_OUTPUTS}
    carried, shared = [*others][:1], [*others][1:]
    parts = [others[name].reshape(*boxes.shape[:2], -1) for name in carried]
    straight, angles = boxes[..., :SCORE], boxes[..., SCORE:]
    wanted = np.concatenate((straight, scores[..., None], labels[..., None], angles, *parts), axis=-1)
    more = next(((name, tuple(others[name].shape[2:])) for name in carried), None)
    found = []
    for output, rows in theirs.items():
        error, paired = _rows_error_of(rows, wanted), _beside(output, shared, theirs, ours, mapping)
        if error is not None and paired is not None:
            how = UnpackedRows(output, ROW_OUTPUTS, more, oriented=angles.shape[-1] > 0)
            found.append(replace(paired, error=max(error, paired.error), unpacked=how))
    return min(found, key=lambda one: one.error) if found else None


def _in_one(ours: Arrays) -> NDArray[Any] | None:
    """Outputs [b, n, …] as one [b, n, k]. None if there is one alone, or if they have other rows."""
    parts = [*ours.values()]
    if len(parts) < 2 or any(one.shape[:2] != parts[0].shape[:2] for one in parts):
        return None
    return np.concatenate([one.reshape(*one.shape[:2], -1) for one in parts], axis=-1)


def _beside(
    output: str, shared: Sequence[str], theirs: Arrays, ours: Arrays, mapping: Mapping[str, str]
) -> Likeness | None:
    """The pairing of what the rows share, if the file's ``output`` has the rows."""
    left = {name: one for name, one in theirs.items() if name != output}
    return _paired(left, {name: ours[name] for name in shared}, mapping) if shared else Likeness(0.0, {})


def _rows_error_of(rows: NDArray[Any], wanted: NDArray[Any]) -> float | None:
    """``_rows_error`` of all pictures. None if an output holds no such rows."""
    if rows.ndim != 3 or rows.dtype.kind != "f" or rows.shape != wanted.shape:
        return None
    return max(_rows_error(*pair) for pair in zip(rows, wanted, strict=True))


def _rows_error(theirs: NDArray[Any], ours: NDArray[Any]) -> float:
    """How far half of the rows [n, 6 or more] of either are from the nearest row of the other.

    In shares of the boxes' largest coordinate, and of 1 for a score; another class counts 1 or more. What
    rows carry beside that is in shares of its own largest value.
    """
    one, other = (rows[rows[:, SCORE] > 0].astype(np.float64) for rows in (theirs, ours))
    if not len(one) or not len(other):
        return 0.0 if len(one) == len(other) else 1.0
    extent = max(float(np.abs(other[:, :SCORE]).max()), 1.0)
    apart = np.zeros((len(one), len(other)))
    carried = max(float(np.abs(other[:, ROW:]).max(initial=0)), 1.0)
    for column in range(other.shape[1]):
        scale = extent if column < SCORE else 1.0 if column < ROW else carried
        np.maximum(apart, np.abs(one[:, column, None] - other[None, :, column]) / scale, out=apart)
    error = max(float(np.median(apart.min(axis=axis))) for axis in (0, 1))
    return error if math.isfinite(error) else math.inf


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

    Several of three or more axes may be packed into one, and rows that NMS has kept, too.
    """
    if {spec.name for spec in ours} >= {*ROW_OUTPUTS}:
        carried = [spec.shape[2:] for spec in ours if spec.name not in ROW_OUTPUTS][:1]
        carried += [spec.shape[2:] for spec in ours if spec.name == ROW_OUTPUTS[0]]
        more = sum(math.prod(axis for axis in tail if isinstance(axis, int)) for tail in carried) - BOX
        return any(_may_be_rows(port, ROW + more) for port in theirs)
    packed = any("float" in port.dtype and len(port.shape) == 3 for port in theirs)
    if packed and sum(len(spec.shape) > 2 for spec in ours) > 1:
        return True
    return not without_counterpart(ours, theirs)


def without_counterpart(ours: Sequence[TensorSpec], theirs: Sequence[Port]) -> tuple[TensorSpec, ...]:
    """The model's outputs for which the file has none of their kind, rank and fixed sizes."""
    left, lacking = list(theirs), []
    for spec in sorted(ours, key=lambda spec: -sum(isinstance(axis, int) for axis in spec.shape)):
        found = next((port for port in left if _may_be(spec, port)), None)
        if found is None:
            lacking.append(spec)
        else:
            left.remove(found)
    return tuple(lacking)


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


def names_in_order(ours: Sequence[TensorSpec], theirs: Sequence[Port]) -> Mapping[str, str] | None:
    """The model's name of each of the file's outputs, in their order. Returns None if their number, kinds or
    ranks differ."""
    pairs = [*zip(theirs, ours, strict=False)]
    alike = all(
        ("float" in port.dtype) == ("float" in spec.dtype) and len(port.shape) == len(spec.shape)
        for port, spec in pairs
    )
    return {port.name: spec.name for port, spec in pairs} if alike and len(ours) == len(theirs) else None


def _may_be_rows(port: Port, wanted: int) -> bool:
    numbers = port.shape[-1] if len(port.shape) == 3 else 0
    return "float" in port.dtype and (numbers == wanted or not isinstance(numbers, int))


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
