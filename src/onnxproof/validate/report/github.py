"""A verdict for GitHub Actions: workflow commands that annotate a file. The step summary is Markdown."""

from collections.abc import Sequence

from onnxproof.validate.report.entries import Entry, told
from onnxproof.validate.report.subject import Subject
from onnxproof.validate.report.words import headline, message_of, title_of
from onnxproof.validate.verdict import Verdict

MOST = 10
"""How many errors GitHub shows of one step; the last one then says how many more there are."""


def annotations(verdict: Verdict, subject: Subject) -> tuple[str, ...]:
    """A workflow command for each check that failed or could not be run; for a pass there is none."""
    wrong = [check for status in ("fail", "error") for check in verdict.checks if check.status == status]
    shown = wrong if len(wrong) <= MOST else wrong[: MOST - 1]
    lines = []
    for check in shown:
        path, line = subject.place(check)
        lines.append(_command(path, line, f"{subject.name}: {title_of(check)}", message_of(check)))
    if len(shown) < len(wrong) or (not wrong and verdict.status != "pass"):
        more = f"{len(wrong) - len(shown)} more checks did not pass" if wrong else headline(verdict)
        lines.append(_command(subject.job or subject.model, None, subject.name, more))
    return tuple(lines)


def annotations_of_many(entries: Sequence[Entry]) -> tuple[str, ...]:
    """Workflow commands for what did not pass, of all jobs together not more than GitHub shows."""
    lines: list[str] = []
    for one in entries:
        if one.verdict is not None:
            lines += annotations(one.verdict, one.subject)
        elif not one.good and one.state != "not run":
            subject = one.subject
            lines.append(_command(subject.job or subject.model, None, subject.name, one.error or one.state))
    if len(lines) <= MOST:
        return tuple(lines)
    place = entries[0].subject.job or entries[0].subject.model
    left = len(lines) - MOST + 1
    return (*lines[: MOST - 1], _command(place, None, "jobs", f"{left} more annotations; {told(entries)}"))


def _command(path: str, line: int | None, title: str, message: str) -> str:
    properties = {
        "file": path,
        **({} if line is None else {"line": str(line)}),
        "title": f"onnxproof {title}",
    }
    said = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
    return f"::error {said}::{_data(message)}"


def _data(text: str) -> str:
    """A message as the runner unescapes it: one line, with no bare per cent sign."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """A property's value: no colon and no comma either."""
    return _data(text).replace(":", "%3A").replace(",", "%2C")
