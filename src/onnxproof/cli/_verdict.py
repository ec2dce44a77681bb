"""How a command answers with a verdict."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from onnxproof.cli._document import show_json
from onnxproof.cli._reports import Reports
from onnxproof.cli._terminal import show_table, show_verdict
from onnxproof.runtime.folder import is_verdict, refuse_in_bundle
from onnxproof.system.files import check_file, explained, refuse_inputs, write_json
from onnxproof.system.folders import made_folder
from onnxproof.system.own_file import refuse_foreign
from onnxproof.validate.baseline import SideBySide, read_baseline, side_by_side
from onnxproof.validate.facts_json import in_words
from onnxproof.validate.report.against import against_table
from onnxproof.validate.report.subject import Subject
from onnxproof.validate.verdict import Verdict


def prepare_answer(file: Path | None, read: Callable[[], Sequence[Path]], reports: Reports) -> None:
    """Raise RequestError, before the work, if the verdict's document or a report cannot be written.

    ``file`` is where the document goes, if anywhere. ``read`` are the command's inputs.
    """
    if file is not None:
        refuse_target(file, read)
    reports.prepare(read, written=() if file is None else (file,))


def refuse_target(file: Path, read: Callable[[], Sequence[Path]] = tuple) -> None:
    """Raise RequestError, before the work, if a verdict's document cannot be written to ``file``, or would
    replace a file that is none, or one of the command's inputs, ``read``."""
    refuse_in_bundle(file.parent)
    check_file(file, "--out", "folder")
    refuse_inputs([file], read())
    refuse_foreign(file, is_verdict, "verdict")


def with_baseline(verdict: Verdict, baseline: Path | None) -> tuple[dict[str, Any], SideBySide | None]:
    """The verdict's document, and with a baseline both side by side, which its key "against" has, too."""
    document = verdict.to_json()
    if baseline is None:
        return document, None
    found = side_by_side(verdict, read_baseline(baseline))
    told: dict[str, Any] = in_words({**document, "against": found.to_json()})
    return told, found


def show_against(found: SideBySide | None, *, as_json: bool, quiet: bool) -> None:
    """Print a verdict and its baseline side by side, if there is one."""
    if found is not None and not quiet:
        show_table(against_table(found), json_only=as_json)


def answer_verdict(
    verdict: Verdict,
    file: Path | None,
    *,
    as_json: bool,
    quiet: bool,
    reports: Reports,
    subject: Callable[[], Subject],
    baseline: Path | None = None,
) -> int:
    """Print a verdict, write its document to ``file`` if that is given, and its reports. Returns the exit
    code. ``subject`` says what the reports call what the verdict is on. ``baseline`` is the older verdict
    that it was held to. The files are written even if nothing can be printed."""
    document, against = with_baseline(verdict, baseline)
    try:
        code = show_verdict(verdict, json_only=as_json, quiet=quiet)
        show_against(against, as_json=as_json, quiet=quiet)
    finally:
        if file is not None:
            with explained(file.parent), made_folder(file.parent):
                write_json(file, document)
        reports.write(verdict, subject)
    if as_json:
        show_json(document)
    return code
