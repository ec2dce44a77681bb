"""The function link: whether a file's graph, evaluated in float64, computes what the oracle computes.

Both sides compute in double, so that float32's noise hides nothing. The graph is evaluated with the exact
values of its constants where those are proven (exact/constants.py). What is left is compared with PyTorch's
own float32 error. If it exceeds the limit, it is measured how far rounding alone moves both sides: float64's
own, and that of constants to float32 that are not proven.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from onnxproof.tensors import Field
from onnxproof.validate.checks import Check, Status
from onnxproof.validate.contents import CONSTANT
from onnxproof.validate.facts import Facts
from onnxproof.validate.judge import facts_of, judge, ranks_of
from onnxproof.validate.policy import EXACT
from onnxproof.validate.tally import Tally
from onnxproof.validate.trial import Stated, Trial

if TYPE_CHECKING:  # it needs onnx_ir, and a trial on recorded answers does not
    from onnxproof.validate.exact.constants import Proven

LOOKED_CLOSER = 3
"""On how many cases it is measured what rounding alone does."""

BLIND = 1.0
"""From this limit on the link says nothing: rounding alone does as much as the reference errs in float32."""

HARDLY_MORE = 0.01
"""By what share of itself the policy's limit may grow without a word."""

SHOWN_CONSTANTS = 3
"""How many constants a note names."""


def settle_graphs(trial: Trial, tallies: Sequence[Tally]) -> tuple[Facts, ...]:
    """The facts of each graph of the trial, with what rounding alone does where the limit is exceeded."""
    return tuple(_settled(trial, graph, tally) for graph, tally in zip(trial.graphs, tallies, strict=True))


def _settled(trial: Trial, graph: Stated, tally: Tally) -> Facts:
    cases = [case for case in trial.cases if case.name in graph.cases]
    facts = facts_of(
        tally,
        graph.leg,
        trial.truth,
        [case.name for case in cases],
        EXACT,
        interface=(),
        pictures_named=any(case.picture is not None for case in cases),
    )
    facts = replace(facts, beyond={**graph.missing, **_beyond(tally)})
    failed = [check for check in function_checks(facts, graph.contract.fields) if check.status == "fail"]
    fields = [field for field in graph.contract.fields if field.name in {check.field for check in failed}]
    if not fields or graph.closer is None:
        return facts
    names = {case for check in failed for case in _cases_of(check, facts)}
    # Inputs that are held and not made may not be moved: they were chosen for where they lie.
    worst = [case for case in cases if case.name in names - set(trial.given)]
    flat = [case for case in worst if case.content in CONSTANT]
    others = [case for case in worst if case.content not in CONSTANT]
    # Apart: a model may decide inside on flat inputs alone, and there only.
    rounding, rounding_constant = (
        graph.closer(some[:LOOKED_CLOSER], fields) if some else {} for some in (others, flat)
    )
    return replace(facts, rounding=rounding, rounding_constant=rounding_constant)


def _cases_of(check: Check, facts: Facts) -> Iterator[str]:
    for measured in (*facts.fields, *facts.constant_fields):
        if measured.name == check.field:
            yield measured.worst_case
    for label in facts.labels:
        if label.name == check.field:
            yield label.worst_case


def _beyond(tally: Tally) -> Mapping[str, str]:
    """Why outputs could not be evaluated on some case, by the output's name."""
    reason = next(iter(tally.beyond.values()), None)
    return {} if reason is None else {spec.name: reason for spec in tally.contract.outputs}


def states(facts: Facts, fields: Sequence[Field]) -> bool:
    """Whether the file states the checkpoint's function, as far as it was evaluated. ``fields`` are the
    contract's."""
    return all(check.status != "fail" for check in function_checks(facts, fields))


def function_checks(facts: Facts, fields: Sequence[Field]) -> tuple[Check, ...]:
    """The checks of the function link of one file. ``fields`` are the contract's."""
    skipped = [
        Check("function", "skipped", reason, leg=facts.leg, field=output)
        for output, reason in facts.beyond.items()
    ]
    if facts.beyond and not any(measured.count for measured in facts.fields):
        return tuple(skipped)
    policy = replace(EXACT, rounding=facts.rounding, rounding_constant=facts.rounding_constant)
    checks = [check for check in judge(facts, ranks_of(fields), policy) if check.name != "interface"]
    return (*skipped, *(_told_limit(_blind(check, facts.yardstick)) for check in checks))


def strangers(facts: Facts, fields: Sequence[Field], proven: "Proven", told: str) -> tuple[str, ...]:
    """A note with the constants that are not proven, or are not what their names say, if a file does not
    state the function; else empty.

    ``told`` is the note's beginning.
    """
    strange = (*proven.otherwise, *map(str, proven.unproven))
    if not strange or states(facts, fields):
        return ()
    named = "; ".join(strange[:SHOWN_CONSTANTS])
    more = len(strange) - SHOWN_CONSTANTS
    return (f"{told}: {named}{f'; and {more} more' if more > 0 else ''}",)


def _blind(check: Check, yardstick: str) -> Check:
    """The check; "skipped" if its limit is so wide that it says nothing, or if too few rows were paired."""
    status: Status = check.status
    if check.name == "held_back" and status == "error":
        return replace(check, status="skipped")
    if check.name != "function" or status != "pass" or check.limit is None or check.limit <= BLIND:
        return check
    return replace(
        check,
        status="skipped",
        reason=f"rounding alone moves it by {check.limit:.3g} times {yardstick}, since the "
        f"model decides inside or a constant is not known ({check.reason})",
    )


def _told_limit(check: Check) -> Check:
    """The check; if its limit is wider than the policy's, with the reason why."""
    more = 0.0 if check.name != "function" or check.limit is None else check.limit - EXACT.ratio
    if check.status == "skipped" or not more > HARDLY_MORE * EXACT.ratio:
        return check
    told = f"the limit is {EXACT.ratio:g} and {more:.2g} that rounding alone moves it"
    return replace(check, reason=f"{check.reason}; {told}")
