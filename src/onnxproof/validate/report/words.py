"""A verdict and its checks in words that several reports share."""

from collections import Counter
from collections.abc import Iterable, Iterator

from onnxproof.text import one_line
from onnxproof.validate.report.notes import for_people
from onnxproof.validate.verdict import Check, Verdict

STATUSES = ("fail", "error", "skipped", "pass")
"""The statuses of checks, those that a reader has to act on first."""

SAID = {"pass": "passed", "fail": "failed", "error": "could not be run", "skipped": "skipped"}
"""What came of a check, as the end of a sentence."""


def headline(verdict: Verdict) -> str:
    """The verdict in a sentence."""
    checks = verdict.checks
    subject = "B" if verdict.pairing is not None else "the file"
    if verdict.status == "pass":
        passed = sum(check.status == "pass" for check in checks)
        return f"Pass: {subject} is proven right by {passed} checks."
    first = next((link for link in verdict.links if link.status == verdict.status), None)
    where = "" if first is None else f", first in the link {first.link}"
    if verdict.status == "fail":
        failed = sum(check.status == "fail" for check in checks)
        return f"Fail: {failed} of {len(checks)} checks failed{where}. Do not ship this file."
    stuck = sum(check.status == "error" for check in checks)
    if not stuck:
        return "No verdict: no check passed, so nothing is proven."
    return f"No verdict: {stuck} of {len(checks)} checks could not be run{where}."


def counts(verdict: Verdict) -> str:
    """How many checks have which status: "45 pass, 1 skipped"."""
    found = ((status, sum(check.status == status for check in verdict.checks)) for status in STATUSES)
    return ", ".join(f"{count} {status}" for status, count in found if count) or "none"


def title_of(check: Check) -> str:
    """The check's name, its field and its leg."""
    field = f" {check.field}" if check.field else ""
    leg = f" ({check.leg})" if check.leg else ""
    return one_line(f"{check.name}{field}{leg}")


def unique_titles(checks: Iterable[Check]) -> tuple[str, ...]:
    """Each check's title; one that came before gets a number: "ratio_rms score (ort-cpu) 2"."""
    seen: Counter[str] = Counter()
    titles = []
    for title in map(title_of, checks):
        seen[title] += 1
        titles.append(title if seen[title] == 1 else f"{title} {seen[title]}")
    return tuple(titles)


def figures_of(check: Check) -> str:
    """The check's figure and its limit; empty if it has none."""
    if check.value is None:
        return ""
    return f"{check.value:.3g}" if check.limit is None else f"{check.value:.3g} (limit {check.limit:.3g})"


def message_of(check: Check) -> str:
    """Figure, limit and reason in one line."""
    reason = for_people(check.reason)
    return one_line(": ".join(filter(None, (figures_of(check), reason)))) or SAID[check.status]


def not_passed(verdict: Verdict) -> Iterator[Check]:
    """The checks that failed, then those that could not be run, then those that were skipped."""
    for status in ("fail", "error", "skipped"):
        yield from (check for check in verdict.checks if check.status == status)
