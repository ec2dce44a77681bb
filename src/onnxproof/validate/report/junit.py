"""A verdict as a JUnit report: one test suite for a job, one test case for a check."""

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from onnxproof.text import one_line
from onnxproof.validate.explained import EXPLAINED
from onnxproof.validate.report.entries import Entry
from onnxproof.validate.report.subject import Subject
from onnxproof.validate.report.words import SAID, headline, message_of, title_of, unique_titles
from onnxproof.validate.verdict import Check, Verdict

TAGS = {"fail": "failure", "error": "error", "skipped": "skipped"}
"""The element that tells what came of a case; a case that passed has none."""

COUNTS = ("tests", "failures", "errors", "skipped")

_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 does not have, section 2.2."""


def junit(verdict: Verdict, subject: Subject) -> str:
    """An XML document. The class of a case is the job's name and the link that the check belongs to."""
    root = ElementTree.Element("testsuites", _counted(verdict, subject) | {"name": "onnxproof"})
    _add_suite(root, verdict, subject)
    return _document(root)


def junit_of_many(entries: Sequence[Entry]) -> str:
    """An XML document with a suite for each job. A job without a verdict has one case, "job"."""
    root = ElementTree.Element("testsuites", {"name": "onnxproof"})
    for one in entries:
        if one.verdict is not None:
            _add_suite(root, one.verdict, one.subject)
        else:
            _add_without_verdict(root, one)
    for key in COUNTS:
        root.set(key, str(sum(int(suite.get(key, "0")) for suite in root)))
    root.set("time", f"{sum(one.subject.seconds for one in entries):.3f}")
    return _document(root)


def _add_without_verdict(root: ElementTree.Element, entry: Entry) -> None:
    subject = entry.subject
    status = "pass" if entry.good else "skipped" if entry.state == "not run" else "error"
    counted = {"tests": "1", "failures": "0", "errors": str(int(status == "error"))}
    counted |= {"skipped": str(int(status == "skipped")), "time": f"{subject.seconds:.3f}"}
    suite = ElementTree.SubElement(root, "testsuite", counted | {"name": _xml(subject.name)})
    case = {"classname": subject.name, "name": "job", "time": "0", "file": subject.job or subject.model}
    element = ElementTree.SubElement(suite, "testcase", {key: _xml(value) for key, value in case.items()})
    tag = TAGS.get(status)
    if tag is not None:
        told = {"message": _xml(one_line(entry.error or entry.state))}
        if tag == "error":
            told |= {"type": "job"}
        ElementTree.SubElement(element, tag, told).text = _xml(entry.error) if tag == "error" else None


def _add_suite(root: ElementTree.Element, verdict: Verdict, subject: Subject) -> None:
    suite = ElementTree.SubElement(
        root, "testsuite", _counted(verdict, subject) | {"name": _xml(subject.name)}
    )
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in (
        ("verdict", verdict.status),
        ("model", subject.model),
        ("model_sha256", verdict.model_sha256),
        *subject.made,
    ):
        ElementTree.SubElement(properties, "property", {"name": _xml(name), "value": _xml(value)})
    for check, title in zip(verdict.checks, unique_titles(verdict.checks), strict=True):
        _add_case(suite, check, title, subject)
    ElementTree.SubElement(suite, "system-out").text = _xml("\n".join((headline(verdict), *verdict.notes)))


def _document(root: ElementTree.Element) -> str:
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode", xml_declaration=False)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _counted(verdict: Verdict, subject: Subject) -> dict[str, str]:
    statuses = [check.status for check in verdict.checks]
    return {
        "tests": str(len(statuses)),
        "failures": str(statuses.count("fail")),
        "errors": str(statuses.count("error")),
        "skipped": str(statuses.count("skipped")),
        "time": f"{subject.seconds:.3f}",
    }


def _add_case(suite: ElementTree.Element, check: Check, title: str, subject: Subject) -> None:
    path, line = subject.place(check)
    case = {"classname": f"{subject.name}.{check.link}", "name": title, "time": "0", "file": path}
    if line is not None:
        case["line"] = str(line)
    element = ElementTree.SubElement(suite, "testcase", {key: _xml(value) for key, value in case.items()})
    tag = TAGS.get(check.status)
    if tag is None:
        return
    told = {"message": _xml(message_of(check))}
    if tag == "skipped":
        ElementTree.SubElement(element, tag, told)
        return
    ElementTree.SubElement(element, tag, told | {"type": check.name}).text = _xml(_told(check))


def _told(check: Check) -> str:
    """What came of a check, what that means, and what to do."""
    lines = [f"{title_of(check)} {SAID[check.status]}: {message_of(check)}"]
    known = EXPLAINED.get(check.name)
    if known is not None:
        lines += [f"means: {known.means}", f"fails: {known.fails}", f"do: {known.do}"]
    return "\n".join(lines)


def _xml(text: str) -> str:
    """The text with what XML cannot hold as Python writes it: \\x00."""
    return _NO_XML.sub(lambda found: repr(found[0])[1:-1], text)
