"""Measure how far rounding alone can move a graph and its oracle apart, field by field."""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxproof.contract import Contract
from onnxproof.counted import Kept
from onnxproof.runtime.readings.rows import RowReading
from onnxproof.runtime.readings.sets import RowSet
from onnxproof.tensors import Field
from onnxproof.validate.cases import Case, materialise
from onnxproof.validate.compare.any_order import arrays_in_order_of
from onnxproof.validate.compare.last_place import decided_rows
from onnxproof.validate.compare.moved_rows import same_rows
from onnxproof.validate.exact.errors import ExactError
from onnxproof.validate.exact.later import Constant, Later
from onnxproof.validate.legs.leg import Answer, Arrays, Leg
from onnxproof.validate.pools import channels

Array = NDArray[Any]

SEED = 0
"""Seed of everything that is moved, so that a verdict is the same each time."""

HALF_UNIT = 2.0**-24
"""Half a float32 unit in the last place: how far rounding moves a constant."""

DOUBLE_UNIT = 2.0**-52

DOUBLE_MARGIN = 8.0
"""How many times what one moved run shows float64's rounding may make: every operation rounds, not only the
weights."""

SINGLE_MARGIN = 2.0
"""The same for unproven constants. They are moved as far as rounding to nearest can; most round less."""


@dataclass(frozen=True, slots=True, eq=False)
class Shifted:
    """A leg, and the same with moved constants. ``margin`` times their difference is allowed for.

    ``inputs`` says whether the moved leg runs on inputs that are moved by a float64 unit, too.
    """

    margin: float
    still: Leg
    moved: Leg
    inputs: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Alike:
    """The outputs of a leg and of the same with moved constants, what belongs together at the same places.
    They are compared where they are ``kept``."""

    still: Arrays
    moved: Arrays
    kept: Kept = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class RoundingAlone:
    """The largest difference that rounding makes on some cases, by the name of each field.

    ``shift`` makes the moved legs, for a seed; the first is the oracle's. They are made when they are first
    asked for, since few graphs need them.
    """

    contract: Contract
    shift: Callable[[int], Sequence[Shifted]]

    def __call__(self, cases: Sequence[Case], fields: Sequence[Field]) -> Mapping[str, float]:
        random = np.random.default_rng(SEED)
        shifted = self.shift(SEED)
        largest = dict.fromkeys((entry.name for entry in fields), 0.0)
        for case in cases:
            arrays = materialise(case, self.contract.inputs, self.contract.preprocess)
            near = {name: moved(array, DOUBLE_UNIT, random) for name, array in arrays.items()}
            legs = {id(one.still): one.still for one in shifted}
            still = {key: leg.run(arrays) for key, leg in legs.items()}
            oracle = next(iter(still.values()))
            pairs = [
                (
                    one.margin,
                    self._alike(
                        oracle,
                        still[id(one.still)].outputs,
                        _outputs(one, near if one.inputs else arrays),
                        case,
                    ),
                )
                for one in shifted
            ]
            for entry in fields:
                allowed = sum(margin * _difference(alike, entry) for margin, alike in pairs)
                largest[entry.name] = max(largest[entry.name], allowed)
        return largest

    def _alike(self, oracle: Answer, still: Arrays, moved: Arrays, case: Case) -> Alike:
        """What of two runs is compared: rows that a graph returns as a set in one order, and of those that
        it chose itself only the ones that both runs choose."""
        reading = self.contract.reading
        if isinstance(reading, RowReading):
            return Alike(*same_rows(oracle, still, moved, reading, case.sizes))
        ordered = arrays_in_order_of(still, moved, reading)
        rows = reading.row_outputs if isinstance(reading, RowSet) else ()
        there = all(name in outputs for name in rows for outputs in (still, ordered))
        return Alike(still, ordered, decided_rows(still, ordered, reading) if there else {})


def _outputs(one: Shifted, inputs: Arrays) -> Arrays:
    """The moved leg's outputs; none if a size follows from what was moved, so that it does not run."""
    try:
        return one.moved.run(inputs).outputs
    except ExactError:
        return {}


def random_for(name: str, seed: int) -> np.random.Generator:
    """The random numbers of one tensor: the same whenever it is moved, and whatever is moved before it."""
    return np.random.default_rng((seed, zlib.crc32(name.encode())))


def moved(values: Array, unit: float, random: np.random.Generator) -> Array:
    """Floats as float64, each moved up or down by a share of itself; others as they are."""
    if values.dtype.kind != "f":
        return values
    signs = np.where(random.random(values.shape) < 0.5, 1 - unit, 1 + unit)
    signs *= values
    return np.asarray(signs)


def moved_constant(name: str, value: Constant, unit: float, seed: int) -> Constant:
    """A constant, moved as ``moved`` does. A large one is moved each time it is made."""
    if isinstance(value, Later):
        return value.then(lambda array: moved(array, unit, random_for(name, seed)))
    return moved(value, unit, random_for(name, seed))


def _difference(alike: Alike, entry: Field) -> float:
    a, b = alike.still, alike.moved
    if entry.output not in a or entry.output not in b or a[entry.output].shape != b[entry.output].shape:
        return 0.0
    kept = alike.kept.get(entry.output)
    still, moved = (channels(outputs[entry.output], entry, kept) for outputs in (a, b))
    with np.errstate(invalid="ignore"):
        apart = np.abs(still - moved.astype(np.float64))
    return float(np.nanmax(apart, initial=0.0))
