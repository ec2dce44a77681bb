"""The verdict: what was checked, what came of it, and the document that tells it without loss."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

from onnxproof.errors import RequestError
from onnxproof.text import one_line
from onnxproof.validate.budget.figures import BudgetFigures
from onnxproof.validate.cases import Case
from onnxproof.validate.checks import LINKS, Linked, Status, linked
from onnxproof.validate.checks import Check as Check
from onnxproof.validate.checks import conclude as conclude
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
from onnxproof.validate.report.links import decisions_text, function_text, pipeline_text, runtime_text
from onnxproof.validate.report.short import not_passed, note_lines, verdict_line
from onnxproof.validate.runtimes.row import RuntimeRow
from onnxproof.validate.sight.facts import Sight
from onnxproof.validate.survey.figures import PictureFigures

FORMAT = 2
"""The format that is written; ``Verdict.from_json`` reads format 1, too."""

FORMATS = (1, 2)


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
        """The terminal's lines without its tables: the links, what did not pass, the notes, the verdict."""
        failed = not_passed(self.checks, several=len(self.facts) > 1)
        lines = [line for _, line in (*link_lines(self), *failed)]
        lines += note_lines(self.notes)
        lines.append(verdict_line(self.status, self.checks)[1])
        return "\n".join(map(one_line, lines))

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


def _flat(pairing: Pairing) -> dict[str, Any]:
    return {"rule": pairing.rule, "rule_text": pairing.rule_text, "a_sha256": pairing.a_sha256}


LINK_COLUMNS = 11
"""Columns of a link's name."""


def link_lines(verdict: Verdict) -> tuple[tuple[str, str], ...]:
    """The status of each link and its line. Links that nothing was checked of are left out."""
    return tuple((link.status, f"{link.link:<{LINK_COLUMNS}}{text}") for link, text in link_texts(verdict))


def link_texts(verdict: Verdict) -> tuple[tuple[Linked, str], ...]:
    """Each link and what came of it, in words. Links that nothing was checked of are left out."""
    return tuple(
        (link, _text_of(verdict, link, link.check)) for link in verdict.links if link.check is not None
    )


def _text_of(verdict: Verdict, link: Linked, check: Check) -> str:
    match link.link:
        case "function":
            rule = None if verdict.pairing is None else verdict.pairing.rule
            return function_text(link.status, check, verdict.checks, verdict.function, rule)
        case "runtime":
            allowed = (verdict.policy or {}).get("ratio_rms")
            return runtime_text(
                link.status,
                check,
                verdict.checks,
                verdict.facts,
                verdict.runtimes,
                allowed,
                (verdict.policy or {}).get("yardstick"),
            )
        case "decisions":
            return decisions_text(link.status, check, verdict.facts, by_budget=verdict.budget is not None)
        case "pipeline":
            return pipeline_text(link.status, check, verdict.pipeline)
