"""Compare the decisions of the reference and of the candidate, picture by picture.

Whether a difference is a tie depends on error bounds, which are known only when all cases have run and a
policy is chosen. So a picture whose decisions differ keeps the little that is needed to judge it; all others
are counted and forgotten.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from onnxproof.contract import Reading
from onnxproof.runtime.tasks import Task, get_task
from onnxproof.validate.compare import Comparer, get_comparer
from onnxproof.validate.facts import Located, Outcome
from onnxproof.validate.legs.leg import Answer, Arrays
from onnxproof.validate.measure import Extremes

CERTAIN = 2.0
"""A picture with equal decisions is forgotten if its numbers lie within this many times PyTorch's largest
error of PyTorch's own. Every policy allows that much; what lies beyond it the policy decides on."""

CERTAIN_SHARE = 2.0**-16
"""The same if there is no oracle, so that PyTorch's error is not known: as a share of the largest value."""

Bound = Callable[[Extremes], float]


@dataclass(frozen=True, slots=True, eq=False)
class _Pair:
    """The evidence of one picture in both legs, as far as comparing it needs.

    ``apart`` is None if the decisions differ. Otherwise it says how far each quantity lies apart (infinite
    if the shapes differ), and ``count`` how many decisions are equal.
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
    pairs: dict[tuple[str, int], _Pair] = field(default_factory=dict)
    """By case and picture of its batch."""

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

        ``quantities`` are what the task's margins are measured in, of each leg. They are None if the answers'
        shapes agree, so that the task can tell them itself. ``measure_only`` adds to the error bounds alone.
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
            apart = None if comparer.differ(*decided) else _apart(values[1], values[2])
            if apart is not None and self._certain(apart):
                self.matched += count
            else:
                self.pairs[case, index] = _Pair(*comparer.thin(wanted, found, self.reading), apart, count)

    def merge(self, other: Self) -> None:
        """Take over what another pool of the same contract found on other cases."""
        self.pictures += other.pictures
        self.reference += other.reference
        self.matched += other.matched
        for name, extremes in other.quantities.items():
            self.quantities.setdefault(name, Extremes()).merge(extremes)
        self.pairs |= other.pairs

    def result(self, bound: Bound, order: Sequence[str]) -> Outcome:
        """What differs is a tie or a defect within the bounds of the whole sweep.

        ``bound`` gives a quantity's bound from its extremes; ``order`` are the cases' names as planned.
        """
        _, comparer = self._pair_of()
        bounds = {name: bound(extremes) for name, extremes in self.quantities.items()}
        places = {name: place for place, name in enumerate(order)}
        matched = self.matched
        ties: list[Located] = []
        defects: list[Located] = []
        for case, index in sorted(self.pairs, key=lambda key: (places.get(key[0], len(places)), key)):
            pair = self.pairs[case, index]
            if pair.apart is not None and (
                # Again, with the errors of the whole sweep: so the order of the cases does not matter.
                self._certain(pair.apart) or all(pair.apart[name] <= bounds[name] for name in pair.apart)
            ):
                matched += pair.count
                continue
            comparison = comparer.compare(pair.reference, pair.candidate, self.reading, bounds)
            matched += comparison.matched
            ties += (Located(case, index, finding) for finding in comparison.ties)
            defects += (Located(case, index, finding) for finding in comparison.defects)
        return Outcome(self.pictures, self.reference, matched, tuple(ties), tuple(defects))

    def _pair_of(self) -> tuple[Task, Comparer]:
        """The task and its comparer. They are looked up anew, so that a pool can go to another process."""
        comparer = get_comparer(self.task)
        assert comparer is not None
        return get_task(self.task), comparer

    def _measure(self, oracle: Arrays, reference: Arrays, candidate: Arrays) -> None:
        for name in oracle:
            self.quantities.setdefault(name, Extremes()).add(oracle[name], reference[name], candidate[name])

    def _certain(self, apart: Mapping[str, float]) -> bool:
        """Whether all quantities lie within what every policy allows: errors so far, which can only grow."""
        return all(
            apart[name]
            <= max(
                CERTAIN * self.quantities[name].floor_max,
                0.0 if self.has_oracle else CERTAIN_SHARE * self.quantities[name].scale_max,
            )
            for name in apart
        )


def _apart(reference: Arrays, candidate: Arrays) -> dict[str, float]:
    """How far each quantity of the candidate lies from the reference's, at most."""
    if any(reference[name].shape != candidate[name].shape for name in reference):
        return dict.fromkeys(reference, np.inf)
    # Infinity less infinity is NaN, which lies within no bound.
    with np.errstate(invalid="ignore"):
        return {
            name: float(
                np.max(np.abs(np.subtract(reference[name], candidate[name], dtype=np.float64)), initial=0)
            )
            for name in reference
        }
