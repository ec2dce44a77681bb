"""Name a constant that is like nothing known to the bit: which tensor it lies nearest to, and how far from
it."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from onnxproof.validate.exact.checkpoint import Array, Norm
from onnxproof.validate.exact.known import Known
from onnxproof.validate.exact.layouts import (
    ordered_layouts,
    places,
    sample,
    shapes_agree,
    squeezed,
)
from onnxproof.validate.exact.match import CHUNK
from onnxproof.validate.exact.pieces import whole

ROUNDING = 1e-6
"""The largest relative difference at which two numbers count as equal: 8 units in the last place of float32.
Folding a norm in float32 costs less."""

CLOSE = 0.02
"""A constant counts as a changed tensor up to this rms difference, as a share of the tensor's rms. Rounding
to bfloat16 makes 0.002; two tensors that were trained apart are near 1.4."""

MOSTLY = 0.5
"""A constant that shares more than this part of its numbers with a tensor counts as that tensor, changed,
however large the other differences are."""

FEW = 0.1
"""A tensor is changed in a few numbers if all but this share are equal to the bit."""

SMALLEST = 8
"""The fewest numbers by which a tensor is recognised. With fewer, tensors may be alike by chance."""

LEAST_COSINE = 0.9
"""The least cosine of the angle between a constant and a tensor that it stands for although it is not close:
scaled by anything it is 1, and about 0 for two tensors that were trained apart."""

DIRECTIONS = 2
"""The most directions of a recurrence, whose weights ONNX stacks."""


@dataclass(frozen=True, slots=True)
class Near:
    """What a constant is like.

    ``names`` are the checkpoint's tensors that it stands for. ``differing`` of its ``count`` numbers differ
    by more than rounding, ``unequal`` at all; ``share`` is the rms difference as a share of the rms.
    ``close`` says that chance is out of the question.
    """

    what: str
    names: frozenset[str]
    differing: int
    count: int
    share: float
    close: bool
    folded: bool
    unequal: int

    @property
    def sparse(self) -> bool:
        """Whether only a few numbers differ. Rounding does not do that: it moves all."""
        return self.close and 0 < self.unequal <= FEW * self.count

    def __str__(self) -> str:
        few = self.differing or (self.unequal if self.sparse else 0)
        part = f", in {few} of {self.count} numbers" if few else ""
        return f"{self.what} changed by {self.share:.1e} of its size{part}"


@dataclass(frozen=True, slots=True, eq=False)
class _Form:
    """What a constant may be: the numbers of ``laid``, in the constant's squeezed shape, times ``factor``.

    ``terms`` is the size of what was added up for each number, or None if nothing was.
    """

    what: str
    names: frozenset[str]
    laid: Array
    factor: Array | None = None
    terms: Array | None = None

    def numbers(self, spots: Array) -> tuple[Array, Array]:
        """The exact numbers at flat places, and the size of their terms: float64, each [places]."""
        exact = sample(self.laid, spots).astype(np.float64)
        if self.factor is not None:
            exact = exact * sample(np.broadcast_to(self.factor, self.laid.shape), spots)
        return exact, np.abs(exact) if self.terms is None else self.terms[spots]

    @property
    def folded(self) -> bool:
        """Whether a norm was folded in."""
        return self.factor is not None or self.terms is not None


@dataclass(frozen=True, slots=True, eq=False)
class _Forms:
    """Forms at a few places: their numbers and the size of their terms, float64 [forms, places] each, and
    what makes the form of an index."""

    exact: Array
    terms: Array
    form: Callable[[int], _Form]

    def ranks(self, few: Array) -> tuple[Array, Array]:
        """How far each form is from a constant's numbers there, and whether it is close: [forms] each."""
        error = np.abs(self.exact - few)
        share = np.sqrt(np.mean(error**2, axis=1)) / np.sqrt(np.mean(self.exact**2, axis=1))
        share = np.where(np.isfinite(share), share, np.inf)
        alike = np.mean((error <= ROUNDING * self.terms) & (self.exact != 0), axis=1)
        mostly = alike > MOSTLY
        return np.where(mostly, np.minimum(share, 1 - alike), share), (share <= CLOSE) | mostly


def nearest(name: str, values: Array, known: Known) -> tuple[Near, ...]:
    """What a constant is like: one entry, or one for each changed part of a recurrence's stacked weights."""
    found = _nearest(name, values, known)
    if found is not None or values.ndim not in (2, 3) or len(values) > DIRECTIONS:
        return () if found is None else (found,)
    parts = [
        part
        for direction in values
        for part in (np.split(direction, 2) if values.ndim == 2 and len(direction) % 2 == 0 else [direction])
    ]
    changed = [part for part in parts if whole(name, part, known.stored) is None]
    return tuple(near for part in changed if (near := _nearest(name, part, known)) is not None)


def rightful(name: str, values: Array, known: Known, missing: Collection[str]) -> tuple[str, Array] | None:
    """What a constant stands for, in words, and the exact numbers of that in the constant's shape, float64.

    It stands for the tensor of its own name and shape; or else for what it is close to; or else for the one
    among the ``missing`` tensors, which stand nowhere in the file, that it points along: scaled, or moved by
    little. Returns None if it stands for nothing that is known, or for what the module computes itself.
    """
    own = known.weights.tensors.get(name)
    if own is not None and own.shape == values.shape and own.dtype.kind == "f":
        return None if known.is_computed(name) else (name, own.astype(np.float64))
    if values.size < SMALLEST:
        return None
    best, close = _best(values, known)
    if best is None or not close:
        best = _along(values, known, missing)
    if best is None or any(map(known.is_computed, best.names)):
        return None
    return best.what, best.numbers(np.arange(values.size))[0].reshape(values.shape)


def _along(values: Array, known: Known, missing: Collection[str]) -> _Form | None:
    """The missing tensor, in a layout, whose numbers have the direction of the constant's."""
    spots = places(values.size)
    few = sample(values, spots).astype(np.float64)
    best, most = None, LEAST_COSINE
    for name, array in _arrays(values.size, known):
        if name not in missing:
            continue
        for layout in ordered_layouts(squeezed(array).shape):
            if not shapes_agree(layout, squeezed(array).shape, squeezed(values).shape):
                continue
            laid = layout.of(array)
            exact = sample(laid, spots).astype(np.float64)
            size = float(np.linalg.norm(exact) * np.linalg.norm(few))
            cosine = abs(float(np.dot(exact, few))) / size if size else 0.0
            if cosine > most:
                best, most = _plain(name, laid, 0), cosine
    return best


def _nearest(name: str, values: Array, known: Known) -> Near | None:
    """The form that is nearest on a sample, compared in full; None if there is none of its shape."""
    if values.size < SMALLEST:
        return _of_its_name(name, values, known)
    best, close = _best(values, known)
    return None if best is None else _compared(best, values, close)


def _best(values: Array, known: Known) -> tuple[_Form | None, bool]:
    """The form that is nearest on a sample, and whether it is close; None if there is none of its shape."""
    spots = places(values.size)
    few = sample(values, spots).astype(np.float64)
    best: _Form | None = None
    closest, close, names = np.inf, False, frozenset[str]()
    for forms in _forms(values, known, spots):
        ranks, near = forms.ranks(few)
        rank = float(np.min(ranks))
        if rank > closest:
            continue
        first, *others = np.flatnonzero(ranks == rank).tolist()
        if rank < closest:
            best, closest, close, names = forms.form(first), rank, bool(near[first]), frozenset()
        # Untrained norms are all equal, so the constant stands for each of them.
        names = names.union(*(forms.form(at).names for at in (first, *others)))
    return (None if best is None else replace(best, names=names)), close


def nearly_own(name: str, values: Array, known: Known) -> bool:
    """Whether a few numbers are nearly those of the tensor of their own name. If so, they were changed or
    computed, whatever scalars they look like."""
    return values.size < SMALLEST and _of_its_name(name, values, known) is not None


def _of_its_name(name: str, values: Array, known: Known) -> Near | None:
    """The tensor of a constant's own name. Too few numbers are known by nothing else."""
    own = known.weights.tensors.get(name)
    if own is None or own.size != values.size:
        return None
    near = _compared(_Form(name, frozenset([name]), own.reshape(-1)), values, True)
    return near if near.share <= CLOSE else None


def _compared(form: _Form, values: Array, close: bool) -> Near:
    """Compare all numbers, some at a time."""
    flat = values.reshape(-1)
    differing = unequal = 0
    squares = scale = 0.0
    for start in range(0, flat.size, CHUNK):
        spots = np.arange(start, min(start + CHUNK, flat.size))
        exact, terms = form.numbers(spots)
        error = np.abs(flat[spots].astype(np.float64) - exact)
        differing += int(np.count_nonzero(~(error <= ROUNDING * terms)))
        unequal += int(np.count_nonzero(flat[spots] != exact.astype(flat.dtype)))
        squares += float(np.sum(error**2))
        scale += float(np.sum(exact**2))
    share = float(np.sqrt(squares / scale)) if scale else np.inf
    return Near(form.what, form.names, differing, flat.size, share, close, form.folded, unequal)


def _forms(values: Array, known: Known, spots: Array) -> Iterator[_Forms]:
    """The forms of the checkpoint's tensors that a constant of this shape may have, at flat places."""
    flat = squeezed(values)
    if flat.ndim == 1:
        yield from _vectors(flat.size, known, spots)
    for name, array in _arrays(flat.size, known):
        shape = squeezed(array).shape
        for layout in ordered_layouts(shape):
            if not shapes_agree(layout, shape, flat.shape):
                continue
            laid = layout.of(array)
            exact = sample(laid, spots).astype(np.float64)[None]
            yield _Forms(exact, np.abs(exact), partial(_plain, name, laid))
            index = np.unravel_index(spots, laid.shape)
            for axis in range(min(2, flat.ndim) if flat.ndim > 1 else 0):
                norms = known.norms.get(flat.shape[axis], ())
                if norms:
                    scaled = exact * known.gains(flat.shape[axis])[:, index[axis]]
                    yield _Forms(scaled, np.abs(scaled), partial(_with_norm, name, laid, axis, norms))


def _plain(name: str, laid: Array, _: int) -> _Form:
    return _Form(name, frozenset([name]), laid)


def _with_norm(name: str, laid: Array, axis: int, norms: Sequence[Norm], at: int) -> _Form:
    norm = norms[at]
    factor = norm.gain.reshape([-1 if one == axis else 1 for one in range(laid.ndim)])
    return _Form(f"{name} with {norm.name} folded in", norm.scaling | {name}, laid, factor)


def _arrays(size: int, known: Known) -> Iterator[tuple[str, Array]]:
    """The checkpoint's tensors of that size, and the thirds of those that hold query, key and value."""
    for source in known.stored.by_size.get(size, ()):
        yield source.name, source.exact
    for source in known.stored.by_size.get(3 * size, ()):
        if source.exact.ndim and len(source.exact) % 3 == 0:
            yield from ((source.name, part) for part in np.split(source.exact, 3))


def _vectors(size: int, known: Known, spots: Array) -> Iterator[_Forms]:
    """What norms with this number of channels become, at flat places."""
    norms = known.norms.get(size, ())
    befores = list(known.biases(size)) if norms else []
    table = np.stack([before[spots] for _, before in befores]) if befores else None
    for norm in norms:
        some = norm.at(spots)
        exact = np.stack([numbers for _, numbers in some.factors])
        yield _Forms(exact, np.abs(exact), partial(_factor, norm))
        if table is not None:
            yield _Forms(some.bias(table), some.terms(table), partial(_bias, norm, befores))


def _factor(norm: Norm, at: int) -> _Form:
    text, numbers = norm.factors[at]
    return _Form(f"{norm.name}'s {text}", norm.scaling, numbers)


def _bias(norm: Norm, befores: Sequence[tuple[str, Array]], at: int) -> _Form:
    name, before = befores[at]
    names = norm.shifting | ({name} if name else set())
    what = f"{name or 'a bias of zeros'} with {norm.name} folded in"
    return _Form(what, names, norm.bias(before), None, norm.terms(before))
