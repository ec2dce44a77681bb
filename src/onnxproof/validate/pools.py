"""The measurements of all fields of one candidate leg, pooled over cases."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from onnxproof.counted import Kept, select
from onnxproof.tensors import Field
from onnxproof.validate.measure import ErrorPool, LabelMeasurement, Measurement
from onnxproof.validate.spread import Sizes, Spread

Array = NDArray[Any]

EVERYTHING: Kept = MappingProxyType({})
"""All elements of all outputs are compared."""

NOTHING: Mapping[str, Array] = MappingProxyType({})


@dataclass(slots=True)
class LabelPool:
    """Accumulates a LabelMeasurement over cases. ``worst`` are the cases with the largest margin, ``least``
    and ``most`` the oracle's smallest and largest integer.

    Integers that have margins are classes, whatever their field's unit: an ArgMax of the graph made them.
    """

    name: str
    unit: str = "class"
    count: int = 0
    flips: int = 0
    largest_margin: float = math.nan
    worst: set[str] = field(default_factory=set)
    score_error: float = 0.0
    score_scale: float = 0.0
    open: int = 0
    rounded: bool = False
    least: float = math.inf
    most: float = -math.inf

    def add(self, case: str, oracle: Array, candidate: Array, margins: Array | None) -> None:
        """Add one case's labels. ``margins`` has their shape, or is None if they are not known."""
        if margins is not None:
            self.unit = "class"
        flipped = ~(oracle == candidate)
        self.count += flipped.size
        if oracle.size:
            self.least, self.most = min(self.least, float(oracle.min())), max(self.most, float(oracle.max()))
        flips = int(np.count_nonzero(flipped))
        if not flips:
            return
        margin = math.inf if margins is None else float(np.max(margins.reshape(flipped.shape)[flipped]))
        self._add(flips, math.inf if math.isnan(margin) else margin, {case})

    def merge(self, other: Self) -> None:
        """Add what another pool of the same field measured."""
        self.count += other.count
        self.least, self.most = min(self.least, other.least), max(self.most, other.most)
        self.unit = "class" if other.unit == "class" else self.unit
        self.add_scores(other.score_error, other.score_scale, other.open, rounded=other.rounded)
        if other.flips:
            self._add(other.flips, other.largest_margin, other.worst)

    def add_scores(self, error: float, scale: float, open_labels: int, *, rounded: bool = False) -> None:
        """Add the reference's error of the scores that labels were chosen by, the largest score, and the
        number of labels that are open. ``rounded`` is that of a Choice."""
        self.rounded |= rounded
        self.score_error, self.score_scale = max(self.score_error, error), max(self.score_scale, scale)
        self.open += open_labels

    def condense(self) -> None:
        """Of the cases with the largest margin, keep the first by name."""
        self.worst = set(sorted(self.worst)[:1])

    def _add(self, flips: int, margin: float, cases: set[str]) -> None:
        self.flips += flips
        if margin == self.largest_margin:
            self.worst |= cases
        elif not margin <= self.largest_margin:
            self.largest_margin, self.worst = margin, set(cases)

    def result(self, order: Sequence[str] = ()) -> LabelMeasurement:
        """The measurement so far; ``order`` as in ``ErrorPool.result``."""
        worst = next((case for case in (*order, *sorted(self.worst)) if case in self.worst), "")
        return LabelMeasurement(
            self.name,
            self.count,
            self.flips,
            self.largest_margin,
            worst,
            self.score_error,
            self.score_scale,
            self.open,
            self.unit,
            self.rounded,
            int(self.least) if self.least == self.most else None,
        )


@dataclass(slots=True)
class FieldPools:
    """The pools of a model's fields for one candidate leg.

    ``constant`` are the pools for inputs of one value. In those every pixel rounds alike, so errors add up
    instead of averaging out. Fields of the outputs ``oracle_missing`` are not told apart by that: no float
    error is measured of them.
    """

    fields: tuple[Field, ...]
    oracle_missing: frozenset[str] = frozenset()
    errors: dict[str, ErrorPool] = field(default_factory=dict)
    constant: dict[str, ErrorPool] = field(default_factory=dict)
    labels: dict[str, LabelPool] = field(default_factory=dict)
    spreads: dict[str, Spread] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for entry in self.fields:
            if entry.kind == "label":
                self.labels[entry.name] = LabelPool(entry.name, entry.unit)
            else:
                self.errors[entry.name] = ErrorPool(entry.name, entry.unit)
                self.constant[entry.name] = ErrorPool(entry.name, entry.unit)
                self.spreads[entry.name] = Spread()

    def add(
        self,
        case: str,
        oracle: Mapping[str, Array],
        reference: Mapping[str, Array],
        candidate: Mapping[str, Array],
        margins: Mapping[str, Array],
        *,
        stated: Mapping[str, Array] = NOTHING,
        replica: int = 0,
        sizes: Sizes = (),
        constant: bool = False,
        kept: Kept = EVERYTHING,
        without: Collection[str] = (),
    ) -> None:
        """Add one run's outputs, whose names and shapes agree, where they are ``kept``.

        Outputs that are named ``without`` are left out.

        ``stated`` has the outputs that the candidate's errors are measured from, instead of the oracle's.
        ``sizes`` are those of the inputs, the batch left out. ``constant``: the pictures have one value.
        """
        for entry in self.fields:
            if entry.output in without:
                continue
            apart = constant and entry.output not in self.oracle_missing
            errors = self.constant if apart else self.errors
            where = kept.get(entry.output)
            truth, ref, cand = (
                channels(outputs[entry.output], entry, where) for outputs in (oracle, reference, candidate)
            )
            if entry.kind == "label":
                lead = margins.get(entry.name)
                if lead is not None and where is not None:
                    whole = channels(oracle[entry.output], entry)
                    lead = select(lead.reshape(whole.shape), where, entry.channels)
                if entry.unit != "class":
                    # What PyTorch's own rounding makes of an integer is no flip of the file's.
                    cand = np.where(cand == ref, truth, cand)
                self.labels[entry.name].add(case, truth, cand, lead)
            else:
                own = channels(stated[entry.output], entry, where) if entry.output in stated else None
                errors[entry.name].add(case, truth, ref, cand, stated=own, replica=replica)
                if not replica:
                    self.spreads[entry.name].add(truth, sizes)

    def merge(self, other: Self) -> None:
        """Add what the pools of another tally of the same fields measured."""
        for own, others in (
            (self.errors, other.errors),
            (self.constant, other.constant),
        ):
            for name, pool in own.items():
                pool.merge(others[name])
        for name, labels in self.labels.items():
            labels.merge(other.labels[name])
        for name, spread in self.spreads.items():
            spread.merge(other.spreads[name])

    def condense(self, most: int) -> None:
        """Tell few cases one by one, as ``ErrorPool.condense``."""
        for pool in (*self.errors.values(), *self.constant.values()):
            pool.condense(most)
        for labels in self.labels.values():
            labels.condense()

    @property
    def told(self) -> frozenset[str]:
        """The names of the cases that are told one by one."""
        pools = (*self.errors.values(), *self.constant.values())
        return frozenset().union(
            *(pool.cases for pool in pools), *(one.worst for one in self.labels.values())
        )

    def measured(self, order: Sequence[str]) -> tuple[Measurement, ...]:
        """What was measured of each continuous field; ``order`` as in ``ErrorPool.result``."""
        return tuple(
            replace(pool.result(order), varied=self.spreads[name].largest, by_case=pool.by_case(order))
            for name, pool in self.errors.items()
        )

    def keep(self, cases: Collection[str]) -> None:
        """Drop the errors that other cases than these added; flips stay."""
        pools = (*self.errors.values(), *self.constant.values())
        for case in {case for pool in pools for case in pool.cases if case not in cases}:
            self.forget(case)

    def forget(self, case: str) -> None:
        """Drop the errors that the case itself added; flips stay."""
        for pool in (*self.errors.values(), *self.constant.values()):
            pool.forget(case)


def channels(values: Array, entry: Field, kept: NDArray[np.bool_] | None = None) -> Array:
    """The field's slice of the last axis, or the elements [n] of it that are kept; a scalar as it is."""
    if not values.ndim:
        return values
    own = values[..., entry.channels]
    return own if kept is None else select(own, kept, entry.channels)
