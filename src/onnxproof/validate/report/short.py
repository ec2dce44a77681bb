"""A verdict in a few lines, for the terminal and for ``print``."""

from typing import TYPE_CHECKING

from onnxproof.text import one_line
from onnxproof.validate.report.links import link_lines
from onnxproof.validate.report.notes import folded

if TYPE_CHECKING:  # the verdict prints itself with these functions
    from onnxproof.validate.verdict import Check, Verdict

STATUSES = ("pass", "fail", "error", "skipped")


def short_lines(verdict: "Verdict") -> tuple[tuple[str, str], ...]:
    """The status and the text of each line: the links, what did not pass, and the verdict."""
    lines = (*link_lines(verdict), *not_passed(verdict), verdict_line(verdict))
    return tuple((status, one_line(line)) for status, line in lines)


def not_passed(verdict: "Verdict") -> tuple[tuple[str, str], ...]:
    """The status and the line of each check that did not pass, those that failed first."""
    several = len(verdict.facts) > 1
    return tuple(
        (status, line)
        for status in STATUSES[1:]
        for line in folded(_line(check, several) for check in verdict.checks if check.status == status)
    )


def verdict_line(verdict: "Verdict") -> tuple[str, str]:
    """The verdict's status, and its line with the number of checks of each status."""
    counted = {status: sum(check.status == status for check in verdict.checks) for status in STATUSES}
    counts = ", ".join(f"{count} {status}" for status, count in counted.items() if count)
    return verdict.status, f"verdict: {verdict.status} (checks: {counts})"


def _line(check: "Check", several: bool) -> str:
    """The check in a line, with its leg if the verdict has several."""
    leg = f" of {check.leg}" if several and check.leg else ""
    field = f" {check.field}" if check.field else ""
    figures = "" if check.value is None else f" {check.value:.3g} (limit {check.limit:.3g})"
    return f"{check.status}: {check.name}{field}{leg}{figures}: {check.reason}"
