"""Compare the decisions of the reference and of the candidate, picture by picture.

Whether a difference is a tie depends on error bounds. They are known only after all cases have run and a
policy is chosen. So the evidence of a picture is kept, thinned, if it may be needed to judge the picture. All
other pictures are only counted.
"""

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from onnxproof.contract import Reading
from onnxproof.runtime.tasks import Task, get_task
from onnxproof.validate.compare import Comparer, get_comparer
from onnxproof.validate.compare.closest import MarginPool, Place, closest_of
from onnxproof.validate.facts import SHOWN_FINDINGS, Located, Outcome
from onnxproof.validate.legs.leg import Answer, Arrays
from onnxproof.validate.measure import Extremes

CERTAIN = 2.0
"""A picture with equal decisions is only counted if each of its numbers differs from PyTorch's by at most
this many times PyTorch's own largest error. Every policy allows that much. Beyond it, the policy decides."""

CERTAIN_SHARE = 2.0**-16
"""The same limit if there is no oracle, so that PyTorch's error is unknown: a share of the largest value."""

Bound = Callable[[Extremes], float]


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """The part of one picture's evidence, in both legs, that is needed to compare it.

    ``apart`` is None if the decisions differ. Otherwise it is the largest difference of each quantity
    (infinite if the shapes differ). ``count`` is the number of decisions.
    """

    reference: Any
    candidate: Any
    apart: Mapping[str, float] | None
    count: int


@dataclass(slots=True)
class DecisionPool:
    """Accumulates decisions over cases for one candidate leg."""

    task: str
    reading: Reading
    has_oracle: bool
    pictures: int = 0
    reference: int = 0
    matched: int = 0
    quantities: dict[str, Extremes] = field(default_factory=dict)
    margins: dict[str, MarginPool] = field(default_factory=dict)
    pairs: MutableMapping[Place, Pair] = field(default_factory=dict)
    """What is kept of the pictures that may have to be compared. A long run keeps it in files."""

    def add(
        self,
        case: str,
        sizes: Mapping[str, int],
        answers: tuple[Answer, Answer, Answer],
        quantities: tuple[Arrays, Arrays, Arrays] | None = None,
        *,
        measure_only: bool = False,
    ) -> None:
        """Add one case's answers: the oracle's, the reference's and the candidate's.

        ``quantities`` are the numbers that the task's margins are measured in, for each leg. They are None if
        the task's comparer is to take them from the evidence: then their shapes agree in all legs.
        ``measure_only`` adds to the error bounds and compares no decisions.
        """
        task, comparer = self._pair_of()
        legs = [task.evidence(answer.outputs, sizes, self.reading, answer.margins) for answer in answers]
        if quantities is not None:
            self._measure(*quantities)
        for index, (truth, wanted, found) in enumerate(zip(*legs, strict=True)):
            values = [comparer.quantities(evidence) for evidence in (truth, wanted, found)]
            if quantities is None:
                self._measure(*values)
            if measure_only:
                continue
            self.pictures += 1
            decided = [task.decide(evidence, self.reading) for evidence in (wanted, found)]
            count = comparer.count(decided[0])
            self.reference += count
            for name, margins in comparer.margins(wanted, decided[0], self.reading).items():
                self.margins.setdefault(name, MarginPool()).add((case, index), margins)
            apart = None if comparer.differ(*decided) else _apart(values[1], values[2])
            if apart is not None and self._certain(apart):
                self.matched += count
            else:
                self.pairs[case, index] = Pair(*comparer.thin(wanted, found, self.reading), apart, count)

    def merge(self, other: Self) -> None:
        """Add what another pool of the same contract found on other cases."""
        self.pictures += other.pictures
        self.reference += other.reference
        self.matched += other.matched
        for name, extremes in other.quantities.items():
            self.quantities.setdefault(name, Extremes()).merge(extremes)
        for name, margins in other.margins.items():
            self.margins.setdefault(name, MarginPool()).merge(margins)
        self.pairs.update(other.pairs)

    def condense(self) -> None:
        """Of the places with the least margin of a quantity, keep the first by name."""
        for margins in self.margins.values():
            margins.condense()

    def is_certain(self, pair: Pair) -> bool:
        """Whether a picture's decisions agree whatever errors are still to come, which only widen bounds."""
        return pair.apart is not None and self._certain(pair.apart)

    def result(self, bound: Bound, order: Sequence[str]) -> Outcome:
        """Judge each difference as a tie or a defect, by the error bounds of the whole sweep.

        ``bound`` gives a quantity's bound from its extremes. ``order`` are the names of the cases in the
        order in which they were planned.
        """
        _, comparer = self._pair_of()
        bounds = {name: bound(extremes) for name, extremes in self.quantities.items()}
        places = {name: place for place, name in enumerate(order)}
        matched = self.matched
        ties: list[Located] = []
        defects: list[Located] = []
        more_defects = 0
        for case, index in sorted(self.pairs, key=lambda key: (places.get(key[0], len(places)), key)):
            pair = self.pairs[case, index]
            if pair.apart is not None and (
                # Checked again with the errors of the whole sweep, so that the order of the cases is no
                # matter.
                self._certain(pair.apart) or all(pair.apart[name] <= bounds[name] for name in pair.apart)
            ):
                matched += pair.count
                continue
            comparison = comparer.compare(pair.reference, pair.candidate, self.reading, bounds)
            matched += comparison.matched
            ties += (Located(case, index, finding) for finding in comparison.ties)
            room = SHOWN_FINDINGS - len(defects)
            defects += (Located(case, index, finding) for finding in comparison.defects[:room])
            more_defects += len(comparison.defects[room:])
        closest = None
        if self.has_oracle:
            units = {name: extremes.floor_max for name, extremes in self.quantities.items()}
            closest = closest_of(self.margins, units, order)
        return Outcome(
            self.pictures, self.reference, matched, tuple(ties), tuple(defects), closest, more_defects
        )

    def _pair_of(self) -> tuple[Task, Comparer]:
        """The task and its comparer. The pool does not store them, so that it can be sent to another
        process."""
        comparer = get_comparer(self.task)
        assert comparer is not None
        return get_task(self.task), comparer

    def _measure(self, oracle: Arrays, reference: Arrays, candidate: Arrays) -> None:
        for name in oracle:
            self.quantities.setdefault(name, Extremes()).add(oracle[name], reference[name], candidate[name])

    def _certain(self, apart: Mapping[str, float]) -> bool:
        """Whether all differences are within what every policy allows, by the errors so far, which only
        grow."""
        return all(
            apart[name]
            <= max(
                CERTAIN * self.quantities[name].floor_max,
                0.0 if self.has_oracle else CERTAIN_SHARE * self.quantities[name].scale_max,
            )
            for name in apart
        )


def _apart(reference: Arrays, candidate: Arrays) -> dict[str, float]:
    """The largest difference of each quantity between the candidate and the reference."""
    if any(reference[name].shape != candidate[name].shape for name in reference):
        return dict.fromkeys(reference, np.inf)
    # Infinity minus infinity is NaN, which is within no bound.
    with np.errstate(invalid="ignore"):
        return {
            name: float(
                np.max(np.abs(np.subtract(reference[name], candidate[name], dtype=np.float64)), initial=0)
            )
            for name in reference
        }
