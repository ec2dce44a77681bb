"""Find the fewest parts of a network that must stay in float32 for a file to meet its decision budget."""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from onnxproof.job import Job
from onnxproof.progress import Progress
from onnxproof.runtime.folder import MODEL_FILE, data_of
from onnxproof.steps.budgeted import budget_of, opened
from onnxproof.steps.makers import Maker
from onnxproof.system.scratch import scratch_folder
from onnxproof.validate.budget.confidence import trials_needed, upper_bound
from onnxproof.validate.budget.drift import BOX, SCORE
from onnxproof.validate.budget.exam import Exam
from onnxproof.validate.budget.figures import BudgetFigures, Kept, Search, Tried
from onnxproof.validate.budget.judge import judge_budget
from onnxproof.validate.legs.leg import Leg
from onnxproof.validate.policy import DecisionBudget
from onnxproof.validate.verdict import Check, conclude

PAIRS, WARM_UP = 9, 2
"""How many pairs of runs tell a file's time, and how many go before them."""

SHARES = 2
"""Into how many shares the risk is divided: one for the first file, one for all others together."""

Write = Callable[[Sequence[str], Path], object]
"""Writes the file that keeps some parts in float32 into a folder."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The parts that stay in float32, what the file did, and the budget that it was judged by.

    ``others`` are the checks on its other legs. ``figures`` is None if nothing was judged. It was judged at
    one part in ``tries`` of the budget's risk.
    """

    kept: tuple[str, ...]
    figures: BudgetFigures | None
    budget: DecisionBudget | None
    others: tuple[Check, ...] = ()
    notes: tuple[str, ...] = ()
    tries: int = 1


@dataclass(frozen=True, slots=True)
class _Attempt:
    figures: BudgetFigures
    others: tuple[Check, ...]
    passed: bool
    told: Tried


def search(job: Job, maker: Maker, exam: Exam, float32: Path, write: Write, progress: Progress) -> Chosen:
    """The file to ship: with as few parts in float32 as meet the budget, if any file does.

    The parts are ranked once, by what each costs by itself; then the number of them is bisected. All files
    that are tried are judged on the same pictures, so each is judged at a confidence with which all hold
    together at the budget's (Bonferroni's bound). Half of the risk is the first file's, which keeps no part:
    it is the one to ship if it can be. The others share the other half. Returns the first file if none meets
    the budget.
    """
    budget, fixed = budget_of(job), tuple(one.name for one in maker.fixed)
    others = 1 + math.ceil(math.log2(max(len(maker.parts), 1)))
    half, strict = budget.among(SHARES), budget.among(SHARES * others)
    sure = strict.confidence

    def attempt(kept: Sequence[str], held: DecisionBudget) -> _Attempt:
        return _tried(job, maker, exam, float32, write, kept, held, progress)

    if not job.precision.search:
        only = attempt(fixed, budget)
        return Chosen(fixed, only.figures, budget, only.others)
    first = attempt(fixed, half)
    decisions, needed = first.figures.tally.decisions, trials_needed(0, budget.changed, sure)
    bounded = not first.figures.dependent
    if bounded and decisions < needed and not first.passed:
        note = (
            f"no part was kept in float32 to meet the budget: {decisions:,} decisions are too few to prove "
            f"one of {1 + others} files, {needed:,} would do"
        )
        only = attempt(fixed, budget)
        return Chosen(fixed, only.figures, budget, only.others, (note,))
    if first.passed:
        found = _with_search(first, maker, (), (first,), sure)
        return Chosen(fixed, found, half, first.others, tries=SHARES)
    ranking = maker.ranking()
    attempts = {0: first}
    low, high = 0, len(ranking)
    while high - low > 1:
        middle = (low + high) // 2
        progress(f"keep {middle} of {len(maker.parts)} parts in float32", 0, 0)
        names = tuple(one.name for one in ranking[:middle])
        attempts[middle] = attempt((*fixed, *names), strict)
        low, high = (low, middle) if attempts[middle].passed else (middle, high)
    tried = tuple(attempts[count] for count in sorted(attempts))
    if high not in attempts:
        found = _with_search(first, maker, ranking, tried, sure)
        note = (
            f"no file with up to {len(ranking) - 1} of {len(maker.parts)} parts in float32 meets the budget: "
            "this is the one with the fewest"
        )
        return Chosen(fixed, found, half, first.others, (note,), SHARES)
    best = attempts[high]
    chosen = ranking[:high]
    note = (
        f"{len(fixed) + high} of {len(maker.parts)} parts stay in float32: "
        f"{', '.join((*fixed, *(one.name for one in chosen)))}; {len(attempts)} files were tried, so this "
        f"one is judged at {100 * sure:.2f} %"
    )
    found = _with_search(best, maker, ranking, tried, sure, count=high)
    kept = (*fixed, *(one.name for one in chosen))
    return Chosen(kept, found, strict, best.others, (note,), SHARES * others)


def _with_search(
    attempt: _Attempt,
    maker: Maker,
    ranking: Sequence[Kept],
    tried: Sequence[_Attempt],
    sure: float,
    count: int = 0,
) -> BudgetFigures:
    kept = (*maker.fixed, *ranking[:count])
    made = Search(len(maker.parts), sure, tuple(kept), tuple(ranking), tuple(one.told for one in tried))
    return replace(attempt.figures, search=made)


def _tried(
    job: Job,
    maker: Maker,
    exam: Exam,
    float32: Path,
    write: Write,
    kept: Sequence[str],
    budget: DecisionBudget,
    progress: Progress,
) -> _Attempt:
    with scratch_folder() as folder:
        write(kept, folder)
        file = folder / MODEL_FILE
        legs = maker.legs(file, kept)
        found = [exam.take(leg, progress=progress) for leg in legs]
        checks = [judge_budget(one, budget) for one in found]
        passed = all(conclude(each) == "pass" for each in checks)
        ratio = _time_ratio(legs[0], opened(job, float32), exam)
        size = _bytes(file) / _bytes(float32)
    first = found[0]
    moved = [{one.quantity: one.largest for one in each.tally.moved} for each in found]
    told = Tried(
        kept=len(kept),
        passed=passed,
        changed=max(each.tally.changed for each in found),
        decisions=first.tally.decisions,
        confidence=budget.confidence,
        share=max(upper_bound(each.tally.changed, each.tally.decisions, budget.confidence) for each in found),
        box=max(each.get(BOX, 0.0) for each in moved),
        score=max(each.get(SCORE, 0.0) for each in moved),
        time=ratio,
        size=size,
    )
    return _Attempt(first, tuple(check for each in checks[1:] for check in each), passed, told)


def _time_ratio(leg: Leg, other: Leg, exam: Exam) -> float:
    """How long a file takes on the first picture, over the file in float32: the median of pairs in turn."""
    inputs = exam.first_inputs()
    ratios = []
    for number in range(WARM_UP + PAIRS):
        taken = []
        for one in (leg, other):
            start = time.perf_counter()
            one.run(inputs)
            taken.append(time.perf_counter() - start)
        if number >= WARM_UP:
            ratios.append(taken[0] / taken[1])
    return statistics.median(ratios)


def _bytes(file: Path) -> int:
    return sum(path.stat().st_size for path in (file, data_of(file)) if path.exists())
