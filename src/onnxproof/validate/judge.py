"""Opinion: facts held against limits become checks, and checks a verdict.

Every comparison is written ``value <= limit``, so that NaN fails.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

from onnxproof.tensors import Field
from onnxproof.validate.cases import Case
from onnxproof.validate.dataset.figures import DatasetFigures
from onnxproof.validate.facts import Decisions, Facts, Failure
from onnxproof.validate.limits import (
    BEYOND_DOUBT,
    DATASET_DIFFERENCE,
    FEW,
    FIXED_TOLERANCE,
    HELD_BACK,
    RATIO_CONSTANT,
    RATIO_MAX,
    RATIO_RMS,
    error_bound,
)
from onnxproof.validate.measure import LabelMeasurement, Measurement

Status = Literal["pass", "fail", "error", "skipped"]

FORMAT = 1
NOISY = ("ratio_rms", "ratio_max", "flips", "decisions", "rows")
"""The checks whose limits float error itself sets."""

SHOWN_FINDINGS = 100
"""How many ties and defects parity.json spells out; all are counted."""


@dataclass(frozen=True, slots=True)
class Check:
    """A measurement held against its limit. ``leg`` and ``field`` are None where it has none."""

    name: str
    status: Status
    reason: str
    value: float | None = None
    limit: float | None = None
    leg: str | None = None
    field: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was checked and what came of it. ``facts`` are None where nothing could be compared; ``dataset``
    has the figures of each candidate where the job names labelled pictures."""

    status: Literal["pass", "fail", "error"]
    checks: tuple[Check, ...]
    facts: tuple[Facts, ...]
    cases: tuple[Case, ...]
    notes: tuple[str, ...]
    model_sha256: str
    environment: Mapping[str, Any]
    dataset: tuple[DatasetFigures, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the verdict is "pass"."""
        return self.status == "pass"

    def to_json(self) -> dict[str, Any]:
        """The document of ``parity.json``; what is NaN or infinite, which JSON has no word for, is null."""
        decided = [facts.decisions for facts in self.facts if facts.decisions is not None]
        ties = [located for decisions in decided for located in decisions.ties]
        defects = [located for decisions in decided for located in decisions.defects]
        document = {
            "format": FORMAT,
            "verdict": self.status,
            "model_sha256": self.model_sha256,
            "checks": [asdict(check) for check in self.checks],
            "decisions": {
                "matched": sum(decisions.matched for decisions in decided),
                "ties": len(ties),
                "defects": len(defects),
            },
            "findings": {
                "ties": [located.to_json() for located in ties[:SHOWN_FINDINGS]],
                "defects": [located.to_json() for located in defects[:SHOWN_FINDINGS]],
            },
            "measurements": [
                {
                    "leg": facts.leg,
                    **asdict(measured),
                    "ratio_rms": measured.ratio_rms,
                    "ratio_max": measured.ratio_max,
                }
                for facts in self.facts
                for measured in facts.fields
            ],
            "dataset": [figures.to_json() for figures in self.dataset] or None,
            "cases": [case.to_json() for case in self.cases],
            "notes": list(self.notes),
            "environment": dict(self.environment),
        }
        finite: dict[str, Any] = _finite(document)
        return finite


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def conclude(checks: Iterable[Check]) -> Literal["pass", "fail", "error"]:
    """ "fail" where one check failed; "pass" where at least one passed and none is in error."""
    statuses = [check.status for check in checks]
    if "fail" in statuses:
        return "fail"
    return "pass" if "pass" in statuses and "error" not in statuses else "error"


def ranks_of(fields: Iterable[Field]) -> dict[str, str | None]:
    """For each label field the field that it ranks, as ``judge`` asks."""
    return {field.name: field.ranks for field in fields if field.kind == "label"}


def judge(facts: Facts, fields_ranked: Mapping[str, str | None]) -> tuple[Check, ...]:
    """The checks on one candidate leg. ``fields_ranked`` maps a label field to the field it ranks."""
    checks = [
        _counted("interface", facts, len(facts.interface), "; ".join(facts.interface)),
        _counted("runs", facts, len(facts.not_run), _failures(facts.not_run, facts.cases)),
        _counted("shapes", facts, len(facts.misshapen), _failures(facts.misshapen, facts.cases)),
    ]
    if facts.rows:
        checks.append(_judge_held_back(facts))
    for measured in facts.fields:
        checks += _judge_field(facts, measured)
    by_name = {measured.name: measured for measured in facts.fields}
    for measured in facts.constant_fields:
        checks += _judge_constant(facts, measured, by_name[measured.name])
    for label in facts.labels:
        checks.append(_judge_label(facts, label, _bound_of(facts, fields_ranked.get(label.name))))
    if not facts.fields and not facts.labels:
        checks.append(Check("compared", "error", "the family names no field to compare", leg=facts.leg))
    checks += _judge_decisions(facts)
    if facts.all_rows is not None:
        checks.append(_judge_all_rows(facts, facts.all_rows))
    return tuple(checks)


def doubtful(facts: Facts, fields_ranked: Mapping[str, str | None]) -> tuple[str, ...]:
    """The names of the cases on which a failure rests that more evidence may undo; none where it is beyond
    doubt, or rests on many.

    Float error is measured by what it happened to be. Where a few numbers carry it, as the few classes do
    that are not quite sure of a few pictures, PyTorch's may be small by luck and the file's large.
    """
    failed = [check for check in judge(facts, fields_ranked) if check.status == "fail"]
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
    return tuple(cases) if len(cases) <= FEW else ()


def second_looks(facts: Iterable[Facts]) -> tuple[str, ...]:
    """A note for each leg that was measured anew where its failures rested on few cases."""
    return tuple(
        f"{one.leg}: measured anew on inputs next to its own, since failures rested on it alone: "
        f"{', '.join(one.repeated)}"
        for one in facts
        if one.repeated
    )


def _judge_all_rows(facts: Facts, rows: Decisions) -> Check:
    """Whether the rows below the job's threshold are there, too: ``predict`` may be told a lower one."""
    reason = f"{rows.matched} rows matched, {len(rows.ties)} ties, {len(rows.defects)} defects"
    if rows.defects:
        first = rows.defects[0]
        reason += f"; first in {first.case}: {first.finding.what}: {first.finding.cause}"
    status: Status = "pass" if len(rows.defects) <= 0 else "fail"
    return Check("rows", status, reason, float(len(rows.defects)), 0.0, facts.leg)


def _judge_held_back(facts: Facts) -> Check:
    """Whether enough rows could be measured: what most of a file hangs on toss-ups says nothing."""
    share = facts.held_back / facts.rows
    status: Status = "pass" if share <= HELD_BACK else "error"
    reason = f"{facts.held_back} of {facts.rows} rows hang on choices of proposals that are open"
    return Check("held_back", status, reason, share, HELD_BACK, facts.leg)


def _counted(name: str, facts: Facts, count: int, reason: str) -> Check:
    status: Status = "pass" if count <= 0 else "fail"
    return Check(name, status, reason, value=float(count), limit=0.0, leg=facts.leg)


def _failures(failures: tuple[Failure, ...], cases: int) -> str:
    if not failures:
        return ""
    first = failures[0]
    return f"{len(failures)} of {cases} cases, first {first.case}: {first.reason}"


def _judge_field(facts: Facts, measured: Measurement) -> Iterator[Check]:
    if not measured.count and not measured.nonfinite:
        yield Check("compared", "error", "no value was compared", leg=facts.leg, field=measured.name)
        return
    if measured.nonfinite:
        yield _not_finite(facts, measured)
    else:
        yield Check("finite", "pass", "", 0.0, 0.0, facts.leg, measured.name)
    largest = f"{measured.max_candidate:.3g} {measured.unit}".rstrip()
    worst = f"largest error {largest} in {measured.worst_case}"
    if facts.oracle_missing is not None:
        limit = FIXED_TOLERANCE * measured.scale_max
        yield _limited("max_error", facts, measured, measured.max_candidate, limit, worst)
        return
    if measured.count:
        yield _limited("ratio_rms", facts, measured, measured.ratio_rms, RATIO_RMS, worst)
        yield _limited("ratio_max", facts, measured, measured.ratio_max, RATIO_MAX, worst)


def _not_finite(facts: Facts, measured: Measurement) -> Check:
    reason = f"NaN or infinity that {facts.witness} does not have, first in {measured.nonfinite_case}"
    return Check("finite", "fail", reason, measured.nonfinite, 0, facts.leg, measured.name)


def _limited(name: str, facts: Facts, measured: Measurement, value: float, limit: float, worst: str) -> Check:
    status: Status = "pass" if value <= limit else "fail"
    return Check(name, status, worst, value, limit, facts.leg, measured.name)


def _judge_constant(facts: Facts, measured: Measurement, elsewhere: Measurement) -> Iterator[Check]:
    """The looser check on pictures of one value; what is not finite there is told as everywhere.

    The errors are held against PyTorch's on those pictures or ``elsewhere``, whichever are larger: a
    probability is next to nothing where a picture shows nothing, and no kernel is that exact.
    """
    if measured.nonfinite:
        yield _not_finite(facts, measured)
    value = max(
        measured.rms_candidate / max(measured.floor_rms, elsewhere.floor_rms),
        measured.max_candidate / max(measured.floor_max, elsewhere.floor_max),
    )
    worst = f"largest error {measured.max_candidate:.3g} {measured.unit}".rstrip()
    reason = f"{worst} in {measured.worst_case}, a picture of one value"
    yield _limited("ratio_constant", facts, measured, value, RATIO_CONSTANT, reason)


def _bound_of(facts: Facts, field: str | None) -> float:
    """The error bound of a field over all pictures; 0 for none."""
    has_oracle = facts.oracle_missing is None
    bounds = [0.0]
    for fields, limit in ((facts.fields, RATIO_MAX), (facts.constant_fields, RATIO_CONSTANT)):
        bounds += (
            error_bound(measured, has_oracle=has_oracle, limit=limit)
            for measured in fields
            if measured.name == field
        )
    return max(bounds)


def _judge_label(facts: Facts, label: LabelMeasurement, bound: float) -> Check:
    if not label.count:
        return Check("compared", "error", "no label was compared", leg=facts.leg, field=label.name)
    limit = 2 * bound
    if not label.flips:
        return Check("flips", "pass", "no label differs", 0.0, limit, facts.leg, label.name)
    status: Status = "pass" if label.largest_margin <= limit else "fail"
    reason = (
        f"{label.flips} of {label.count} labels differ; the oracle's largest lead over the next class "
        f"among them is {label.largest_margin:.3g}, in {label.worst_case}"
    )
    return Check("flips", status, reason, label.largest_margin, limit, facts.leg, label.name)


def _judge_decisions(facts: Facts) -> Iterator[Check]:
    decisions = facts.decisions
    if decisions is None:
        return
    if not decisions.pictures:
        yield Check("decisions", "error", "no picture was decided on", leg=facts.leg)
        return
    if not decisions.reference and not decisions.defects and not facts.pictures_named:
        reason = (
            "no pictures are named (validate.images, for compare --images), and on seeded inputs "
            f"{facts.witness} decided nothing"
        )
        yield Check("decisions", "skipped", reason, leg=facts.leg)
        return
    if not decisions.reference and not decisions.defects:
        reason = (
            f"{facts.witness} decided nothing on any picture: name pictures with objects in validate.images"
        )
        yield Check("decisions", "error", reason, leg=facts.leg)
        return
    reason = (
        f"{decisions.matched} matched, {len(decisions.ties)} ties, {len(decisions.defects)} defects "
        f"on {decisions.pictures} pictures"
    )
    if decisions.defects:
        first = decisions.defects[0]
        reason += f"; first in {first.case}: {first.finding.what}: {first.finding.cause}"
    status: Status = "pass" if len(decisions.defects) <= 0 else "fail"
    yield Check("decisions", status, reason, float(len(decisions.defects)), 0.0, facts.leg)


def judge_dataset(found: DatasetFigures) -> Check:
    """The check on one candidate's labelled pictures: it must answer on all, decide as the reference but for
    ties, and differ in no figure by more than the limit on the pictures without a tie."""
    told = ", ".join(
        f"{figure.name} {figure.candidate:.4f} (PyTorch's {figure.reference:.4f})" for figure in found.figures
    )
    reason = (
        f"{told} on {found.pictures} labelled pictures; {found.matched} matched, {len(found.ties)} ties, "
        f"{len(found.defects)} defects"
    )
    apart = [abs(figure.untied_difference) for figure in found.figures]
    difference = math.nan if any(map(math.isnan, apart)) else max(apart)
    if found.not_answered is not None:
        status, reason = "fail", f"{reason}; no answer, first on {found.not_answered}"
    elif found.defects:
        first = found.defects[0]
        status = "fail"
        reason += f"; first in {first.case}: {first.finding.what}: {first.finding.cause}"
    elif not found.decided:
        status, reason = "error", f"PyTorch decided nothing on {found.pictures} labelled pictures"
    elif math.isnan(difference):
        status, reason = "error", f"{reason}; no labelled picture without a tie is left to compare"
    else:
        status = "pass" if difference <= DATASET_DIFFERENCE else "fail"
    return Check("dataset", cast(Status, status), reason, difference, DATASET_DIFFERENCE, found.leg)
