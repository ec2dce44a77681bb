"""What is known of a checkpoint, from which a file's constants may have been made.

No framework is imported: ``record.py`` collects it from a module.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from onnxproof.validate.exact.checkpoint import Array, Norm, Weights
from onnxproof.validate.exact.layouts import fingerprint

FACTOR_ROUNDINGS = 3.0
"""Roundings of gamma / sqrt(var + eps): 2.5, since a root halves the relative error of what is under it, and
half of one more for a root that is not rounded correctly."""

LARGEST_VECTOR = 2**16
"""The most numbers of a vector that is tried as a factor for each channel."""


_RAW = re.compile(r"(^|\.)parametrizations\.|_(g|v|orig)$")
"""Names of tensors from which PyTorch computes a weight: by a parametrization, weight_norm, spectral_norm or
pruning."""


@dataclass(frozen=True, eq=False)
class Source:
    """A tensor that constants may have been made from.

    ``exact`` holds its numbers in any float type. ``single`` has what PyTorch makes of them in float32, or is
    ``exact`` if nothing was computed. ``computed`` is false for a tensor of the checkpoint.
    """

    name: str
    exact: Array
    single: Array
    computed: bool = False

    @cached_property
    def slack(self) -> float:
        """Twice what PyTorch's float32 is off by, at most. Another program computes the same in another
        order, and may be off by as much."""
        with np.errstate(all="ignore"):
            error = np.abs(self.single.astype(np.float64) - self.exact)
        return 2 * float(np.max(error, where=np.isfinite(error), initial=0.0))

    @cached_property
    def scale(self) -> float:
        """The largest number's size."""
        size = np.abs(self.exact)
        return float(np.max(size, where=np.isfinite(size), initial=0.0))


@dataclass(frozen=True, slots=True, eq=False)
class Vector:
    """Numbers that are computed for each channel: float64 [C].

    ``roundings`` is how many roundings that takes in float32. ``terms`` is the size of the numbers that were
    added up for each; rounding errors are proportional to it. ``names`` are the checkpoint's tensors that it
    was made from.
    """

    name: str
    exact: Array
    roundings: float
    terms: Array
    names: frozenset[str]


CUT_AT = {"hardswish": (3.0, 6.0), "hardsigmoid": (1.0, 3.0, 6.0)}
"""The numbers at which operations cut off that are not given them, however exporters write the operation."""

HUGE = 1e30
"""From this size on a bound bounds nothing. Exporters write the largest float where none is meant."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a run of the module computed from no input: tensors, and the scalars that it passed.

    ``bounds`` has how many of its operations cut off at each number. ``operations`` are the names of all of
    its operations, without overloads. ``numbers`` are what it passed to those that may choose by value.
    ``missing`` says why there is none of it, or is "".
    """

    tables: tuple[Source, ...] = ()
    scalars: tuple[float, ...] = ()
    missing: str = ""
    bounds: Mapping[float, int] = field(default_factory=dict)
    operations: frozenset[str] = frozenset()
    numbers: frozenset[float] = frozenset()


@dataclass(frozen=True, eq=False)
class Known:
    """A checkpoint's tensors, and a run of the module that is made when it is first asked for.

    ``rewritten`` names the tensors that the module replaces or writes into when it runs. ``checkpoint`` says
    that the tensors are a checkpoint's, not those of another file.
    """

    weights: Weights
    run: Callable[[], Recorded] = Recorded
    rewritten: frozenset[str] = frozenset()
    checkpoint: bool = False

    def is_computed(self, name: str) -> bool:
        """Whether the module computes a weight from the tensor, or into it.

        Then numbers that equal the tensor in float32 may differ from those that the module uses in float64.
        """
        return _RAW.search(name) is not None or name in self.rewritten

    @cached_property
    def recorded(self) -> Recorded:
        """The run's tensors and scalars. The module runs now if it has not run yet."""
        return self.run()

    @cached_property
    def stored(self) -> "Pool":
        """The checkpoint's tensors."""
        return Pool([Source(name, array, array) for name, array in self.weights.tensors.items()])

    @cached_property
    def tables(self) -> "Pool":
        """The tensors that the run computed."""
        return Pool(self.recorded.tables)

    @cached_property
    def norms(self) -> Mapping[int, tuple[Norm, ...]]:
        """The batch norms by their number of channels."""
        found: dict[int, list[Norm]] = defaultdict(list)
        for norm in self.weights.norms():
            found[norm.gain.size].append(norm)
        return {size: tuple(norms) for size, norms in found.items()}

    def gains(self, size: int) -> Array:
        """The gains of the norms with so many channels: float64 [norms, C]."""
        if size not in self._gains:
            self._gains[size] = np.stack([norm.gain for norm in self.norms[size]])
        return self._gains[size]

    @cached_property
    def _gains(self) -> dict[int, Array]:
        return {}

    def biases(self, size: int) -> Iterator[tuple[str, Array]]:
        """What a batch norm may be folded into: no bias, or a vector that belongs to no norm."""
        yield "", np.zeros(size)
        own = {name for norms in self.norms.values() for norm in norms for name in norm.names}
        for source in self.stored.by_size.get(size, ()):
            if source.name not in own and source.exact.ndim == 1:
                yield source.name, source.exact.astype(np.float64)

    def vectors(self, size: int) -> tuple[Vector, ...]:
        """What may scale the channels of a tensor: factors of norms, and the checkpoint's own vectors."""
        key = (size, self.has_run)
        if key not in self._vectors:
            with np.errstate(all="ignore"):
                self._vectors[key] = tuple(self._vectors_of(size))
        return self._vectors[key]

    def sampled(self, size: int, few: Array) -> tuple[Array, Array]:
        """The numbers of those vectors at a few places, and their terms: float64 [vectors, places] each."""
        key = (size, self.has_run)
        if key not in self._few:
            vectors = self.vectors(size)
            exact = np.stack([vector.exact[few] for vector in vectors])
            self._few[key] = exact, np.stack([vector.terms[few] for vector in vectors])
        return self._few[key]

    @cached_property
    def _few(self) -> dict[tuple[int, bool], tuple[Array, Array]]:
        return {}

    @property
    def has_run(self) -> bool:
        """Whether the module has run."""
        return "recorded" in self.__dict__

    @cached_property
    def _vectors(self) -> dict[tuple[int, bool], tuple[Vector, ...]]:
        return {}

    def _vectors_of(self, size: int) -> Iterator[Vector]:
        for norm in self.norms.get(size, ()):
            for text, numbers in norm.factors:
                yield Vector(
                    f"{norm.name}'s {text}", numbers, FACTOR_ROUNDINGS, np.abs(numbers), norm.scaling
                )
        if size > LARGEST_VECTOR:
            return
        for source in (*self.stored.by_size.get(size, ()), *self._drawn(size)):
            numbers = source.exact.reshape(-1).astype(np.float64)
            names = frozenset() if source.computed else frozenset([source.name])
            own = 1.0 if source.computed else 0.0
            for text, made, roundings in (
                ("", numbers, own),
                ("1 / ", 1 / numbers, own + 1),
                ("square of ", numbers**2, 2 * own + 1),
            ):
                if np.all(np.isfinite(made)) and (roundings or not np.all(made == made[0])):
                    yield Vector(f"{text}{source.name}", made, roundings, np.abs(made), names)

    def _drawn(self, size: int) -> Sequence[Source]:
        """The run's tables of that size, if the module has run."""
        return self.tables.by_size.get(size, ()) if self.has_run else ()


class Pool:
    """Sources, by their size and by the fingerprint of their numbers in float32."""

    def __init__(self, sources: "tuple[Source, ...] | list[Source]") -> None:
        self.sources = tuple(sources)
        by_size: dict[int, list[Source]] = defaultdict(list)
        for source in sources:
            by_size[source.exact.size].append(source)
        self.by_size: Mapping[int, list[Source]] = by_size
        self._sums: dict[int, dict[int, list[Source]]] = {}
        self.rows: dict[tuple[int, int], Array] = {}
        """Running sums along an axis, by the index of the source and the axis; kept by whoever makes them."""

    def alike(self, size: int, total: int) -> list[Source]:
        """The sources of that size whose fingerprint is ``total``."""
        if size not in self._sums:
            sums: dict[int, list[Source]] = defaultdict(list)
            for source in self.by_size.get(size, ()):
                sums[fingerprint(source.single)].append(source)
            self._sums[size] = sums
        return self._sums[size].get(total, [])
