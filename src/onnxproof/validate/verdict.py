"""The verdict: what was checked, what came of it, and the document that tells it without loss."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self, get_args

from onnxproof.errors import RequestError
from onnxproof.validate.budget.figures import BudgetFigures
from onnxproof.validate.cases import Case
from onnxproof.validate.dataset.figures import DatasetFigures
from onnxproof.validate.facts import Facts
from onnxproof.validate.facts_json import (
    facts_from_json,
    function_from_json,
    function_to_json,
    in_words,
    leg_to_json,
    restored,
)
from onnxproof.validate.legs.leg import GRAPH
from onnxproof.validate.report.short import short_lines
from onnxproof.validate.runtimes.row import RuntimeRow
from onnxproof.validate.sight.facts import Sight
from onnxproof.validate.survey.figures import PictureFigures

Status = Literal["pass", "fail", "error", "skipped"]
Link = Literal["function", "runtime", "decisions", "pipeline"]

LINKS: tuple[Link, ...] = get_args(Link)
"""The links of the proof, in order: the file states the checkpoint's function; the runtime computes the file
as well as PyTorch computes the model; both decide alike; a picture ends in the framework's decisions."""

RUNTIME_CHECKS = frozenset(
    "runs shapes finite ratio_rms ratio_max ratio_constant max_error flips compared kernels inputs".split()
)
FUNCTION_CHECKS = frozenset(("function", "flips", "rows"))
DECISION_CHECKS = frozenset(
    ("held_back", "rows", "decisions", "dataset", "pictures", "changed", "map_drop", "box", "score")
)

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
        named = (link, "changed")  # a budget's check on decisions
        return Linked(link, "pass", max(passed, key=lambda check: (check.name in named, _share(check))))
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
    figures of each candidate if the job names labelled pictures, ``pictures`` what each did on many pictures,
    if those were asked for. ``runtimes`` says where each leg ran, if several runtimes were asked for.
    ``policy`` holds the limits that were used.
    ``pairing`` is None unless two files were compared. ``function`` is what the file's graph in float64 did;
    ``pipeline`` is how ``predict`` decided beside the framework; both are None if that was not compared.
    ``budget`` is what a file of lower precision cost; None unless a decision budget judged it. Of a case's
    picture only the name is kept.
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
    pictures: tuple[PictureFigures, ...] = ()
    budget: BudgetFigures | None = None
    runtimes: tuple[RuntimeRow, ...] = ()

    def __post_init__(self) -> None:
        told = tuple(
            case if case.picture is None else replace(case, picture=Path(case.picture.name))
            for case in self.cases
        )
        object.__setattr__(self, "cases", told)

    def __str__(self) -> str:
        """The terminal's lines without its tables and notes: the links, what did not pass, the verdict."""
        return "\n".join(line for _, line in short_lines(self))

    @property
    def passed(self) -> bool:
        """Whether the verdict is "pass"."""
        return self.status == "pass"

    @property
    def links(self) -> tuple[Linked, ...]:
        """What came of each link; of the pipeline only if it was asked for."""
        found = (linked(link, self.checks) for link in LINKS)
        return tuple(one for one in found if one.link != "pipeline" or one.check is not None)

    def of_leg(self, leg: str) -> tuple[Status, tuple[Linked, ...]]:
        """What came of one leg: its status, and its links ``runtime`` and ``decisions``."""
        own = [check for check in self.checks if check.leg == leg]
        status: Status = conclude(own) if any(check.status != "skipped" for check in own) else "skipped"
        return status, (linked("runtime", own), linked("decisions", own))

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
            "legs": [leg_to_json(facts) for facts in self.facts],
            "function": None if self.function is None else function_to_json(self.function),
            "pipeline": None if self.pipeline is None else self.pipeline.to_json(),
            "dataset": [figures.to_json() for figures in self.dataset] or None,
            "cases": [case.to_json() for case in self.cases],
            "notes": list(self.notes),
            "environment": dict(self.environment),
        }
        if self.pictures:
            document["pictures"] = [figures.to_json() for figures in self.pictures]
        if self.budget is not None:
            document["budget"] = self.budget.to_json()
        if self.runtimes:
            document["runtimes"] = [self._row(row) for row in self.runtimes]
        if self.pairing is not None:
            baseline = self.pairing.baseline
            document |= {**_flat(self.pairing), "baseline": None if baseline is None else baseline.to_json()}
        told: dict[str, Any] = in_words(document)
        return told

    def _row(self, row: RuntimeRow) -> dict[str, Any]:
        status, links = self.of_leg(row.leg)
        return {**row.to_json(), "status": status, "links": [one.to_json() for one in links]}

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
                restored(Check, {key: item for key, item in check.items() if key != "link"})
                for check in value["checks"]
            ),
            facts=facts_from_json(value),
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
            function=None if value.get("function") is None else function_from_json(value["function"]),
            pipeline=None if value.get("pipeline") is None else Sight.from_json(value["pipeline"]),
            pictures=tuple(map(PictureFigures.from_json, value.get("pictures") or ())),
            budget=None if value.get("budget") is None else BudgetFigures.from_json(value["budget"]),
            runtimes=tuple(map(RuntimeRow.from_json, value.get("runtimes") or ())),
        )


def conclude(checks: Iterable[Check]) -> Literal["pass", "fail", "error"]:
    """ "fail" if a check failed; "pass" if at least one passed and none is in error; "error" otherwise."""
    statuses = [check.status for check in checks]
    if "fail" in statuses:
        return "fail"
    return "pass" if "pass" in statuses and "error" not in statuses else "error"


def _flat(pairing: Pairing) -> dict[str, Any]:
    return {"rule": pairing.rule, "rule_text": pairing.rule_text, "a_sha256": pairing.a_sha256}
