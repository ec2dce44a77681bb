"""Measure how far rounding alone can move a graph and its oracle apart, field by field."""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxproof.contract import Contract
from onnxproof.tensors import Field
from onnxproof.validate.cases import Case, materialise
from onnxproof.validate.exact.errors import ExactError
from onnxproof.validate.exact.later import Constant, Later
from onnxproof.validate.legs.leg import Arrays, Leg
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
class RoundingAlone:
    """The largest difference that rounding makes on some cases, by the name of each field.

    ``shift`` makes the moved legs, for a seed. They are made when they are first asked for, since few graphs
    need them.
    """

    contract: Contract
    shift: Callable[[int], Sequence[Shifted]]

    def __call__(self, cases: Sequence[Case], fields: Sequence[Field]) -> Mapping[str, float]:
        random = np.random.default_rng(SEED)
        shifted = self.shift(SEED)
        largest = dict.fromkeys((field.name for field in fields), 0.0)
        for case in cases:
            arrays = materialise(case, self.contract.inputs, self.contract.preprocess)
            near = {name: moved(array, DOUBLE_UNIT, random) for name, array in arrays.items()}
            pairs = [
                (one.margin, one.still.run(arrays).outputs, _outputs(one, near if one.inputs else arrays))
                for one in shifted
            ]
            for field in fields:
                allowed = sum(margin * _difference(a, b, field) for margin, a, b in pairs)
                largest[field.name] = max(largest[field.name], allowed)
        return largest


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


def _difference(a: Arrays, b: Arrays, field: Field) -> float:
    if field.output not in a or field.output not in b or a[field.output].shape != b[field.output].shape:
        return 0.0
    with np.errstate(invalid="ignore"):
        apart = np.abs(channels(a[field.output], field) - channels(b[field.output], field).astype(np.float64))
    return float(np.nanmax(apart, initial=0.0))
