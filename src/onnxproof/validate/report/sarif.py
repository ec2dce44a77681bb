"""A verdict as SARIF 2.1.0 (OASIS): a rule for each kind of check, a result for each that did not pass."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from onnxproof.system.packages import versions
from onnxproof.text import one_line
from onnxproof.validate.explained import EXPLAINED, Explained
from onnxproof.validate.report.entries import Entry, told
from onnxproof.validate.report.subject import Subject
from onnxproof.validate.report.words import headline, message_of, unique_titles
from onnxproof.validate.verdict import Check, Verdict

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
ROOT = "%SRCROOT%"
"""What relative paths start at: the folder that the command was run in."""

LEVELS = {"fail": "error", "error": "warning"}
"""The level of a result. Checks that passed or were skipped are no results: hosts of SARIF would show them
as findings."""

JOB = "job"
"""The rule of a job that ended without a verdict, among many."""

FINGERPRINT = "onnxproofCheck/v1"


def sarif(verdict: Verdict, subject: Subject) -> str:
    """A JSON document. Where there is no job file, a result is on the model file."""
    said = {"verdict": verdict.status, "said": headline(verdict)}
    return _document([Entry(subject, "", verdict)], f"onnxproof/{subject.name}/", said)


def sarif_of_many(entries: Sequence[Entry]) -> str:
    """A JSON document with one run. A job without a verdict is a result of the rule ``job``."""
    return _document(entries, "onnxproof/", {"said": told(entries)})


def _document(entries: Sequence[Entry], name: str, properties: dict[str, str]) -> str:
    checks = [check for one in entries if one.verdict is not None for check in one.verdict.checks]
    failed = [one for one in entries if one.verdict is None and not one.good and one.state != "not run"]
    names = sorted({check.name for check in checks} | ({JOB} if failed else set()))
    places = {name: place for place, name in enumerate(names)}
    results = [result for one in entries for result in _results(one, places)]
    results += [_without_verdict(one, places[JOB]) for one in failed]
    run = {
        "tool": {
            "driver": {
                "name": "onnxproof",
                "version": versions(("onnxproof",))["onnxproof"],
                "rules": [_rule(name, EXPLAINED.get(name)) for name in names],
            }
        },
        "automationDetails": {"id": name},
        "artifacts": [_artifact(one) for one in entries],
        "results": results,
        "properties": properties,
    }
    document = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _artifact(entry: Entry) -> dict[str, Any]:
    sum_ = "" if entry.verdict is None else entry.verdict.model_sha256
    hashes = {"hashes": {"sha-256": sum_}} if sum_ else {}
    return {"location": _location(entry.subject.model), **hashes}


def _results(entry: Entry, places: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    if entry.verdict is None:
        return
    checks = entry.verdict.checks
    for check, title in zip(checks, unique_titles(checks), strict=True):
        if check.status in LEVELS:
            yield _result(check, title, entry.subject, places[check.name])


def _without_verdict(entry: Entry, rule: int) -> dict[str, Any]:
    subject = entry.subject
    physical: dict[str, Any] = {"artifactLocation": _location(subject.job or subject.model)}
    if subject.job is not None:
        physical["region"] = {"startLine": 1}
    return {
        "ruleId": JOB,
        "ruleIndex": rule,
        "kind": "fail",
        "level": "error",
        "message": {"text": f"{subject.name}: {one_line(entry.error)}"},
        "locations": [{"physicalLocation": physical}],
        "partialFingerprints": {FINGERPRINT: _fingerprint(f"{subject.name}|{JOB}")},
    }


def _fingerprint(identity: str) -> str:
    return hashlib.sha256(identity.encode()).hexdigest()


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
        "partialFingerprints": {FINGERPRINT: _fingerprint(identity)},
    }


def _location(path: str) -> dict[str, str]:
    pure = PurePath(path)
    if pure.is_absolute():
        return {"uri": pure.as_uri()}
    return {"uri": quote(pure.as_posix()), "uriBaseId": ROOT}
