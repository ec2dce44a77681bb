"""A verdict for GitHub Actions: workflow commands that annotate a file. The step summary is Markdown."""

from onnxproof.validate.report.subject import Subject
from onnxproof.validate.report.words import headline, message_of, title_of
from onnxproof.validate.verdict import Verdict

MOST = 10
"""How many errors GitHub shows of one step; the last one then says how many more there are."""


def annotations(verdict: Verdict, subject: Subject) -> tuple[str, ...]:
    """A workflow command for each check that failed or could not be run; for a pass there is none."""
    told = [check for status in ("fail", "error") for check in verdict.checks if check.status == status]
    shown = told if len(told) <= MOST else told[: MOST - 1]
    lines = []
    for check in shown:
        path, line = subject.place(check)
        lines.append(_command(path, line, f"{subject.name}: {title_of(check)}", message_of(check)))
    if len(shown) < len(told) or (not told and verdict.status != "pass"):
        more = f"{len(told) - len(shown)} more checks did not pass" if told else headline(verdict)
        lines.append(_command(subject.job or subject.model, None, subject.name, more))
    return tuple(lines)


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
