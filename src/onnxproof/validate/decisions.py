"""Hold the decisions of the reference and of the candidate against each other, picture by picture.

Whether a difference is a tie hangs on error bounds that are known only when all cases have run. So
pictures whose decisions differ keep the little that is needed to judge them; all others are counted
and forgotten.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onnxproof.runtime.tasks import get_task
from onnxproof.validate.facts import Answer, Arrays, Decisions, Located
from onnxproof.validate.limits import error_bound
from onnxproof.validate.measure import ErrorPool


@dataclass(slots=True)
class DecisionPool:
    """Accumulates decisions over cases for one candidate leg."""

    task: str
    post: Mapping[str, Any]
    has_oracle: bool
    pictures: int = 0
    reference: int = 0
    matched: int = 0
    quantities: dict[str, ErrorPool] = field(default_factory=dict)
    open_pairs: list[tuple[str, int, Any, Any]] = field(default_factory=list)

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

        ``quantities`` are what the task's margins are measured in, of each leg; None where the answers'
        shapes agree and the task can tell them itself. ``measure_only`` adds to the error bounds alone.
        """
        task = get_task(self.task)
        legs = [task.evidence(answer.outputs, sizes, self.post, answer.margins) for answer in answers]
        if quantities is not None:
            self._measure(*quantities)
        for index, (truth, wanted, found) in enumerate(zip(*legs, strict=True)):
            values = [task.quantities(evidence) for evidence in (truth, wanted, found)]
            if quantities is None:
                self._measure(*values)
            if measure_only:
                continue
            self.pictures += 1
            wanted_decisions, found_decisions = (
                task.decide(wanted, self.post),
                task.decide(found, self.post),
            )
            self.reference += task.count(wanted_decisions)
            if not task.differ(wanted_decisions, found_decisions) and self._close(values[1], values[2]):
                self.matched += task.count(wanted_decisions)
            else:
                pair = task.thin(wanted, found, self.post)
                self.open_pairs.append((case, index, *pair))

    def _measure(self, oracle: Arrays, reference: Arrays, candidate: Arrays) -> None:
        for name in oracle:
            pool = self.quantities.setdefault(name, ErrorPool(name, ""))
            # All as one case: bounds, which every picture asks for anew, need not know where errors stood.
            pool.add("", oracle[name], reference[name], candidate[name])

    def _close(self, reference: Arrays, candidate: Arrays) -> bool:
        """Whether all quantities lie within the bounds so far, which can only grow."""
        if any(reference[name].shape != candidate[name].shape for name in reference):
            return False
        bounds = self._bounds()
        # Infinity less infinity is NaN, which lies within no bound.
        with np.errstate(invalid="ignore"):
            return all(
                bool(
                    np.max(np.abs(np.subtract(reference[name], candidate[name], dtype=np.float64)), initial=0)
                    <= bounds[name]
                )
                for name in reference
            )

    def _bounds(self) -> dict[str, float]:
        return {
            name: error_bound(pool.result(), has_oracle=self.has_oracle)
            for name, pool in self.quantities.items()
        }

    def result(self) -> Decisions:
        """Judge what differed, with the bounds of the whole sweep."""
        task, bounds = get_task(self.task), self._bounds()
        matched = self.matched
        ties: list[Located] = []
        defects: list[Located] = []
        for case, index, reference, candidate in self.open_pairs:
            comparison = task.compare(reference, candidate, self.post, bounds)
            matched += comparison.matched
            ties += (Located(case, index, finding) for finding in comparison.ties)
            defects += (Located(case, index, finding) for finding in comparison.defects)
        return Decisions(self.pictures, self.reference, matched, tuple(ties), tuple(defects))
