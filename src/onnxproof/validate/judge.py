"""Opinion: facts held against limits become checks, and checks a verdict.

Every comparison is written ``value <= limit``, so that NaN fails.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from onnxproof.validate.cases import Case
from onnxproof.validate.facts import Facts, Failure
from onnxproof.validate.limits import FIXED_TOLERANCE, HELD_BACK, RATIO_MAX, RATIO_RMS, error_bound
from onnxproof.validate.measure import LabelMeasurement, Measurement

Status = Literal["pass", "fail", "error", "skipped"]

FORMAT = 1
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
    """What was checked and what came of it. ``facts`` are None where nothing could be compared."""

    status: Literal["pass", "fail", "error"]
    checks: tuple[Check, ...]
    facts: tuple[Facts, ...]
    cases: tuple[Case, ...]
    notes: tuple[str, ...]
    model_sha256: str
    environment: Mapping[str, Any]

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
    for label in facts.labels:
        ranked = fields_ranked.get(label.name)
        checks.append(_judge_label(facts, label, by_name.get(ranked) if ranked else None))
    if not facts.fields and not facts.labels:
        checks.append(Check("compared", "error", "the family names no field to compare", leg=facts.leg))
    checks += _judge_decisions(facts)
    return tuple(checks)


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
    finite: Status = "pass" if measured.nonfinite <= 0 else "fail"
    reason = f"NaN or infinity that PyTorch does not have, first in {measured.nonfinite_case}"
    yield Check(
        "finite", finite, "" if finite == "pass" else reason, measured.nonfinite, 0, facts.leg, measured.name
    )
    largest = f"{measured.max_candidate:.3g} {measured.unit}".rstrip()
    worst = f"largest error {largest} in {measured.worst_case}"
    if facts.oracle_missing is not None:
        limit = FIXED_TOLERANCE * measured.scale_max
        yield _limited("max_error", facts, measured, measured.max_candidate, limit, worst)
        return
    if measured.count:
        yield _limited("ratio_rms", facts, measured, measured.ratio_rms, RATIO_RMS, worst)
        yield _limited("ratio_max", facts, measured, measured.ratio_max, RATIO_MAX, worst)


def _limited(name: str, facts: Facts, measured: Measurement, value: float, limit: float, worst: str) -> Check:
    status: Status = "pass" if value <= limit else "fail"
    return Check(name, status, worst, value, limit, facts.leg, measured.name)


def _judge_label(facts: Facts, label: LabelMeasurement, ranked: Measurement | None) -> Check:
    if not label.count:
        return Check("compared", "error", "no label was compared", leg=facts.leg, field=label.name)
    limit = 0.0
    if ranked is not None:
        limit = 2 * error_bound(ranked, has_oracle=facts.oracle_missing is None)
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
        reason = "the job names no pictures (validate.images), and on seeded inputs PyTorch decided nothing"
        yield Check("decisions", "skipped", reason, leg=facts.leg)
        return
    if not decisions.reference and not decisions.defects:
        reason = "PyTorch decided nothing on any picture: name pictures with objects in validate.images"
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
