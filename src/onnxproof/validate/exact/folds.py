"""Constants that are a tensor of the checkpoint times a factor, for each channel or for all; and the biases
and vectors that a batch norm leaves."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import combinations
from typing import Any

import numpy as np

from onnxproof.validate.exact.checkpoint import Array, Norm
from onnxproof.validate.exact.known import Known, Pool, Source, Vector
from onnxproof.validate.exact.layouts import (
    SAMPLES,
    Layout,
    places,
    plain_layouts,
    sample,
    shapes_agree,
    squeezed,
)
from onnxproof.validate.exact.match import (
    BIAS_ROUNDINGS,
    ROUNDINGS,
    SCALAR_ROUNDINGS,
    SPREAD,
    Match,
    roundings_of,
    tiny,
)
from onnxproof.validate.exact.scalars import Scalar, near

CHANNELS = 12
"""Channels of a tensor whose quotients are looked at before all are."""

FACTOR_SAMPLES = 6
"""Numbers of a channel from which its factor is computed."""

ONE = Scalar(1.0, "1")

FEWEST = 4
"""The fewest numbers of a vector that is known by its multiple. Fewer may be one by chance."""

FEW = 8
"""Numbers of a vector that are compared before all are."""


@dataclass(frozen=True, slots=True, eq=False)
class Scaled:
    """A constant that is a tensor times unknown factors: ``factors`` is float64 [C] along ``axis``, or [1]
    if ``axis`` is None. A factor is NaN where the tensor is zero. ``laid`` is the tensor in the constant's
    squeezed shape."""

    source: Source
    layout: Layout
    laid: Array
    axis: int | None
    factors: Array


def folded(name: str, values: Array, known: Known, pool: Pool, rounding: float) -> Match | None:
    """The constant as a tensor of the pool times a factor that is known; None if it is none.

    A tensor of ``Known.is_computed`` counts only if the run of the module is missing.
    """
    flat = squeezed(values)
    if values.size < 2:
        return None
    for found in scaled(name, flat, pool, rounding):
        if known.is_computed(found.source.name) and not (known.has_run and known.recorded.missing):
            continue
        match = _with_factors(found, flat, known, rounding)
        if match is not None:
            return match.shaped(values.shape)
    return None


def scaled(name: str, flat: Array, pool: Pool, rounding: float) -> Iterator[Scaled]:
    """The tensors of the pool whose quotient with a squeezed constant is the same all along an axis."""
    sources = pool.by_size.get(flat.size, [])
    for source in sorted(sources, key=lambda source: source.name != name):
        shape = squeezed(source.single).shape
        for layout in plain_layouts(shape):
            if not shapes_agree(layout, shape, flat.shape):
                continue
            laid = layout.of(source.exact)
            for axis in (*range(flat.ndim), None) if flat.ndim > 1 else (None,):
                if _steady(flat, laid, axis, rounding):
                    yield Scaled(source, layout, laid, axis, _factors(flat, laid, axis))


def _steady(flat: Array, laid: Array, axis: int | None, rounding: float) -> bool:
    """Whether a sample of the quotients is the same all along an axis."""
    index = _grid(flat.shape, axis)
    below, above = laid[index].astype(np.float64), flat[index].astype(np.float64)
    least = tiny(rounding)
    if np.any((below == 0) & (np.abs(above) > least)):
        return False
    # Of numbers too small for the precision, quotients tell nothing.
    quotients = np.where((below == 0) | (np.abs(above) <= least / rounding), np.nan, above / below)
    some = ~np.isnan(quotients)
    high = np.max(quotients, axis=1, where=some, initial=-np.inf)
    low = np.min(quotients, axis=1, where=some, initial=np.inf)
    empty = ~some.any(axis=1)
    close = high - low <= SPREAD * rounding * np.maximum(np.abs(high), np.abs(low))
    return bool(np.all(close | empty)) and not bool(np.all(empty))


@lru_cache(maxsize=4096)
def _grid(shape: tuple[int, ...], axis: int | None) -> tuple[Array, ...]:
    """Places of a tensor, an index array [channels, FEW] for each axis: each row in one channel of
    ``axis``."""
    random = np.random.default_rng(len(shape))
    if axis is None:
        spots = places(int(np.prod(shape)))
        return tuple(index[None] for index in np.unravel_index(spots, shape))
    index = [random.integers(0, size, (CHANNELS, FEW)) for size in shape]
    index[axis] = np.repeat(np.linspace(0, shape[axis] - 1, CHANNELS).astype(np.int64)[:, None], FEW, 1)
    return tuple(index)


def _factors(flat: Array, laid: Array, axis: int | None) -> Array:
    """The factor of each channel, from a few of its numbers."""
    if axis is None:
        index = _grid(flat.shape, None)
        below, above = laid[index].astype(np.float64), flat[index]
    else:
        lines = np.moveaxis(laid, axis, 0), np.moveaxis(flat, axis, 0)
        random = np.random.default_rng(flat.size)
        spots: list[Any] = [random.integers(0, size, FACTOR_SAMPLES) for size in lines[0].shape[1:]]
        below, above = (line[slice(None), *spots].astype(np.float64) for line in lines)
    squares, products = np.sum(below * below, axis=1), np.sum(below * above, axis=1)
    return np.where(squares > 0, products / squares, np.nan)


def _with_factors(found: Scaled, flat: Array, known: Known, rounding: float) -> Match | None:
    names = frozenset() if found.source.computed else frozenset([found.source.name])
    if found.axis is None:
        scalar = _scalar(float(found.factors[0]), known, rounding)
        if scalar is None:
            return None
        text = f"{found.source.name} times {scalar.text}"
        make = partial(_scaled_by, found.laid, scalar.value)
        return _if_within(flat, make, text, names, rounding, _roundings(scalar.value), scalar.value)
    for vector, scalar in known_vectors(found.factors, known, rounding, 1):
        channels = [-1 if at == found.axis else 1 for at in range(flat.ndim)]
        text = f"{found.source.name} times {vector.name}{_times(scalar)}"
        limit = vector.roundings + 1 + _roundings(scalar.value)
        make = partial(_scaled_by, found.laid, (vector.exact * scalar.value).reshape(channels))
        match = _if_within(flat, make, text, names | vector.names, rounding, limit, scalar.value)
        if match is not None:
            return match
    return None


def _scaled_by(laid: Array, factor: Array | float) -> Array:
    exact: Array = laid.astype(np.float64)
    exact *= factor
    return exact


def _if_within(
    flat: Array,
    make: Callable[[], Array],
    text: str,
    names: frozenset[str],
    rounding: float,
    limit: float,
    factor: float = 1.0,
) -> Match | None:
    exact = make()
    distance = roundings_of(flat, exact, rounding, limit)
    return Match(text, names, exact, distance, make, factor) if distance <= limit else None


def _scalar(factor: float, known: Known, rounding: float) -> Scalar | None:
    """A factor as a number that is written, or was passed in the run; None if it is none."""
    scalars = known.recorded.scalars if known.has_run else ()
    return near(factor, SCALAR_ROUNDINGS * rounding, scalars)


def _roundings(scalar: float) -> int:
    """The roundings of a product with a scalar. A power of two costs none."""
    return 0 if abs(np.frexp(scalar)[0]) == 0.5 else SCALAR_ROUNDINGS


def _times(scalar: Scalar) -> str:
    return "" if scalar.value == 1 else f" times {scalar.text}"


def known_vectors(
    numbers: Array, known: Known, rounding: float, more: int
) -> Iterator[tuple[Vector, Scalar]]:
    """The known vectors that numbers [C] are, times a scalar, within the roundings of both and so many
    ``more``.

    NaN stands for any number.
    """
    few = _few(numbers.size)
    vectors = known.vectors(numbers.size)
    if not vectors:
        return
    for at in _alike(*known.sampled(numbers.size, few), numbers[few], rounding):
        vector = vectors[at]
        for scalar in _multiples(vector.exact, vector.terms, numbers, few, known, rounding):
            allowed = (vector.roundings + more + _roundings(scalar.value)) * rounding
            error = np.abs(vector.exact * scalar.value - numbers)
            if np.all((error <= allowed * abs(scalar.value) * vector.terms) | np.isnan(numbers)):
                yield vector, scalar


def _alike(exact: Array, terms: Array, found: Array, rounding: float) -> Array:
    """The rows of ``exact`` [rows, FEW] that the few numbers found are, or are a multiple of."""
    near = _proportional(exact, terms, found, rounding)
    exact, terms = exact[near], terms[near]
    free = np.isnan(found)
    loose = 4 * SPREAD * rounding * terms + tiny(rounding)
    equal = np.all((np.abs(exact - found) <= loose) | free, axis=1)
    heaviest = np.argmax(np.where(free, -1, np.abs(exact)), axis=1)[:, None]
    factor = found[heaviest] / np.take_along_axis(exact, heaviest, 1)
    multiple = np.all((np.abs(exact * factor - found) <= np.abs(factor) * loose) | free, axis=1)
    rows: Array = near[equal | multiple]
    return rows


def _proportional(exact: Array, terms: Array, found: Array, rounding: float) -> Array:
    """The rows in which the two largest numbers found are to each other as they should be. A quick look:
    it keeps every row of ``_alike``, and few others."""
    one, other = np.argsort(np.where(np.isnan(found), -1, np.abs(found)))[-2:] if found.size > 1 else (0, 0)
    apart = np.abs(exact[:, one] * found[other] - exact[:, other] * found[one])
    size = terms[:, one] * abs(found[other]) + terms[:, other] * abs(found[one])
    least = tiny(rounding) * (abs(found[one]) + abs(found[other]))
    rows: Array = np.flatnonzero(~(apart > 8 * SPREAD * rounding * size + 2 * least))
    return rows


def _few(size: int) -> Array:
    return places(size)[:: max(1, min(size, SAMPLES) // FEW)][:FEW]


def _multiples(
    wanted: Array, terms: Array, numbers: Array, few: Array, known: Known, rounding: float
) -> Iterator[Scalar]:
    """The scalars by which ``wanted`` may be ``numbers``, judged by a few of them; 1 comes first.

    ``terms`` is the size of what each of ``wanted`` is a sum of.
    """
    exact, size, found = wanted[few], terms[few], numbers[few]
    loose = 4 * SPREAD * rounding * size
    if np.all((np.abs(exact - found) <= loose) | np.isnan(found)):
        yield ONE
        return
    if numbers.size < FEWEST:
        return
    heaviest = int(np.argmax(np.where(np.isfinite(found), np.abs(exact), 0)))
    factor = float(found[heaviest] / exact[heaviest])
    if not np.isfinite(factor) or factor == 0:
        return
    if np.all((np.abs(exact * factor - found) <= abs(factor) * loose) | np.isnan(found)):
        valid = np.isfinite(numbers) & (terms <= 2 * np.abs(wanted))
        below, above = wanted[valid], numbers[valid]
        if below.size:
            factor = float(np.sum(below * above) / np.sum(below * below))
        scalar = _scalar(factor, known, rounding)
        if scalar is not None:
            yield scalar


def vector_of(values: Array, known: Known, rounding: float) -> Match | None:
    """The constant as a vector that is known: a factor of a batch norm, or a bias that one is folded into."""
    numbers = values.reshape(-1).astype(np.float64)
    for vector, scalar in known_vectors(numbers, known, rounding, 0):
        if vector.roundings:
            exact = vector.exact * scalar.value
            distance = roundings_of(numbers, exact, rounding, np.inf, vector.terms * abs(scalar.value))
            shaped, text = exact.reshape(values.shape), vector.name + _times(scalar)
            return Match(text, vector.names, shaped, distance, factor=scalar.value)
    few = _few(numbers.size)
    for norm, name, before in _biases(numbers, known, rounding):
        wanted, terms = norm.bias(before), norm.terms(before)
        for scalar in _multiples(wanted, terms, numbers, few, known, rounding):
            exact = wanted * scalar.value
            limit = BIAS_ROUNDINGS + _roundings(scalar.value)
            distance = roundings_of(numbers, exact, rounding, limit, terms * abs(scalar.value))
            if distance <= limit:
                names = norm.shifting | ({name} if name else set())
                text = f"{name or 'a bias of zeros'} with {norm.name} folded in{_times(scalar)}"
                shaped = exact.reshape(values.shape)
                return Match(text, frozenset(names), shaped, distance, factor=scalar.value)
    return _of_two(numbers.reshape(values.shape), known, rounding)


def _of_two(values: Array, known: Known, rounding: float) -> Match | None:
    """The constant as a vector of the checkpoint times a known vector, or as the sum of two of them."""
    numbers = values.reshape(-1)
    few = _few(numbers.size)
    found = numbers[few]
    befores = list(known.biases(numbers.size))[1:]
    vectors = known.vectors(numbers.size)
    for name, before in befores if vectors else ():
        exact, _ = known.sampled(numbers.size, few)
        exact = exact * before[few]
        close = np.abs(exact - found) <= 2 * SPREAD * rounding * np.abs(exact) + tiny(rounding)
        for at in np.flatnonzero(np.all(close, axis=1)):
            vector = vectors[at]
            limit = vector.roundings + 1
            text, names = f"{name} times {vector.name}", vector.names | {name}
            make = partial(_scaled_by, before.reshape(values.shape), vector.exact.reshape(values.shape))
            match = _if_within(values, make, text, names, rounding, limit)
            if match is not None:
                return match
    for (name, one), (more, other) in combinations(befores, 2):
        terms = np.abs(one) + np.abs(other)
        if np.all(np.abs((one + other - numbers)[few]) <= rounding * terms[few] + tiny(rounding)):
            distance = roundings_of(numbers, one + other, rounding, 1, terms)
            if distance <= 1:
                whole = (one + other).reshape(values.shape)
                return Match(f"{name} plus {more}", frozenset([name, more]), whole, distance)
    return None


def _biases(numbers: Array, known: Known, rounding: float) -> Iterator[tuple[Norm, str, Array]]:
    """The norms and the biases before them that agree with a folded bias in a few numbers, but for a
    scalar."""
    norms = known.norms.get(numbers.size, ())
    if not norms:
        return
    few = _few(numbers.size)
    found = numbers[few]
    befores = list(known.biases(numbers.size))
    table = np.stack([array[few] for _, array in befores])
    for norm in norms:
        some = norm.at(few)
        for at in _alike(some.bias(table), some.terms(table), found, rounding):
            yield norm, *befores[at]


def _widened(laid: Array, shape: tuple[int, ...]) -> Array:
    return laid.reshape(shape).astype(np.float64)


def table_of(values: Array, sources: Iterable[Source], rounding: float) -> Match | None:
    """The constant as a tensor that a run computed from no input, in any order of its axes.

    Numbers may be off by the roundings of a product, and by the slack of that tensor.
    """
    spots = places(values.size)
    few = sample(values, spots)
    for source in sources:
        exact = squeezed(source.exact)
        more = (source.slack / rounding + source.scale) / ROUNDINGS
        for layout in plain_layouts(exact.shape):
            laid = layout.of(exact)
            some = sample(laid, spots)
            if roundings_of(few, some, rounding, ROUNDINGS, np.abs(some) + more) > ROUNDINGS:
                continue
            whole = _widened(laid, values.shape)
            if roundings_of(values, whole, rounding, ROUNDINGS, np.abs(whole) + more) <= ROUNDINGS:
                distance = roundings_of(values, whole, rounding, np.inf, np.array(source.scale))
                again = partial(_widened, laid, values.shape)
                return Match(source.name, frozenset(), whole, distance, again)
    return None
