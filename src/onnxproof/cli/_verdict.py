"""How a command answers with a verdict."""

from collections.abc import Callable
from pathlib import Path

from onnxproof.cli._document import show_json
from onnxproof.cli._reports import Reports
from onnxproof.cli._terminal import show_verdict
from onnxproof.files import explained, write_json
from onnxproof.validate.report.subject import Subject
from onnxproof.validate.verdict import Verdict


def answer_verdict(
    verdict: Verdict,
    file: Path | None,
    *,
    as_json: bool,
    quiet: bool,
    reports: Reports,
    subject: Callable[[], Subject],
) -> int:
    """Print a verdict, write its document to ``file`` if that is given, and its reports. Returns the exit
    code. ``subject`` says what the reports call what the verdict is on."""
    code = show_verdict(verdict, json_only=as_json, quiet=quiet)
    document = verdict.to_json()
    if file is not None:
        with explained(file.parent):
            file.parent.mkdir(parents=True, exist_ok=True)
            write_json(file, document)
    reports.write(verdict, subject)
    if as_json:
        show_json(document)
    return code
