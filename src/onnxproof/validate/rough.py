"""Ask the nodes where the runtime errs more than PyTorch although the file states the right function.

They are asked, too, where PyTorch's own error is no yardstick.

If every node lies within its rounding bound, the runtime's errors are roundings. Rough kernels make them:
then they are allowed, and decisions are judged anew by a bound that counts them. Or the graph makes them,
whatever computes it, because it loses digits that PyTorch keeps (once.py): then the failure stays and names
the node. It stays, too, if a node is beyond its bound, or if that cannot be told.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from onnxproof.tensors import Field
from onnxproof.validate.cases import Case, materialise
from onnxproof.validate.checks import OWN_FAULT, Check, Status
from onnxproof.validate.exact.graph import ExactGraph
from onnxproof.validate.facts import Facts
from onnxproof.validate.judge import judge, ranks_of
from onnxproof.validate.kernels import Asking, ask_nodes, rows_chosen
from onnxproof.validate.legs.exact_graph import ExactLeg
from onnxproof.validate.legs.onnx_runtime import OrtLeg
from onnxproof.validate.measure import Measurement
from onnxproof.validate.once import Once
from onnxproof.validate.policy import FloatFloor
from onnxproof.validate.sweep import facts_under
from onnxproof.validate.tally import Tally
from onnxproof.validate.trial import Plan, Trial

COARSE = 1e-2
"""PyTorch's largest error, as a share of the largest value, from which on it is no yardstick. Float32 alone
makes 1e-7 to 1e-4 of it; more comes from a model that decides inside."""

ASKED = 3
"""On how many cases the nodes are asked at most."""

RATIOS = ("ratio_rms", "ratio_max", "ratio_constant")
"""The checks that a rough kernel fails."""

UNASKED = "nodes can be asked in ONNX Runtime alone, so a rough kernel is not told from a wrong one here"
"""Why a ratio of another runtime stays a failure."""

LOSSY = 4.0
"""How many times a ratio's limit a graph may err with each node rounded once.

Healthy files measured 0.03 to 0.30, and once 1.04 (WavLM, torch.export at opset 25, not simplified): 36 of 14
architectures (benchmarks/rounded_once.py). Graphs that lose digits measured 29 to 37,000
(tests/parity/test_lost_digits.py)."""

FOLLOWING = ("flips", "decisions", "rows")
"""Checks that errors within the rounding bounds may fail, too: their bounds count the errors."""

Rejudge = Callable[[FloatFloor], Facts]
"""The facts of the same leg under another policy."""

UNCOUNTED = 1e6
"""From so many times a single rounding on, a result has none to speak of: it is 0, or next to it."""


@dataclass(frozen=True, slots=True)
class Judged:
    """The facts of a leg, its checks, and what has to be noted."""

    facts: Facts
    checks: tuple[Check, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Questioner:
    """Asks the nodes of one file as ``leg`` runs it in ONNX Runtime.

    ``exact`` is the file's graph in float64, and ``function`` are the checks of its function link.
    """

    plan: Plan
    leg: OrtLeg
    file: Path
    exact: ExactGraph
    function: tuple[Check, ...]

    def judged(self, facts: Facts, checks: tuple[Check, ...], rejudge: Rejudge) -> Judged:
        """The checks of a leg, with what the nodes say to those that rest on errors."""
        policy = self.plan.policy
        if not isinstance(policy, FloatFloor) or any(check.status == "fail" for check in self.function):
            return Judged(facts, checks)
        failed = [check for check in checks if check.status == "fail"]
        rough = [check for check in failed if check.name in RATIOS]
        if rough and all(check.name in (*RATIOS, *FOLLOWING) for check in failed):
            return self._excused(facts, checks, rough, rejudge, policy)
        coarse = [field for field in self._shown() if not failed and _is_coarse(facts, field)]
        return self._looked_into(facts, checks, coarse, policy) if coarse else Judged(facts, checks)

    def _shown(self) -> tuple[Field, ...]:
        """The fields of which the file was shown to state the function."""
        passed = {
            check.field for check in self.function if check.name == "function" and check.status == "pass"
        }
        return tuple(field for field in self.plan.contract.fields if field.name in passed)

    def _excused(
        self,
        facts: Facts,
        checks: tuple[Check, ...],
        rough: Sequence[Check],
        rejudge: Rejudge,
        policy: FloatFloor,
    ) -> Judged:
        shown = self._shown()
        names = {field.name for field in shown}
        if any(check.field not in names for check in rough):
            return Judged(facts, checks)
        asked = self._ask(_worst(facts, {str(check.field) for check in rough}), shown, facts, policy)
        if not asked.within:
            said = tuple(_with_reason(check, asked.reason) if check in rough else check for check in checks)
            return Judged(facts, (*said, _check(facts, asked, "fail" if asked.beyond else "skipped")))
        lossy = _lossy(facts, rough, asked.once)
        if lossy is not None and lossy.status == "fail":
            said = tuple(_with_reason(check, lossy.reason) if check in rough else check for check in checks)
            return Judged(facts, (*said, _check(facts, asked, "pass"), lossy))
        allowing = replace(policy, ratio_rms=math.inf, ratio_max=math.inf, ratio_constant=math.inf)
        again = rejudge(allowing)
        kept = {(check.name, check.field): check for check in checks if check.name in RATIOS}
        judged = judge(again, ranks_of(self.plan.contract.fields), allowing)
        excused = (_allowed(kept.get((check.name, check.field), check), check) for check in judged)
        note = _note(facts, max(rough, key=_excess), asked)
        made = (_check(facts, asked, "pass"), *(() if lossy is None else (lossy,)))
        return Judged(again, (*excused, *made), (note,))

    def _looked_into(
        self, facts: Facts, checks: tuple[Check, ...], coarse: Sequence[Field], policy: FloatFloor
    ) -> Judged:
        """Every check passes, by a yardstick that says nothing of some fields."""
        asked = self._ask(_worst(facts, {field.name for field in coarse}), coarse, facts, policy)
        status: Status = "pass" if asked.within else "fail" if asked.beyond else "skipped"
        return Judged(facts, (*checks, _check(facts, asked, status)))

    def _ask(self, names: Sequence[str], fields: Sequence[Field], facts: Facts, policy: FloatFloor) -> Asking:
        """What the nodes answer on the cases: the first answer that proves nothing, else that of the first
        case, with ``once`` of all."""
        limits = [(field, policy.ratio_max * _floor(facts, field)) for field in fields]
        contract = self.plan.contract
        answers: list[Asking] = []
        once: list[Once] = []
        for case in _named(self.plan.cases, names):
            arrays = materialise(case, contract.inputs, contract.preprocess)
            answers.append(
                ask_nodes(
                    self.leg,
                    self.file,
                    arrays,
                    self.exact,
                    self.leg.settings,
                    limits,
                    rows=rows_chosen(contract),
                )
            )
            if not answers[-1].within:
                return replace(answers[-1], reason=f"{answers[-1].reason}, in {case.name}")
            once += [replace(one, case=case.name) for one in answers[-1].once]
        if not answers:
            return Asking(False, "there is no case to ask the nodes on")
        return replace(answers[0], once=tuple(once))


def judged_by_nodes(
    trial: Trial,
    plan: Plan,
    file: Path,
    facts: Facts,
    number: int,
    tallies: Sequence[Tally],
    function: Sequence[Check],
) -> Judged:
    """The checks of the trial's candidate ``number``, with what the nodes say to those that rest on errors.

    ``file`` is what it runs, ``facts`` are its own, and ``function`` has the checks on the file's function.
    Nodes can be asked in ONNX Runtime alone.
    """
    checks = judge(facts, ranks_of(plan.contract.fields), plan.policy)
    graph = next((one.leg for one in trial.graphs if number in one.candidates), None)
    leg = trial.candidates[number]
    if graph is not None:
        checks = _with_own_fault(checks, [one for one in function if one.leg == graph.name])
    if not isinstance(graph, ExactLeg):
        return Judged(facts, checks)
    if not isinstance(leg, OrtLeg):
        return Judged(facts, tuple(_with_reason(one, UNASKED) if _is_rough(one) else one for one in checks))

    def rejudge(policy: FloatFloor) -> Facts:
        found = facts_under(replace(trial, policy=policy), leg, tallies[number], facts.repeated)
        return replace(found, interface=facts.interface)

    own = tuple(check for check in function if check.leg == graph.name)
    return Questioner(plan, leg, file, graph.graph, own).judged(facts, checks, rejudge)


def _with_own_fault(checks: Sequence[Check], function: Sequence[Check]) -> tuple[Check, ...]:
    """A runtime's checks; where one fails and ``function`` fails for the same field, with a word on that.

    Integers are always compared with the oracle's, and so is everything in a second look.
    """
    wrong = {check.field for check in function if check.status == "fail" and check.field is not None}
    return tuple(
        _with_reason(check, OWN_FAULT) if check.status == "fail" and check.field in wrong else check
        for check in checks
    )


def _named(cases: Sequence[Case], names: Sequence[str]) -> Iterator[Case]:
    by_name = {case.name: case for case in cases}
    for name in list(dict.fromkeys(names))[:ASKED]:
        if name in by_name:
            yield by_name[name]


def _measured(facts: Facts, name: str) -> Iterator[Measurement]:
    return (one for one in (*facts.fields, *facts.constant_fields) if one.name == name and one.count)


def _worst(facts: Facts, names: set[str]) -> list[str]:
    """The cases with the fields' largest errors, the largest ratio first."""
    found = [one for name in names for one in _measured(facts, name)]
    return [one.worst_case for one in sorted(found, key=lambda one: -one.ratio_max)]


def _floor(facts: Facts, field: Field) -> float:
    """PyTorch's largest error of a field."""
    return max((one.floor_max for one in _measured(facts, field.name)), default=0.0)


def _is_coarse(facts: Facts, field: Field) -> bool:
    """Whether PyTorch's error is a large share of the field. A field that is exactly zero has none."""
    return any(
        one.floor_max > max(COARSE * one.scale_max, math.ulp(0.0)) for one in _measured(facts, field.name)
    )


def _is_rough(check: Check) -> bool:
    return check.status == "fail" and check.name in RATIOS


def _excess(check: Check) -> float:
    return (check.value or 0.0) / (check.limit or 1.0)


def _allowed(before: Check, after: Check) -> Check:
    """A check under the wider limits. One that failed before says that it exceeds its own limit."""
    if before.name not in RATIOS or before.status != "fail":
        return before if before.name in RATIOS else after
    return replace(
        before,
        status="pass",
        reason=f"{before.reason}; over the limit, but each node is within its rounding bound (kernels)",
    )


def _with_reason(check: Check, reason: str) -> Check:
    return replace(check, reason=f"{check.reason}; {reason}")


def _check(facts: Facts, asked: Asking, status: Status) -> Check:
    reason = asked.reason or f"{asked.nodes} nodes, each within the rounding bound of its operator"
    node = asked.beyond or asked.entry
    value = None if node is None or not math.isfinite(node.share) else node.share
    return Check("kernels", status, reason, value, 1.0, facts.leg)


def _lossy(facts: Facts, rough: Sequence[Check], once: Sequence[Once]) -> Check | None:
    """Whether the graph itself errs more than the limits allow, each node computed exactly and rounded once.

    Of a ratio, that is the share that such roundings explain on its worst case. None if no case was asked.
    """
    by = {(one.field, one.case): one for one in once}
    found: list[tuple[float, float, Check, Once]] = []
    for check in rough:
        fields = facts.constant_fields if check.name == "ratio_constant" else facts.fields
        cases = (one.worst_case for one in fields if one.name == check.field)
        told = next((by[str(check.field), case] for case in cases if (str(check.field), case) in by), None)
        if told is not None and check.value is not None and check.limit is not None:
            times = check.value * min(1.0, told.share)
            found.append((times / check.limit, times, check, told))
    if not found:
        return None
    _, times, check, told = max(found, key=lambda one: one[0])
    limit = LOSSY * (check.limit or 1.0)
    reason = (
        f"with each node computed exactly and rounded once, {check.field} errs {times:.3g} times what "
        f"{facts.witness} errs"
    )
    if times <= limit:
        return Check("digits", "pass", reason, times, limit, facts.leg, check.field)
    lost = "" if told.lost is None else f": {told.lost}"
    return Check(
        "digits",
        "fail",
        f"the graph loses digits that {facts.witness} keeps{lost}; {reason}",
        times,
        limit,
        facts.leg,
        check.field,
    )


def _note(facts: Facts, check: Check, asked: Asking) -> str:
    """Which kernel is rough, how rough, and why the file is right all the same."""
    told = (
        f"{facts.leg}: {check.field} errs {check.value:.3g} times what {facts.witness} errs "
        f"(limit {check.limit:g}), and the file is right"
    )
    node = asked.entry
    if node is None or asked.entry_share < 0.5:
        return f"{told}: the roundings of many nodes add up, each of the {asked.nodes} within its bound"
    errs = f"{node.roughness:.3g} times a single rounding"
    if node.roughness > UNCOUNTED:
        errs = "where the exact result is next to 0, as it does on inputs of one value"
    return (
        f"{told}: {asked.entry_share:.0%} of the error enters at {node.operator} {node.node}, whose kernel "
        f"errs {errs}, {node.share:.2g} of what rounding can do there; "
        f"each of the {asked.nodes} nodes is within its bound"
    )
