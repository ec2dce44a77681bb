"""The verdict: what was checked, what came of it, and the document that tells it without loss."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, get_args

from onnxproof.errors import RequestError
from onnxproof.validate.cases import Case
from onnxproof.validate.dataset.figures import DatasetFigures
from onnxproof.validate.facts import Decisions, Facts, Failure
from onnxproof.validate.legs.leg import GRAPH
from onnxproof.validate.measure import LabelMeasurement, Measurement
from onnxproof.validate.sight.facts import Sight

Status = Literal["pass", "fail", "error", "skipped"]
Link = Literal["function", "runtime", "decisions", "pipeline"]

LINKS: tuple[Link, ...] = get_args(Link)
"""The links of the proof, in order: the file states the checkpoint's function; the runtime computes the file
as well as PyTorch computes the model; both decide alike; a picture ends in the framework's decisions."""

RUNTIME_CHECKS = frozenset(
    "runs shapes finite ratio_rms ratio_max ratio_constant max_error flips compared kernels".split()
)
FUNCTION_CHECKS = frozenset(("function", "flips", "rows"))
DECISION_CHECKS = frozenset(("held_back", "rows", "decisions", "dataset"))

T = TypeVar("T")

FORMAT = 2
"""The format that is written; ``Verdict.from_json`` reads format 1, too."""

FORMATS = (1, 2)


@dataclass(frozen=True, slots=True)
class Check:
    """A measurement and its limit. ``leg`` and ``field`` are None for a check that is not about one."""

    name: str
    status: Status
    reason: str
    value: float | None = None
    limit: float | None = None
    leg: str | None = None
    field: str | None = None

    @property
    def link(self) -> Link:
        """The link of the proof that the check belongs to. What the file itself shows is its function."""
        if self.leg is not None and self.leg.endswith(GRAPH):
            return "function"
        if self.name in RUNTIME_CHECKS:
            return "runtime"
        if self.name == "pipeline":
            return "pipeline"
        return "decisions" if self.name in DECISION_CHECKS else "function"


@dataclass(frozen=True, slots=True)
class Linked:
    """What came of a link.

    ``check`` is the one that decides: the first that failed or could not be run, else the nearest to its
    limit, if possible of those named as the link. It is None if there is none.
    """

    link: Link
    status: Status
    check: Check | None

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        check = None if self.check is None else asdict(self.check)
        return {"link": self.link, "status": self.status, "check": check}


def linked(link: Link, checks: Iterable[Check]) -> Linked:
    """What came of a link, by all checks of a verdict.

    The function link passes only by values of a graph that was evaluated: other checks can only fail it.
    """
    own = [check for check in checks if check.link == link]
    for status in ("fail", "error"):
        first = next((check for check in own if check.status == status), None)
        if first is not None:
            return Linked(link, first.status, first)
    if link == "function":
        own = [check for check in own if check.name in FUNCTION_CHECKS and check.leg is not None]
    passed = [check for check in own if check.status == "pass"]
    if passed:
        return Linked(link, "pass", max(passed, key=lambda check: (check.name == link, _share(check))))
    return Linked(link, "skipped", own[0] if own else None)


def _share(check: Check) -> float:
    """How much of its limit a value takes; a check without a limit takes none."""
    return -1.0 if check.value is None or not check.limit else check.value / check.limit


@dataclass(frozen=True, slots=True)
class Pairing:
    """How a verdict on two files came about: the rule, the other file A, and A's own verdict.

    ``rule`` names the rule, ``rule_text`` says it. ``baseline`` is None if nothing but A itself judged A.
    """

    rule: str
    rule_text: str
    a_sha256: str
    baseline: "Verdict | None"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was checked and what came of it.

    ``facts`` holds one entry a candidate leg; it is empty if nothing could be compared. ``dataset`` has the
    figures of each candidate if the job names labelled pictures. ``policy`` holds the limits that were used.
    ``pairing`` is None unless two files were compared. ``function`` is what the file's graph in float64 did;
    ``pipeline`` is how ``predict`` decided beside the framework; both are None if that was not compared. Of a
    case's picture only the name is kept.
    """

    status: Literal["pass", "fail", "error"]
    checks: tuple[Check, ...]
    facts: tuple[Facts, ...]
    cases: tuple[Case, ...]
    notes: tuple[str, ...]
    model_sha256: str
    environment: Mapping[str, Any]
    dataset: tuple[DatasetFigures, ...] = ()
    policy: Mapping[str, Any] | None = None
    pairing: Pairing | None = None
    function: Facts | None = None
    pipeline: Sight | None = None

    def __post_init__(self) -> None:
        told = tuple(
            case if case.picture is None else replace(case, picture=Path(case.picture.name))
            for case in self.cases
        )
        object.__setattr__(self, "cases", told)

    @property
    def passed(self) -> bool:
        """Whether the verdict is "pass"."""
        return self.status == "pass"

    @property
    def links(self) -> tuple[Linked, ...]:
        """What came of each link; of the pipeline only if it was asked for."""
        found = (linked(link, self.checks) for link in LINKS)
        return tuple(one for one in found if one.link != "pipeline" or one.check is not None)

    def to_json(self) -> dict[str, Any]:
        """The document of ``parity.json``.

        JSON has no word for NaN and infinities: they are the strings "NaN", "Infinity" and "-Infinity".
        """
        decided = [(facts.leg, facts.decisions) for facts in self.facts if facts.decisions is not None]
        document: dict[str, Any] = {
            "format": FORMAT,
            "verdict": self.status,
            "model_sha256": self.model_sha256,
            "policy": self.policy,
            "links": [one.to_json() for one in self.links],
            "checks": [{"link": check.link, **asdict(check)} for check in self.checks],
            "decisions": {
                "matched": sum(decisions.matched for _, decisions in decided),
                "ties": sum(decisions.tie_count for _, decisions in decided),
                "defects": sum(decisions.defect_count for _, decisions in decided),
            },
            "findings": {
                kind: [
                    {"leg": leg, **located.to_json()}
                    for leg, decisions in decided
                    for located in getattr(decisions, kind)
                ]
                for kind in ("ties", "defects")
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
            "legs": [_leg_to_json(facts) for facts in self.facts],
            "function": None if self.function is None else _function_to_json(self.function),
            "pipeline": None if self.pipeline is None else self.pipeline.to_json(),
            "dataset": [figures.to_json() for figures in self.dataset] or None,
            "cases": [case.to_json() for case in self.cases],
            "notes": list(self.notes),
            "environment": dict(self.environment),
        }
        if self.pairing is not None:
            baseline = self.pairing.baseline
            document |= {**_flat(self.pairing), "baseline": None if baseline is None else baseline.to_json()}
        told: dict[str, Any] = _told(document)
        return told

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of ``to_json``. Documents of format 1 lack some facts; those come back empty.

        Raises RequestError if the document is no verdict, or of a newer format.
        """
        found = value.get("format") if isinstance(value, Mapping) else None
        if found not in FORMATS:
            raise RequestError(
                f"the format of the verdict is {found!r}; expected one of {', '.join(map(str, FORMATS))}: "
                "read it with the onnxproof that wrote it"
            )
        try:
            return cls._from(value)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RequestError(
                f"this is no verdict that onnxproof wrote ({type(error).__name__}: {error}): "
                "run validate again"
            ) from error

    @classmethod
    def _from(cls, value: Mapping[str, Any]) -> Self:
        pairing = None
        if "rule" in value:
            baseline = value["baseline"]
            whole = baseline is not None and "format" in baseline
            pairing = Pairing(
                value["rule"],
                value["rule_text"],
                value["a_sha256"],
                cls.from_json(baseline) if whole else None,
            )
        return cls(
            status=value["verdict"],
            checks=tuple(
                _restored(Check, {key: item for key, item in check.items() if key != "link"})
                for check in value["checks"]
            ),
            facts=_facts_from(value),
            cases=tuple(map(Case.from_json, value["cases"])),
            notes=tuple(value["notes"]),
            model_sha256=value["model_sha256"],
            environment=dict(value["environment"]),
            # Format 1 tells the figures without their findings.
            dataset=tuple(map(DatasetFigures.from_json, value["dataset"] or ()))
            if value["format"] == FORMAT
            else (),
            policy=value.get("policy"),
            pairing=pairing,
            function=None if value.get("function") is None else _function_from(value["function"]),
            pipeline=None if value.get("pipeline") is None else Sight.from_json(value["pipeline"]),
        )


def conclude(checks: Iterable[Check]) -> Literal["pass", "fail", "error"]:
    """ "fail" if a check failed; "pass" if at least one passed and none is in error; "error" otherwise."""
    statuses = [check.status for check in checks]
    if "fail" in statuses:
        return "fail"
    return "pass" if "pass" in statuses and "error" not in statuses else "error"


def _flat(pairing: Pairing) -> dict[str, Any]:
    return {"rule": pairing.rule, "rule_text": pairing.rule_text, "a_sha256": pairing.a_sha256}


def _leg_to_json(facts: Facts) -> dict[str, Any]:
    """A leg's facts, without the measurements and findings that stand at the top of the document."""
    decisions = None
    if facts.decisions is not None:
        decisions = {key: item for key, item in facts.decisions.to_json().items() if key != "findings"}
    return {
        "leg": facts.leg,
        "reference": facts.reference,
        "oracle": facts.oracle,
        "oracle_missing": dict(facts.oracle_missing) or None,
        "cases": facts.cases,
        "pictures_named": facts.pictures_named,
        "interface": list(facts.interface),
        "not_run": [asdict(failure) for failure in facts.not_run],
        "misshapen": [asdict(failure) for failure in facts.misshapen],
        "labels": [asdict(label) for label in facts.labels],
        "constant_measurements": [asdict(measured) for measured in facts.constant_fields],
        "decisions": decisions,
        "all_rows": None if facts.all_rows is None else facts.all_rows.to_json(),
        "rows": facts.rows,
        "held_back": facts.held_back,
        "repeated": list(facts.repeated),
    }


def _facts_from(value: Mapping[str, Any]) -> tuple[Facts, ...]:
    fields: dict[str, list[Measurement]] = {}
    for entry in value["measurements"]:
        own = {key: item for key, item in entry.items() if key not in ("leg", "ratio_rms", "ratio_max")}
        fields.setdefault(entry["leg"], []).append(_restored(Measurement, own))
    if "legs" not in value:
        return tuple(
            Facts(leg, (), len(value["cases"]), False, (), (), tuple(measured), (), None, {})
            for leg, measured in fields.items()
        )
    return tuple(
        _leg_from(leg, tuple(fields.get(leg["leg"], ())), value["findings"]) for leg in value["legs"]
    )


def _leg_from(leg: Mapping[str, Any], fields: tuple[Measurement, ...], findings: Mapping[str, Any]) -> Facts:
    decisions = None
    if leg["decisions"] is not None:
        own = {kind: [one for one in findings[kind] if one["leg"] == leg["leg"]] for kind in findings}
        decisions = Decisions.from_json({**leg["decisions"], "findings": own})
    labels = tuple(_restored(LabelMeasurement, label) for label in leg["labels"])
    return Facts(
        leg=leg["leg"],
        interface=tuple(leg["interface"]),
        cases=leg["cases"],
        pictures_named=leg["pictures_named"],
        not_run=tuple(_restored(Failure, failure) for failure in leg["not_run"]),
        misshapen=tuple(_restored(Failure, failure) for failure in leg["misshapen"]),
        fields=fields,
        labels=labels,
        decisions=decisions,
        oracle_missing=_missing_from(leg["oracle_missing"], fields, labels),
        held_back=leg["held_back"],
        rows=leg["rows"],
        repeated=tuple(leg["repeated"]),
        all_rows=None if leg["all_rows"] is None else Decisions.from_json(leg["all_rows"]),
        constant_fields=tuple(_restored(Measurement, entry) for entry in leg["constant_measurements"]),
        reference=leg["reference"],
        oracle=leg["oracle"],
    )


def _missing_from(
    value: Mapping[str, str] | str | None,
    fields: Sequence[Measurement],
    labels: Sequence[LabelMeasurement],
) -> dict[str, str]:
    """Why fields have no oracle, by field. Older documents have one text for all fields."""
    if isinstance(value, str):
        names = [*(field.name for field in fields), *(label.name for label in labels)]
        return dict.fromkeys(names, value)
    return dict(value or {})


def _function_to_json(facts: Facts) -> dict[str, Any]:
    """The facts of a graph, whole."""
    measured = [
        {**asdict(one), "ratio_rms": one.ratio_rms, "ratio_max": one.ratio_max} for one in facts.fields
    ]
    return {
        **_leg_to_json(facts),
        "measurements": measured,
        "rounding": dict(facts.rounding),
        "beyond": dict(facts.beyond),
    }


def _function_from(value: Mapping[str, Any]) -> Facts:
    fields = tuple(
        _restored(Measurement, {key: one[key] for key in one if key not in ("ratio_rms", "ratio_max")})
        for one in value["measurements"]
    )
    rounding = {name: NUMBERS.get(number, number) for name, number in value["rounding"].items()}
    return replace(_leg_from(value, fields, {}), rounding=rounding, beyond=dict(value["beyond"]))


NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
"""The words for the numbers that JSON has none for."""


def _told(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _told(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_told(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return next(word for word, number in NUMBERS.items() if repr(number) == repr(value))
    return value


TEXTS = frozenset("name unit status reason leg field case worst_case nonfinite_case".split())
"""The keys whose strings are texts, and not numbers in words."""


def _restored(kind: type[T], value: Mapping[str, Any]) -> T:
    """A dataclass of numbers and texts from the document that ``asdict`` and ``_told`` made of it."""
    return kind(
        **{
            key: tuple(item) if isinstance(item, list) else item if key in TEXTS else NUMBERS.get(item, item)
            for key, item in value.items()
        }
    )
