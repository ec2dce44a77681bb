"""Judge what a file of lower precision cost by a decision budget."""

import math
from collections.abc import Iterable, Iterator

from onnxproof.validate.budget.confidence import lower_bound, trials_needed, upper_bound
from onnxproof.validate.budget.drift import BOX, SCORE
from onnxproof.validate.budget.figures import BudgetFigures, Moved
from onnxproof.validate.checks import Check, Status
from onnxproof.validate.policy import DecisionBudget

UNITS = {BOX: " px", SCORE: ""}

SHOWN = 3
"""How many pictures a reason names."""


def judge_budget(found: BudgetFigures, budget: DecisionBudget) -> tuple[Check, ...]:
    """The checks on a file: that it answers, how many decisions changed, and how far the others moved.

    "changed" passes if a bound at the budget's confidence is within it, fails if the share is shown to be
    larger, and is an error if the pictures are too few to tell.
    """
    moved = judge_moved(found.leg, found.tally.moved, budget.box_px, budget.score)
    return (*_answers(found), _changed(found, budget), *moved, _quality(found, budget))


def percent(share: float) -> str:
    """A share in per cent, with two digits."""
    return f"{100 * share:.2g} %"


def _answers(found: BudgetFigures) -> Iterator[Check]:
    first = f"first {found.not_run[0].case}: {found.not_run[0].reason}" if found.not_run else ""
    answered = f"answers on {found.tally.pictures} pictures"
    yield _counted(found, "runs", len(found.not_run), first or answered)
    broken = f"NaN or infinity on {', '.join(found.not_finite[:SHOWN])}" if found.not_finite else ""
    yield _counted(found, "finite", len(found.not_finite), broken)


def _counted(found: BudgetFigures, name: str, count: int, reason: str) -> Check:
    status: Status = "pass" if count <= 0 else "fail"
    return Check(name, status, reason, float(count), 0.0, found.leg)


def _changed(found: BudgetFigures, budget: DecisionBudget) -> Check:
    tally, limit, sure = found.tally, budget.changed, budget.confidence
    told = f"{tally.changed} of {tally.decisions} decisions changed on {tally.pictures} pictures"
    if not tally.decisions:
        reason = f"{found.reference} decided nothing on {tally.pictures} pictures: name pictures with objects"
        return Check("changed", "error", reason, leg=found.leg)
    if tally.findings:
        first = tally.findings[0]
        example = f"; first on {first.case}: {first.what}"
    else:
        example = ""
    if found.dependent:
        share = tally.changed / tally.decisions
        status: Status = "pass" if share <= limit else "fail"
        reason = f"{told}: {percent(share)} of them, without a bound, since pixels depend on each other"
        return Check("changed", status, f"{reason}{example}", share, limit, found.leg)
    most = upper_bound(tally.changed, tally.decisions, sure)
    least = lower_bound(tally.changed, tally.decisions, sure)
    if most <= limit:
        return Check(
            "changed", "pass", f"{told}: below {percent(most)} at {percent(sure)}", most, limit, found.leg
        )
    if least > limit:
        reason = f"{told}: above {percent(least)} at {percent(sure)}{example}"
        return Check("changed", "fail", reason, most, limit, found.leg)
    needed = trials_needed(tally.changed, limit, sure)
    reason = (
        f"{told}: between {percent(least)} and {percent(most)}, too few to tell {percent(limit)} at "
        f"{percent(sure)}: {needed:,} decisions with no other changed would; name more pictures in "
        f"validate.images, or raise precision.budget.changed{example}"
    )
    return Check("changed", "error", reason, most, limit, found.leg)


def judge_moved(leg: str, moved: Iterable[Moved], box_px: float, score: float) -> Iterator[Check]:
    """The checks on how far a leg's kept decisions moved; ``box_px`` and ``score`` are the limits."""
    limits = {BOX: box_px, SCORE: score}
    for one in moved:
        limit, unit = limits[one.quantity], UNITS[one.quantity]
        status: Status = "pass" if one.largest <= limit else "fail"
        reason = f"a kept decision's {one.quantity} moved by {one.largest:.3g}{unit} on {one.case}"
        yield Check(one.quantity, status, reason, one.largest, limit, leg)


def _quality(found: BudgetFigures, budget: DecisionBudget) -> Check:
    """The main figure is the first. Others are told."""
    if not found.quality:
        reason = "no labelled pictures are named in validate.annotations"
        return Check("map_drop", "skipped", reason, leg=found.leg)
    told = ", ".join(
        f"{one.name} {one.candidate:.4f} ({found.reference}'s {one.reference:.4f})" for one in found.quality
    )
    main = found.quality[0]
    drop = main.reference - main.candidate
    if math.isnan(drop):
        return Check("map_drop", "error", f"{told}: nothing is labelled", leg=found.leg)
    status: Status = "pass" if drop <= budget.map_drop else "fail"
    return Check("map_drop", status, told, drop, budget.map_drop, found.leg)
