"""A verdict as SARIF 2.1.0 (OASIS): a rule for each kind of check, a result for each that did not pass."""

import hashlib
import json
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from onnxproof.packages import versions
from onnxproof.validate.explained import EXPLAINED, Explained
from onnxproof.validate.report.subject import Subject
from onnxproof.validate.report.words import headline, message_of, unique_titles
from onnxproof.validate.verdict import Check, Verdict

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
ROOT = "%SRCROOT%"
"""What relative paths start at: the folder that the command was run in."""

LEVELS = {"fail": "error", "error": "warning"}
"""The level of a result. Checks that passed or were skipped are no results: hosts of SARIF would show them
as findings."""

FINGERPRINT = "onnxproofCheck/v1"


def sarif(verdict: Verdict, subject: Subject) -> str:
    """A JSON document. Where there is no job file, a result is on the model file."""
    titled = zip(verdict.checks, unique_titles(verdict.checks), strict=True)
    told = [(check, title) for check, title in titled if check.status in LEVELS]
    names = sorted({check.name for check in verdict.checks})
    places = {name: place for place, name in enumerate(names)}
    model = {"location": _location(subject.model), "hashes": {"sha-256": verdict.model_sha256}}
    run = {
        "tool": {
            "driver": {
                "name": "onnxproof",
                "version": versions(("onnxproof",))["onnxproof"],
                "rules": [_rule(name, EXPLAINED.get(name)) for name in names],
            }
        },
        "automationDetails": {"id": f"onnxproof/{subject.name}/"},
        "artifacts": [model if verdict.model_sha256 else {"location": _location(subject.model)}],
        "results": [_result(check, title, subject, places[check.name]) for check, title in told],
        "properties": {"verdict": verdict.status, "said": headline(verdict)},
    }
    document = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _rule(name: str, known: Explained | None) -> dict[str, Any]:
    rule: dict[str, Any] = {"id": name, "defaultConfiguration": {"level": "error"}}
    if known is None:
        return rule
    return rule | {
        "shortDescription": {"text": f"{name}, a check of the link {known.link}"},
        "fullDescription": {"text": known.means},
        "help": {
            "text": f"{known.means}\nWhy it fails: {known.fails}\nWhat to do: {known.do}",
            "markdown": f"{known.means}\n\n**Why it fails**: {known.fails}\n\n**What to do**: {known.do}",
        },
        "properties": {"tags": [known.link]},
    }


def _result(check: Check, title: str, subject: Subject, rule: int) -> dict[str, Any]:
    path, line = subject.place(check)
    physical: dict[str, Any] = {"artifactLocation": _location(path)}
    if line is not None:
        physical["region"] = {"startLine": line}
    identity = f"{subject.name}|{title}"
    return {
        "ruleId": check.name,
        "ruleIndex": rule,
        "kind": "fail",
        "level": LEVELS[check.status],
        "message": {"text": f"{subject.name}: {title}: {message_of(check)}"},
        "locations": [{"physicalLocation": physical}],
        "partialFingerprints": {FINGERPRINT: hashlib.sha256(identity.encode()).hexdigest()},
    }


def _location(path: str) -> dict[str, str]:
    pure = PurePath(path)
    if pure.is_absolute():
        return {"uri": pure.as_uri()}
    return {"uri": quote(pure.as_posix()), "uriBaseId": ROOT}
