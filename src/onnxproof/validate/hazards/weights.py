"""Compare the graph's tensors with the checkpoint's.

A tensor of the graph is taken for a checkpoint's where it holds the same numbers, as they are, transposed, in
another order of gates, or with a batch norm folded in; or where it lies so near to one that chance is out of
the question. In the second case it was changed, and that is advice: the numbers of the verdict say whether it
matters. What is like nothing (a grid, a constant, a product of two weights that a simplifier made) is not
judged. Neither is what may have been computed from several of the checkpoint's tensors: a weight under a
mask, with a low-rank product added, with another library's norm folded in. Such a computation leaves tensors
of the same part of the model that are not found in the graph.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, field, replace

import numpy as np
import onnx_ir as ir

from onnxproof.graph import UnreadableError
from onnxproof.validate.exact.checkpoint import Array, Norm, View, Weights
from onnxproof.validate.hazards._hazard import Hazard, Subject, advised, listed, passed, skipped
from onnxproof.validate.verdict import Check

NAME = "weights"

ROUNDING = 1e-6
"""The largest relative difference at which two numbers count as equal: 8 units in the last place of float32.
Folding a norm in float32 costs less (a root, a quotient and two products, half a unit each)."""

CLOSE = 0.02
"""A tensor counts as a changed tensor of the checkpoint up to this rms difference, as a share of the tensor's
rms. Rounding to bfloat16 makes 0.002; two tensors that were trained apart are near 1.4."""

MOSTLY = 0.5
"""A tensor that shares more than this part of its numbers with one of the checkpoint counts as that tensor,
changed, however large the other differences are."""

SMALLEST = 8
"""The fewest numbers by which a tensor is recognised. With fewer, tensors may be alike by chance."""

SAMPLES = 128
"""Numbers of a tensor that are compared with every candidate. With the best candidate all are compared."""

CHUNK = 2**20
"""Numbers that are compared together, in float64."""

FLOATS = (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)

RECURRENCES = ("LSTM", "GRU", "RNN")


@dataclass(frozen=True, slots=True, eq=False)
class _Form:
    """What a tensor of the graph may be.

    It is a checkpoint's tensor times a ``gain`` for each channel of its first axis (None: as it is). If
    ``terms`` are given, it is a vector that was computed from numbers of their size. ``names`` are the
    checkpoint's tensors that it stands for.
    """

    what: str
    array: Array
    names: frozenset[str]
    gain: Array | None = None
    terms: Array | None = None


@dataclass(frozen=True, slots=True)
class _Difference:
    """Over all numbers: how many differ by more than rounding, and the rms difference as a share of the
    rms."""

    differing: int
    count: int
    share: float


@dataclass(frozen=True, slots=True)
class _Changed:
    """What is told of a changed tensor, and which of the checkpoint's it stands for."""

    what: str
    names: frozenset[str]

    def computed(self, missing: Set[str]) -> bool:
        """Whether tensors of the same part of the model, or of a part beside it, are not in the graph."""
        parts = [name.rpartition(".")[0].rpartition(".")[0] for name in self.names]
        return any(not part or other.startswith(f"{part}.") for part in parts for other in missing)


@dataclass(slots=True)
class _Tally:
    found: set[str] = field(default_factory=set)
    folded: int = 0
    copied: int = 0
    unlike: int = 0
    changed: list[_Changed] = field(default_factory=list)


def look_for_changed_weights(subject: Subject) -> Check:
    """Whether every tensor that is the checkpoint's holds the checkpoint's numbers; advice if one does not.

    "skipped" if the checkpoint is not at hand, or if none of its tensors is found.
    """
    if subject.weights is None:
        return skipped(NAME, "the checkpoint is not at hand; onnxproof validate compares its tensors")
    total = len(subject.weights.tensors)
    if not total:
        return passed(NAME, "the model has no weights")
    known = _Known(subject.weights)
    tally = _Tally()
    try:
        # NaN and infinity are allowed here: they make a tensor unlike every other.
        with np.errstate(all="ignore"):
            for name, array in _parts(subject):
                _judge(name, array, known, tally)
    except UnreadableError as error:
        return skipped(NAME, f"not all tensors can be read: {error}")
    told = f"{len(tally.found)} of the checkpoint's {total} tensors found"
    missing = subject.weights.tensors.keys() - tally.found
    changed = [entry.what for entry in tally.changed if not entry.computed(missing)]
    if changed:
        return advised(NAME, f"{listed(changed)}; {told}", len(changed))
    if not tally.found:
        return skipped(
            NAME, f"none of the checkpoint's {total} tensors stands in the file in a form that is known"
        )
    told += f", {tally.copied} copied, {tally.folded} with a batch norm folded in"
    if tally.unlike:
        told += f"; {tally.unlike} bear the name of one that they are not like"
    return passed(NAME, told)


CHANGED_WEIGHTS = Hazard(
    NAME,
    "the file computes with other numbers than the checkpoint: rounded, scaled, of another run, or damaged",
    "export again from this checkpoint, and compare after each step that rewrites the file (converters, "
    "quantizers, optimizers)",
    look_for_changed_weights,
)


def _parts(subject: Subject) -> Iterator[tuple[str, Array]]:
    """The graph's floating-point tensors. Those of recurrences are split into directions and biases."""
    for stored in subject.graph.stored:
        if stored.dtype not in FLOATS or not stored.bytes:
            continue
        array = stored.array(subject.file)
        at = next((at for node, at in stored.users if node.op_type in RECURRENCES and at in (1, 2, 3)), None)
        if at is None or array.ndim != (2 if at == 3 else 3):
            yield stored.name, array
            continue
        for direction in array:
            halves = np.split(direction, 2) if at == 3 else [direction]
            yield from ((stored.name, half) for half in halves)


def _judge(name: str, array: Array, known: "_Known", tally: _Tally) -> None:
    own = known.tensors.get(name)
    bears_name = own is not None and own.shape == array.shape
    if array.size < SMALLEST and not bears_name:
        tally.found |= known.equals(array)
        return
    equal = known.equals(array)
    if equal and bears_name and name not in equal:
        tally.found |= equal
        tally.changed.append(_Changed(f"{name} holds the numbers of {min(equal)}", equal | {name}))
        return
    if equal:
        tally.found |= equal
        tally.copied += 1
        return
    form, close = known.nearest(array)
    if form is None:
        tally.unlike += bears_name
        return
    difference = _differ(array, form)
    if difference.differing and not close:
        tally.unlike += bears_name
        return
    tally.found |= form.names
    if difference.differing:
        share = f"{difference.differing} of {difference.count} numbers"
        what = f"{name} is {form.what} changed by {difference.share:.1e} of its size, in {share}"
        tally.changed.append(_Changed(what, form.names))
    elif form.gain is not None or form.terms is not None:
        tally.folded += 1
    else:
        tally.copied += 1


def _differ(array: Array, form: _Form) -> _Difference:
    """Compare all numbers, a few rows at a time."""
    meant = np.atleast_1d(form.array)
    rows = array.reshape(meant.shape)
    step = max(1, CHUNK // rows[0].size)
    differing = 0
    squares = scale = 0.0
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        wanted = meant[part].astype(np.float64)
        if form.gain is not None:
            wanted = wanted * form.gain[part].reshape(-1, *[1] * (wanted.ndim - 1))
        error = np.abs(rows[part].astype(np.float64) - wanted)
        allowed = ROUNDING * (np.abs(wanted) if form.terms is None else form.terms[part])
        differing += int(np.count_nonzero(~(error <= allowed)))
        squares += float(np.sum(error**2))
        scale += float(np.sum(wanted**2))
    return _Difference(differing, array.size, float(np.sqrt(squares / scale)) if scale else float("inf"))


class _Known:
    """The checkpoint's tensors, indexed by shape."""

    def __init__(self, weights: Weights) -> None:
        self.tensors = weights.tensors
        self._norms: dict[int, list[Norm]] = defaultdict(list)
        for norm in weights.norms():
            self._norms[norm.gain.size].append(norm)
        self._views: dict[tuple[int, ...], list[View]] = defaultdict(list)
        for view in weights.views():
            self._views[_squeezed(view.array.shape)].append(view)
        self._samples: dict[tuple[int, ...], Array] = {}
        self._vectors: dict[int, _Candidates | None] = {}

    def equals(self, array: Array) -> frozenset[str]:
        """The names of the tensors with exactly these numbers."""
        shape = _squeezed(array.shape)
        views = self._views.get(shape)
        if views is None:
            return frozenset()
        same = np.all(self._sampled(shape) == _sample(array), axis=1)
        return frozenset(
            view.name for view, fits in zip(views, same, strict=True) if fits and _equal(array, view.array)
        )

    def nearest(self, array: Array) -> tuple[_Form | None, bool]:
        """The form that is nearest on a sample, and whether it is too near for chance."""
        sample = _sample(array).astype(np.float64)
        best, closest, close = None, np.inf, False
        for candidates in self._candidates(array.shape):
            error = np.abs(candidates.wanted - sample)
            scale = np.sqrt(np.mean(candidates.wanted**2, axis=1))
            share = np.sqrt(np.mean(error**2, axis=1)) / scale
            share = np.where(np.isfinite(share), share, np.inf)
            alike = np.mean((error <= candidates.allowed) & (candidates.wanted != 0), axis=1)
            rank = np.where(alike > MOSTLY, np.minimum(share, 1 - alike), share)
            at = int(np.argmin(rank))
            if rank[at] < closest:
                # Untrained norms are all equal, so the tensor stands for each of them.
                same = [candidates.form(int(each)).names for each in np.flatnonzero(rank == rank[at])]
                best = replace(candidates.form(at), names=frozenset().union(*same))
                closest, close = rank[at], bool(share[at] <= CLOSE or alike[at] > MOSTLY)
        return best, close

    def _candidates(self, full: tuple[int, ...]) -> Iterator["_Candidates"]:
        """The forms of the checkpoint's tensors that a tensor of this shape may be."""
        shape = _squeezed(full)
        if len(shape) == 1:
            vectors = self._vector_forms(shape[0])
            if vectors is not None:
                yield vectors
        views = self._views.get(shape)
        if views is None:
            return
        plain = self._sampled(shape).astype(np.float64)
        yield _Candidates(
            plain,
            ROUNDING * np.abs(plain),
            lambda at: _Form(views[at].name, views[at].array, frozenset([views[at].name])),
        )
        norms = self._norms.get(full[0], []) if len(full) > 1 else []
        if not norms:
            return
        channels = np.unravel_index(_places(math.prod(full)), full)[0]
        gains = np.stack([norm.gain for norm in norms])[:, channels]
        for view, numbers in zip(views, plain, strict=True):
            if view.array.shape == full:
                wanted = numbers * gains
                yield _Candidates(wanted, ROUNDING * np.abs(wanted), _folding(view, norms))

    def _vector_forms(self, size: int) -> "_Candidates | None":
        """What norms with this number of channels become: gains, deviations, biases with a norm folded in."""
        norms = self._norms.get(size, [])
        if size not in self._vectors:
            self._vectors[size] = None
            if norms:
                biases = [("", np.zeros(size))] + [
                    (name, array.astype(np.float64))
                    for name, array in self.tensors.items()
                    if array.shape == (size,) and name.endswith("bias")
                ]
                forms = [form for norm in norms for form in _vectors_of(norm, biases)]
                wanted = np.stack([_sample(form.array) for form in forms])
                allowed = ROUNDING * np.stack(
                    [_sample(form.terms) for form in forms if form.terms is not None]
                )
                self._vectors[size] = _Candidates(wanted, allowed, forms.__getitem__)
        return self._vectors[size]

    def _sampled(self, shape: tuple[int, ...]) -> Array:
        if shape not in self._samples:
            self._samples[shape] = np.stack([_sample(view.array) for view in self._views[shape]])
        return self._samples[shape]


@dataclass(frozen=True, slots=True, eq=False)
class _Candidates:
    """Forms that a tensor may have, one a row.

    ``wanted`` has their numbers at the sampled places, ``allowed`` how far rounding may move each number, and
    ``form`` gives the form of a row.
    """

    wanted: Array
    allowed: Array
    form: Callable[[int], _Form]


def _folding(view: View, norms: Sequence[Norm]) -> Callable[[int], _Form]:
    def form(at: int) -> _Form:
        norm = norms[at]
        what = f"{view.name} with {norm.name} folded in"
        return _Form(what, view.array, frozenset([view.name]) | norm.scaling, norm.gain)

    return form


def _vectors_of(norm: Norm, biases: Sequence[tuple[str, Array]]) -> Iterator[_Form]:
    for what, numbers in (
        ("gain", norm.gain),
        ("deviation", norm.spread),
        ("1 / deviation", 1 / norm.spread),
        ("variance", norm.spread**2),
    ):
        yield _Form(f"{norm.name}'s {what}", numbers, norm.scaling, None, np.abs(numbers))
    for name, before in biases:
        names = norm.shifting | ({name} if name else set())
        what = f"{name or 'no bias'} with {norm.name} folded in"
        yield _Form(what, norm.bias(before), names, None, norm.terms(before))


def _squeezed(shape: Sequence[int]) -> tuple[int, ...]:
    """A shape without its axes of size 1, which exporters add and drop."""
    return tuple(size for size in shape if size != 1)


def _places(size: int) -> Array:
    """Up to SAMPLES evenly spaced indices of ``size`` numbers."""
    return np.linspace(0, size - 1, min(size, SAMPLES)).astype(np.int64)


def _sample(array: Array) -> Array:
    """An array's numbers at those indices, in flat order. Does not copy the array."""
    return array[np.unravel_index(_places(array.size), array.shape)] if array.ndim else array.reshape(1)


def _equal(one: Array, other: Array) -> bool:
    """Whether two arrays whose shapes differ only in axes of size 1 have the same numbers."""
    shaped = one.reshape(other.shape)
    if not shaped.ndim:
        return bool(shaped == other)
    step = max(1, 4 * CHUNK // max(1, shaped[0].size))
    return all(
        np.array_equal(shaped[at : at + step], other[at : at + step]) for at in range(0, len(shaped), step)
    )
