"""What a leg did with a file of lower precision, beside the leg that the decision budget judged.

Numbers of such a file are not held to float32's rounding. So its decisions are: they must be those that were
judged, and those that are kept may move no further than the budget allows.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from onnxproof.contract import Contract
from onnxproof.runtime.tasks import get_task
from onnxproof.seeded import FLOAT32_EPSILON
from onnxproof.validate.budget.drift import TASKS, drift_of
from onnxproof.validate.budget.figures import BudgetTally
from onnxproof.validate.budget.judge import judge_moved
from onnxproof.validate.cases import Case
from onnxproof.validate.golden.golden import Lowered
from onnxproof.validate.legs.leg import Answer, Arrays
from onnxproof.validate.pools import channels
from onnxproof.validate.verdict import Check

ROUNDINGS = 64
"""By how many roundings of float32, at the field's largest value, a number may differ from the graph's in
float64 and count as computed alike. Where no number was rounded to another step, the runtimes of
docs/runtimes.md differ by up to 4; where one was, by 1,000 and more."""


def values_apart(contract: Contract, exact: Arrays, found: Arrays) -> tuple[int, int]:
    """How many values the outputs have, and how many are not the graph's in float64, ``exact``."""
    values = apart = 0
    for entry in contract.fields:
        if entry.kind == "label" or entry.output not in exact:
            continue
        truth, own = (channels(of[entry.output], entry).astype(np.float64) for of in (exact, found))
        if truth.shape == own.shape:
            limit = ROUNDINGS * FLOAT32_EPSILON * float(np.max(np.abs(truth), initial=0.0))
            values += truth.size
            apart += int(truth.size - np.count_nonzero(np.abs(own - truth) <= limit))
    return values, apart


@dataclass(slots=True)
class Moved:
    """Accumulates, over the cases, how far kept decisions moved and how many values a step moved."""

    contract: Contract
    lowered: Lowered
    tally: BudgetTally = field(default_factory=BudgetTally)
    values: int = 0
    apart: int = 0

    def add(self, case: Case, exact: Arrays, wanted: Answer, found: Answer | None) -> None:
        """Add a case. ``exact`` are the outputs of the graph in float64, ``wanted`` is what was judged.

        ``found`` is None if the leg did not answer, or in another form.
        """
        if found is None:
            return
        values, apart = values_apart(self.contract, exact, found.outputs)
        self.values += values
        self.apart += apart
        if self.contract.task not in TASKS:
            return
        task, reading = get_task(self.contract.task), self.contract.reading
        pictures = (
            task.evidence(answer.outputs, case.sizes, reading, answer.margins) for answer in (wanted, found)
        )
        for ours, theirs in zip(*pictures, strict=True):
            drift = drift_of(task.decide(ours, reading), task.decide(theirs, reading), self.contract.task)
            self.tally = self.tally.add(case.name, drift)

    def checks(self, leg: str) -> Iterator[Check]:
        """How far the decisions that are kept moved from those that were judged."""
        yield from judge_moved(leg, self.tally.moved, self.lowered.box_px, self.lowered.score)

    def notes(self, leg: str) -> Iterator[str]:
        """How many values differ by more than float32's rounding."""
        if self.lowered.mode != "int8" or not self.values:
            return
        counted = f"{leg}: {self.apart:,} of {self.values:,} values are not those of the graph in float64"
        told = "a number before them is rounded to the neighbouring step" if self.apart else "no step differs"
        yield f"{counted}: {told}"
