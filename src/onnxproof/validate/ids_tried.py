"""Cases for integer inputs and conditions: all of the lowest, all of the highest, all equal, and each number.

A case draws a few of many numbers. A file that answers otherwise at the end of a range, where two inputs hold
the same number, or where all conditions hold, is seen in none of them.
"""

import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from onnxproof.tensors import Dim, TensorSpec

ROWS = 4
"""The size of the first axis of inputs that are all alike, so that rows are equal, too."""

MOST_IDS = 4096
"""An input that may hold more numbers than these is not tried with each of them."""

TINY, SMALL = 256, 4096
"""With how many elements in all inputs a case is tiny, or small. No more are made of others."""

MOST_CASES: Mapping[str, tuple[int, int]] = {"quick": (32, 2), "normal": (32, 4), "thorough": (64, 8)}
"""In how many tiny and small cases each number is tried, by effort."""

TIMES_DRAWN = 2
"""How many rows of conditions are drawn for each that there may be."""


@dataclass(frozen=True, slots=True)
class Tried:
    """What becomes a case: ``ids`` has the numbers that each input holds."""

    name: str
    sizes: Mapping[str, int]
    content: Literal["alike", "each"]
    seed: int
    ids: Mapping[str, tuple[int, ...]]


def ids_tried(
    dims: Sequence[Dim],
    whole: Sequence[TensorSpec],
    inputs: Sequence[TensorSpec],
    planned: Sequence[Mapping[str, int]],
    effort: str,
    seed: int,
) -> Iterator[Tried]:
    """The cases for those of the inputs ``whole`` that hold integers or conditions, and no mask.

    ``inputs`` are all inputs, ``planned`` the sizes of the cases that there are.
    """
    integers = [spec for spec in whole if spec.dtype.startswith(("int", "uint")) and not spec.mask]
    conditions = [spec for spec in whole if spec.dtype == "bool" and not spec.mask]
    specs = [*integers, *conditions]
    if not specs:
        return
    first = {spec.shape[0] for spec in specs if spec.shape}
    sizes = {dim.name: _few(dim) if dim.name in first else dim.min for dim in dims}
    for label, held in _alike(integers, conditions, np.random.default_rng(seed)):
        yield _tried(sizes, label, "alike", held)
    # Beside a padding mask they are texts, whose ids are told apart by more than their numbers (must_see.py).
    roomy = None if any(spec.mask for spec in inputs) else _roomy(specs, inputs, planned)
    if roomy is not None:
        for number, held in enumerate(_each(integers, conditions, inputs, roomy, effort, seed), 1):
            yield _tried(roomy, f"each-{number}", "each", held)


def _tried(
    sizes: Mapping[str, int],
    label: str,
    content: Literal["alike", "each"],
    ids: Mapping[str, tuple[int, ...]],
) -> Tried:
    name = f"{'x'.join(map(str, sizes.values()))}-{label}".removeprefix("-")
    return Tried(name, sizes, content, zlib.crc32(repr((name, sorted(ids.items()))).encode()), ids)


def _few(dim: Dim) -> int:
    """A few rows, as far as a dimension has them."""
    return max(dim.min, min(dim.max, ROWS // dim.multiple * dim.multiple))


def _alike(
    integers: Sequence[TensorSpec], conditions: Sequence[TensorSpec], random: np.random.Generator
) -> Iterator[tuple[str, dict[str, tuple[int, ...]]]]:
    """What inputs of one number hold: the lowest, the highest, one that all take, false and true."""
    ranges = {spec.name: _range(spec) for spec in integers}
    if ranges:
        yield "lowest-ids", {name: (low,) for name, (low, _) in ranges.items()}
        yield "highest-ids", {name: (high,) for name, (_, high) in ranges.items()}
        lowest, highest = max(low for low, _ in ranges.values()), min(high for _, high in ranges.values())
        if lowest < highest:
            number = int(random.integers(lowest, highest, endpoint=True))
            yield "equal-ids", dict.fromkeys(ranges, (number,))
    if conditions:
        yield "all-false", {spec.name: (0,) for spec in conditions}
        yield "all-true", {spec.name: (1,) for spec in conditions}


def _each(
    integers: Sequence[TensorSpec],
    conditions: Sequence[TensorSpec],
    inputs: Sequence[TensorSpec],
    sizes: Mapping[str, int],
    effort: str,
    seed: int,
) -> Iterator[dict[str, tuple[int, ...]]]:
    """What inputs hold that have each number in turn, as far as a few cases can have them. Conditions are
    drawn, for as many rows as are likely to have each row that there may be."""
    tiny, small = MOST_CASES[effort]
    most = tiny if _elements(inputs, sizes) <= TINY else small
    random = np.random.default_rng((seed, 1))
    numbers = {}
    for spec in integers:
        low, high = _range(spec)
        if 1 < high - low < MOST_IDS:
            numbers[spec.name] = random.permutation(np.arange(low, high + 1)).tolist()
    places = {spec.name: _places(spec, sizes) for spec in (*integers, *conditions)}
    needed = [math.ceil(len(held) / places[name]) for name, held in numbers.items()]
    flags = [spec for spec in conditions if spec.shape]
    if flags and len(flags) == len(conditions):
        rows = min(spec.sized(sizes)[0] for spec in flags)
        together = min(sum(places[spec.name] // rows for spec in flags), MOST_CASES["thorough"][0])
        needed.append(math.ceil(TIMES_DRAWN * 2**together / rows))
    for at in range(min(max(needed, default=0), most)):
        held = {
            name: tuple(np.take(own, range(at * places[name], (at + 1) * places[name]), mode="wrap").tolist())
            for name, own in numbers.items()
        }
        yield held


def _roomy(
    specs: Sequence[TensorSpec], inputs: Sequence[TensorSpec], planned: Sequence[Mapping[str, int]]
) -> Mapping[str, int] | None:
    """The sizes at which a small case has the most room, the smaller of equals; None if no case is small."""
    fitting = [sizes for sizes in planned if _elements(inputs, sizes) <= SMALL]
    tiny = [sizes for sizes in fitting if _elements(inputs, sizes) <= TINY]
    return max(
        tiny or fitting,
        key=lambda sizes: (min(_places(spec, sizes) for spec in specs), -_elements(inputs, sizes)),
        default=None,
    )


def _places(spec: TensorSpec, sizes: Mapping[str, int]) -> int:
    return max(math.prod(spec.sized(sizes)), 1)


def _elements(inputs: Sequence[TensorSpec], sizes: Mapping[str, int]) -> int:
    return sum(math.prod(spec.sized(sizes)) for spec in inputs)


def _range(spec: TensorSpec) -> tuple[int, int]:
    low, high = spec.range or (0, 1)
    return int(low), int(high)
