"""Judge: turn a tally into facts under a policy, and facts into checks.

Every comparison is written ``value <= limit``, so that NaN fails.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import cast

from onnxproof.tensors import Field
from onnxproof.validate.checks import Check, Status
from onnxproof.validate.compare.decisions import DecisionPool
from onnxproof.validate.dataset.figures import DatasetFigures
from onnxproof.validate.facts import INPUTS, PICTURES, Decisions, Facts, Failure, Outcome
from onnxproof.validate.flips import told_flips
from onnxproof.validate.legs.leg import GRAPH, Leg, Truth
from onnxproof.validate.legs.refused import REFUSED
from onnxproof.validate.measure import Extremes, LabelMeasurement, Measurement
from onnxproof.validate.policy import (
    BEYOND_DOUBT,
    DATASET_DIFFERENCE,
    FLOAT_FLOOR,
    HELD_BACK,
    OPEN_LABELS,
    Held,
    Policy,
)
from onnxproof.validate.tally import Tally, in_order

NOISY = ("ratio_rms", "ratio_max", "flips", "decisions", "rows")
"""The checks whose limits float error itself sets."""


def facts_of(
    tally: Tally,
    candidate: Leg,
    truth: Truth,
    order: Sequence[str],
    policy: Policy,
    *,
    interface: tuple[str, ...],
    pictures_named: bool = True,
    repeated: tuple[str, ...] = (),
) -> Facts:
    """The facts of a tally under a policy. ``order`` are the names of all cases as planned; of equal ones the
    first is named."""

    unit = INPUTS if tally.contract.preprocess is None else PICTURES

    def decided(pool: DecisionPool | None) -> Decisions | None:
        return None if pool is None else Decisions.of(outcome_of(pool, policy, order), unit)

    return Facts(
        leg=candidate.name,
        interface=interface,
        cases=len(order),
        pictures_named=pictures_named,
        not_run=in_order(tally.not_run, order),
        misshapen=in_order(tally.misshapen, order),
        fields=tally.pools.measured(order),
        constant_fields=tuple(pool.result(order) for pool in tally.pools.constant.values() if pool.runs),
        labels=tuple(pool.result(order) for pool in tally.pools.labels.values()),
        decisions=decided(tally.decisions),
        oracle_missing={
            field.name: truth.oracle_missing[field.output]
            for field in tally.contract.fields
            if field.output in truth.oracle_missing
        },
        held_back=tally.held_back,
        rows=tally.rows,
        repeated=repeated,
        all_rows=decided(tally.all_rows),
        reference=truth.reference.name,
        oracle=(truth.oracle or truth.reference).name,
        disorder=disorder_under(tally, policy, order),
    )


def disorder_under(tally: Tally, policy: Policy, order: Sequence[str]) -> tuple[Failure, ...] | None:
    """The cases whose rows are out of order by more than float error, with what is wrong. None if the
    contract states no order."""
    if tally.disorder is None:
        return None
    pool = tally.all_rows
    bound = 0.0
    if pool is not None and "score" in pool.quantities:
        bound = policy.bound(pool.quantities["score"], has_oracle=pool.has_oracle)
    told = {run: found.told(bound) for run, found in tally.disorder.items()}
    return in_order({run: wrong for run, wrong in told.items() if wrong is not None}, order)


def ranks_of(fields: Iterable[Field]) -> dict[str, str | None]:
    """The field that each label field ranks, by the label field's name, as ``judge`` takes it."""
    return {field.name: field.ranks for field in fields if field.kind == "label"}


def outcome_of(pool: DecisionPool, policy: Policy, order: Sequence[str]) -> Outcome:
    """The decisions of a pool under a policy; ``order`` are the cases' names as planned."""

    def bound(extremes: Extremes) -> float:
        return policy.bound(extremes, has_oracle=pool.has_oracle)

    return pool.result(bound, order)


def judge(
    facts: Facts, fields_ranked: Mapping[str, str | None], policy: Policy = FLOAT_FLOOR
) -> tuple[Check, ...]:
    """The checks on one candidate leg. ``fields_ranked`` maps a label field to the field it ranks."""
    refused = next((one.reason for one in facts.not_run if one.reason.startswith(REFUSED)), None)
    if refused is not None:
        return (Check("runs", "error", refused, leg=facts.leg),)
    checks = [
        _counted("interface", facts, len(facts.interface), "; ".join(facts.interface)),
        _counted("runs", facts, len(facts.not_run), _failures(facts.not_run, facts)),
        _counted("shapes", facts, len(facts.misshapen), _failures(facts.misshapen, facts)),
    ]
    if facts.rows:
        checks.append(_judge_held_back(facts))
    for measured in facts.fields:
        checks += _judge_field(facts, measured, policy)
    by_name = {measured.name: measured for measured in facts.fields}
    for measured in facts.constant_fields:
        checks += _judge_constant(facts, measured, by_name[measured.name], policy)
    for label in facts.labels:
        ranked = _bound_of(facts, fields_ranked.get(label.name), policy)
        checks.append(_judge_label(facts, label, max(ranked, _bound_of_scores(facts, label, policy))))
    if not facts.fields and not facts.labels:
        checks.append(Check("compared", "error", "the family names no field to compare", leg=facts.leg))
    checks += _judge_decisions(facts)
    if facts.all_rows is not None:
        checks.append(_judge_all_rows(facts, facts.all_rows))
    if facts.disorder is not None:
        reason = _failures(facts.disorder, facts)
        checks.append(_counted("order", facts, len(facts.disorder), reason))
    return tuple(checks)


def doubtful(
    facts: Facts, fields_ranked: Mapping[str, str | None], policy: Policy = FLOAT_FLOOR
) -> tuple[str, ...]:
    """Names of the cases behind a failure that more samples could overturn.

    Empty if the failure is beyond doubt or rests on many cases. Float error is measured by what it happened
    to be. If a few numbers carry it, such as the few classes that are not quite sure of a few pictures,
    PyTorch's error may be small by luck and the file's large.
    """
    failed = [check for check in judge(facts, fields_ranked, policy) if check.status == "fail"]
    if any(check.name not in NOISY for check in failed):
        return ()
    if any(not measured.ratio_rms <= BEYOND_DOUBT for measured in facts.fields):
        return ()
    names = {check.field for check in failed}
    cases: dict[str, None] = {}
    for measured in facts.fields:
        if measured.name in names:
            cases |= dict.fromkeys((*measured.heaviest, measured.worst_case))
    for label in facts.labels:
        if label.name in names:
            cases[label.worst_case] = None
    for decisions in (facts.decisions, facts.all_rows):
        if decisions is not None:
            cases |= dict.fromkeys(located.case for located in decisions.defects)
    return tuple(cases) if len(cases) <= policy.few else ()


def second_looks(facts: Iterable[Facts]) -> tuple[str, ...]:
    """A note for each leg whose failures rested on few cases, which were therefore measured again."""
    return tuple(
        f"{one.leg}: failures rested on these cases alone, so they were measured again on inputs next to "
        f"their own: {', '.join(one.repeated)}"
        for one in facts
        if one.repeated
    )


def _judge_all_rows(facts: Facts, rows: Decisions) -> Check:
    """Whether all rows that either side returns agree, also those below the job's or the graph's threshold:
    a host may take every row."""
    reason = f"{rows.matched} rows matched, {rows.tie_count} ties, {rows.defect_count} defects"
    if rows.defects:
        first = rows.defects[0]
        reason += f"; first in {first.case}: {first.finding.what}: {first.finding.cause}"
    status: Status = "pass" if rows.defect_count <= 0 else "fail"
    return Check("rows", status, reason, float(rows.defect_count), 0.0, facts.leg)


def _judge_held_back(facts: Facts) -> Check:
    """Whether enough rows could be measured: if many have no counterpart, the rest prove little."""
    share = facts.held_back / facts.rows
    status: Status = "pass" if share <= HELD_BACK else "error"
    reason = (
        f"{facts.held_back} of {facts.rows} rows could not be measured: {facts.witness} has no counterpart"
    )
    return Check("held_back", status, reason, share, HELD_BACK, facts.leg)


def _counted(name: str, facts: Facts, count: int, reason: str) -> Check:
    status: Status = "pass" if count <= 0 else "fail"
    return Check(name, status, reason, value=float(count), limit=0.0, leg=facts.leg)


def _failures(failures: tuple[Failure, ...], facts: Facts) -> str:
    if not failures:
        return ""
    first = failures[0]
    # A graph is evaluated on a part of the cases.
    cases = "cases evaluated" if facts.leg.endswith(GRAPH) else "cases"
    return f"{len(failures)} of {facts.cases} {cases}, first {first.case}: {first.reason}"


def _judge_field(facts: Facts, measured: Measurement, policy: Policy) -> Iterator[Check]:
    if not measured.count and not measured.nonfinite:
        yield Check("compared", "error", "no value was compared", leg=facts.leg, field=measured.name)
        return
    if measured.nonfinite:
        yield _not_finite(facts, measured)
    else:
        yield Check("finite", "pass", "", 0.0, 0.0, facts.leg, measured.name)
    largest = f"{measured.max_candidate:.3g} {measured.unit}".rstrip()
    worst = f"largest error {largest} in {measured.worst_case}"
    for held in policy.held(measured, has_oracle=measured.name not in facts.oracle_missing):
        yield _limited(facts, measured, held, worst)


def _not_finite(facts: Facts, measured: Measurement) -> Check:
    reason = f"NaN or infinity that {facts.witness} does not have, first in {measured.nonfinite_case}"
    return Check("finite", "fail", reason, measured.nonfinite, 0, facts.leg, measured.name)


def _limited(facts: Facts, measured: Measurement, held: Held, worst: str) -> Check:
    status: Status = "pass" if held.value <= held.limit else "fail"
    if held.check == "function":
        ratios = f"{measured.ratio_rms:.2g} rms, {measured.ratio_max:.2g} max"
        worst += f"; in ratio to {facts.unit_of(measured)} {ratios}"
    return Check(held.check, status, worst, held.value, held.limit, facts.leg, measured.name)


def _judge_constant(
    facts: Facts, measured: Measurement, elsewhere: Measurement, policy: Policy
) -> Iterator[Check]:
    """The looser check on inputs of one value. NaN and infinity fail there as everywhere."""
    if measured.nonfinite:
        yield _not_finite(facts, measured)
    worst = f"largest error {measured.max_candidate:.3g} {measured.unit}".rstrip()
    reason = f"{worst} in {measured.worst_case}, an input of one value"
    for held in policy.held_on_constants(measured, elsewhere):
        yield _limited(facts, measured, held, reason)


def _bound_of(facts: Facts, field: str | None, policy: Policy) -> float:
    """The error bound of a field over all pictures; 0 if there is no such field."""
    has_oracle = field not in facts.oracle_missing
    bounds = [0.0]
    for fields, constant in ((facts.fields, False), (facts.constant_fields, True)):
        bounds += (
            policy.bound(measured, has_oracle=has_oracle, constant=constant)
            for measured in fields
            if measured.name == field
        )
    return max(bounds)


def _bound_of_scores(facts: Facts, label: LabelMeasurement, policy: Policy) -> float:
    """The error bound of the scores that labels were chosen by; 0 if they were not.

    The file does not return them, so its error is taken to be the largest that is allowed.
    """
    if not label.score_scale:
        return 0.0
    scores = Extremes(label.score_error, math.inf, label.score_scale)
    return policy.bound(scores, has_oracle=label.name not in facts.oracle_missing)


def _judge_label(facts: Facts, label: LabelMeasurement, bound: float) -> Check:
    if not label.count:
        return Check("compared", "error", "no label was compared", leg=facts.leg, field=label.name)
    if label.kind == "value":
        return _judge_values(facts, label)
    limit = 2 * bound
    fits = not label.flips or label.largest_margin <= limit
    if fits and label.open > OPEN_LABELS * label.count:
        what = "numbers are rounded from floats" if label.rounded else "labels are places chosen by scores"
        reason = (
            f"{label.open} of {label.count} {what} on which {facts.witness}'s "
            "float32 and float64 runs decided otherwise: too few are left to compare"
        )
        return Check("compared", "error", reason, leg=facts.leg, field=label.name)
    if not label.flips:
        what = "numbers" if label.rounded else "labels"
        return Check("flips", "pass", _none_of(label, what), 0.0, limit, facts.leg, label.name)
    status: Status = "pass" if fits else "fail"
    return Check("flips", status, told_flips(label), label.largest_margin, limit, facts.leg, label.name)


def _none_of(label: LabelMeasurement, what: str) -> str:
    return f"none of {label.count} {what} differs"


def _judge_values(facts: Facts, label: LabelMeasurement) -> Check:
    """Integers that are neither classes nor chosen by scores: no float error explains that one differs."""
    status: Status = "fail" if label.flips else "pass"
    reason = f"{label.flips} of {label.count} values differ, first in {label.worst_case}"
    if not label.flips:
        reason = _none_of(label, "values")
    return Check("flips", status, reason, float(label.flips), 0.0, facts.leg, label.name)


def _judge_decisions(facts: Facts) -> Iterator[Check]:
    decisions = facts.decisions
    if decisions is None:
        return
    lost = dict.fromkeys(one.case for one in (*facts.not_run, *facts.misshapen))
    if lost and not decisions.reference and not decisions.defect_count:
        reason = (
            f"no decision was compared: on {len(lost)} of {facts.cases} cases there is no answer to compare, "
            f"first {next(iter(lost))}"
        )
        yield Check("decisions", "error", reason, leg=facts.leg)
        return
    if not decisions.pictures:
        yield Check("decisions", "error", f"none of the {decisions.unit} were decided on", leg=facts.leg)
        return
    if not decisions.reference and not decisions.defect_count and not facts.pictures_named:
        reason = (
            "no pictures are named (validate.images; --images for compare), and on seeded inputs "
            f"{facts.witness} decided nothing"
        )
        yield Check("decisions", "skipped", reason, leg=facts.leg)
        return
    if not decisions.reference and not decisions.defect_count:
        reason = (
            f"{facts.witness} decided nothing on any picture: name pictures with objects in validate.images"
        )
        yield Check("decisions", "error", reason, leg=facts.leg)
        return
    reason = (
        f"{decisions.matched} matched, {decisions.tie_count} ties, {decisions.defect_count} defects "
        f"on {decisions.counted}"
    )
    if decisions.defects:
        first = decisions.defects[0]
        reason += f"; first in {first.case}: {first.finding.what}: {first.finding.cause}"
    status: Status = "pass" if decisions.defect_count <= 0 else "fail"
    yield Check("decisions", status, reason, float(decisions.defect_count), 0.0, facts.leg)


def judge_dataset(found: DatasetFigures) -> Check:
    """The check on one candidate's labelled pictures.

    The candidate must answer on all of them and decide as the reference does, except for ties. On the
    pictures without a tie no figure may differ by more than the limit.
    """
    decisions = found.decisions
    told = ", ".join(
        f"{figure.name} {figure.candidate:.4f} (PyTorch's {figure.reference:.4f})" for figure in found.figures
    )
    reason = (
        f"{told} on {found.pictures} labelled pictures; {decisions.matched} matched, "
        f"{decisions.tie_count} ties, {decisions.defect_count} defects"
    )
    apart = [abs(figure.untied_difference) for figure in found.figures]
    difference = math.nan if any(map(math.isnan, apart)) else max(apart)
    if found.not_answered is not None:
        status, reason = "fail", f"{reason}; no answer, first on {found.not_answered}"
    elif decisions.defect_count:
        first = decisions.defects[0]
        status = "fail"
        reason += f"; first in {first.case}: {first.finding.what}: {first.finding.cause}"
    elif not decisions.reference:
        status, reason = "error", f"PyTorch decided nothing on {found.pictures} labelled pictures"
    elif math.isnan(difference):
        status, reason = "error", f"{reason}; no labelled picture without a tie is left to compare"
    else:
        status = "pass" if difference <= DATASET_DIFFERENCE else "fail"
    return Check("dataset", cast(Status, status), reason, difference, DATASET_DIFFERENCE, found.leg)
