"""What did not pass, the notes and the verdict, a line each."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from onnxproof.validate.checks import Check, Status
from onnxproof.validate.report.notes import folded

STATUSES = ("pass", "fail", "error", "skipped")


def not_passed(checks: Sequence[Check], *, several: bool) -> tuple[tuple[str, str], ...]:
    """The status and the line of each check that did not pass, those that failed first.

    A line names the check's leg if there are ``several``. Fields that share a reason are in one line.
    """
    return tuple(
        (status, line)
        for status in STATUSES[1:]
        for line in folded(
            _line(check, several) for check in _joined(check for check in checks if check.status == status)
        )
    )


def _joined(checks: Iterable[Check]) -> Iterator[Check]:
    """The checks. Those without a figure that differ by nothing but the field become one, with all fields."""
    groups: dict[Check | int, list[Check]] = {}
    for number, check in enumerate(checks):
        alone = check.value is not None or check.field is None
        groups.setdefault(number if alone else replace(check, field=None), []).append(check)
    for first, *others in groups.values():
        fields = dict.fromkeys(str(check.field) for check in (first, *others))
        yield replace(first, field=", ".join(fields)) if others else first


def note_lines(notes: Iterable[str]) -> tuple[str, ...]:
    """A line for each note. One that comes more often is told once, with a count."""
    return tuple(f"note: {note}" for note in folded(notes))


def verdict_line(verdict: Status, checks: Iterable[Check]) -> tuple[str, str]:
    """The verdict's status, and its line with the number of checks of each status."""
    found = [check.status for check in checks]
    counts = ", ".join(f"{found.count(status)} {status}" for status in STATUSES if status in found)
    return verdict, f"verdict: {verdict} (checks: {counts})"


def _line(check: Check, several: bool) -> str:
    leg = f" of {check.leg}" if several and check.leg else ""
    field = f" {check.field}" if check.field else ""
    figures = "" if check.value is None else f" {check.value:.3g} (limit {check.limit:.3g})"
    return f"{check.status}: {check.name}{field}{leg}{figures}: {check.reason}"
