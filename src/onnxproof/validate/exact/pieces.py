"""Constants that hold a source's own numbers: whole, a slice of it, or several sources one behind the
other."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from onnxproof.validate.exact.known import Pool, Source
from onnxproof.validate.exact.layouts import (
    Array,
    Layout,
    all_layouts,
    find_layout,
    fingerprint,
    row_sums,
    same,
    squeezed,
)
from onnxproof.validate.exact.match import Match, roundings_of, unit

FEWEST = 4
"""The fewest numbers of a piece that is recognised. With fewer, pieces may be alike by chance."""

MOST_PIECES = 64
"""The most pieces of one constant."""


def whole(name: str, values: Array, pool: Pool) -> Match | None:
    """The constant as a source of the pool, in any layout.

    If several sources hold the same numbers, it is the one of its own name, and stands for all of them.
    """
    alike = pool.alike(values.size, fingerprint(values))
    found = [
        (source, layout)
        for source in sorted(alike, key=lambda source: source.name != name)
        if (layout := _layout(source.single, values)) is not None
    ]
    if not found:
        return None
    source, layout = found[0]
    match = _match(
        _text(source.name, layout), [source], layout.of(source.exact).reshape(values.shape), values
    )
    return replace(match, names=frozenset(source.name for source, _ in found if not source.computed))


def shuffled(values: Array, pool: Pool) -> Source | None:
    """A source that holds the constant's numbers, if in no known order."""
    ordered = None
    for source in pool.alike(values.size, fingerprint(values)):
        ordered = np.sort(values, axis=None) if ordered is None else ordered
        if np.array_equal(np.sort(source.single, axis=None), ordered):
            return source
    return None


def slice_of(values: Array, pool: Pool) -> Match | None:
    """The constant as a slice along one axis of a source, in any layout."""
    if values.size < FEWEST:
        return None
    total = np.uint64(fingerprint(values))
    for at, source in enumerate(pool.sources):
        if source.single.size <= values.size:
            continue
        single, exact = squeezed(source.single), squeezed(source.exact)
        for axis, length in enumerate(single.shape):
            row = single.size // length
            count, rest = divmod(values.size, row)
            if rest or count >= length:
                continue
            sums = _rows(pool, at, single, axis)
            for start in np.flatnonzero(sums[count:] - sums[:-count] == total):
                part = (slice(None),) * axis + (slice(start, start + count),)
                layout = _layout(single[part], values)
                if layout is not None:
                    text = _text(f"{source.name}[{start}:{start + count}] of axis {axis}", layout)
                    return _match(text, [source], layout.of(exact[part]).reshape(values.shape), values)
    return None


def joined(values: Array, pools: Sequence[Pool]) -> Match | None:
    """The constant as sources one behind the other along an axis."""
    if values.size < 2 * FEWEST:
        return None
    for axis, laid in _rowwise(values):
        found = list(_pieces(laid, pools))
        if not found or found[-1] is None:
            continue
        pieces = [piece for piece in found if piece is not None]
        text = ", then ".join(_text(source.name, layout) for source, layout, _ in pieces)
        exact = np.concatenate([layout.of(source.exact).reshape(shape) for source, layout, shape in pieces])
        shape = (values.shape[axis], *values.shape[:axis], *values.shape[axis + 1 :])
        back = exact if axis < 0 else np.moveaxis(exact.reshape(shape), 0, axis)
        sources = [source for source, _, _ in pieces]
        return _match(text, sources, back.reshape(values.shape), values)
    return None


def _rowwise(values: Array) -> Iterator[tuple[int, Array]]:
    """The constant as rows in which pieces may end: its leading axes taken as one (axis -1), or another axis
    put first."""
    for count in range(values.ndim):
        rows = int(np.prod(values.shape[: count + 1]))
        if rows > 1 and values.shape[count] > 1:
            yield -1, values.reshape(rows, -1)
    for axis in range(1, values.ndim):
        if values.shape[axis] > 1 and values.size > values.shape[axis]:
            yield axis, np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)


def _pieces(laid: Array, pools: Sequence[Pool]) -> Iterator[tuple[Source, Layout, tuple[int, ...]] | None]:
    """The sources that follow each other in the rows; None at the end if a piece is like none."""
    sums = row_sums(laid, 0)
    length, row = laid.shape
    counts = sorted(
        {size // row for pool in pools for size in pool.by_size if size % row == 0 and size >= FEWEST},
        reverse=True,
    )
    start = 0
    for _ in range(MOST_PIECES):
        piece = next(
            (
                (source, layout, count)
                for count in counts
                if count <= length - start and count < length
                for pool in pools
                for source in pool.alike(count * row, int(sums[start + count] - sums[start]))
                if (layout := _layout(source.single, laid[start : start + count])) is not None
            ),
            None,
        )
        if piece is None:
            yield None
            return
        source, layout, count = piece
        yield source, layout, (count, row)
        start += count
        if start == length:
            return
    yield None


def _layout(source: Array, values: Array) -> Layout | None:
    return find_layout(source, values, all_layouts(squeezed(source).shape), _equal)


def _equal(known: Array, values: Array) -> bool:
    return same(known.astype(values.dtype, copy=False), values)


def _match(text: str, sources: Sequence[Source], exact: Array, values: Array) -> Match:
    names = frozenset(source.name for source in sources if not source.computed)
    if all(source.exact is source.single for source in sources) and exact.itemsize <= values.itemsize:
        return Match(text, names)
    wide = np.asarray(exact, np.float64)
    scale = np.max(np.abs(wide), where=np.isfinite(wide), initial=0.0)
    rounding = max(unit(values.dtype), unit(np.dtype(np.float32)))
    return Match(text, names, wide, roundings_of(values, wide, rounding, np.inf, scale))


def _rows(pool: Pool, at: int, single: Array, axis: int) -> Array:
    if (at, axis) not in pool.rows:
        pool.rows[at, axis] = row_sums(single, axis)
    return pool.rows[at, axis]


def _text(name: str, layout: Layout) -> str:
    return f"{name}, {layout.text}" if layout.text else name
