"""The reports that a command writes beside its answer: which it was asked for, and where they go."""

import functools
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from onnxproof.cli._options import Command
from onnxproof.errors import RequestError
from onnxproof.progress import Stages
from onnxproof.runtime.folder import refuse_in_bundle
from onnxproof.runtime.manifest import Manifest
from onnxproof.system.disk import not_there
from onnxproof.system.extras import require_extra
from onnxproof.system.files import append_bytes, check_file, explained, lies_in, refuse_inputs, write_text
from onnxproof.system.folders import made_folder
from onnxproof.system.imports import imported
from onnxproof.text import one_line
from onnxproof.validate.report.card import made_of
from onnxproof.validate.report.entries import Entry
from onnxproof.validate.report.subject import Drawing, Subject, lines_of
from onnxproof.validate.verdict import Verdict

WRITERS = {"--junit": "junit", "--sarif": "sarif", "--html": "html", "--markdown": "markdown"}
"""The module, and the function in it, that writes what each option asks for."""

WRITERS_OF_MANY = {
    "--junit": ("junit", "junit_of_many"),
    "--sarif": ("sarif", "sarif_of_many"),
    "--html": ("html", "html_of_many"),
    "--markdown": ("many", "markdown_of_many"),
}
"""The module and the function that writes it for many jobs."""

EXTRA_OF = {"--html": "report"}
"""The extra that an option needs."""

OURS = {
    "--junit": re.compile(rb'<testsuites [^>]*name="onnxproof"'),
    "--sarif": re.compile(rb'"onnxproof'),
    "--html": re.compile(rb"\(onnxproof\)</title>"),
    "--markdown": re.compile(rb"\A# (.+: (pass|fail|error)\s*$|\d+ jobs?: )", re.MULTILINE),
}
"""How each option's report begins, so that a file which is something else is not replaced."""

LOOKED_AT = 1 << 16
"""Bytes of a file in which its report has said so."""

SUMMARY = "GITHUB_STEP_SUMMARY"
"""The environment variable with the file that GitHub shows as the step's summary, and appends to."""


@dataclass(frozen=True, slots=True)
class Reports:
    """The files to write by their options, and whether GitHub is told."""

    files: tuple[tuple[str, Path], ...]
    github: bool

    def prepare(
        self,
        read: Callable[[], Iterable[Path]],
        *,
        written: Iterable[Path] = (),
        bundles: Iterable[Path] = (),
    ) -> None:
        """Raise RequestError, before the work, if a report cannot be written.

        ``read`` are the command's inputs, ``written`` its other outputs, and ``bundles`` the folders that it
        is about to write. Raises MissingPackageError if a report needs a package that is missing.
        """
        told = [(SUMMARY, file) for file in [_summary()] if self.github and file is not None]
        if not self.files and not told:
            return
        for _, file in told:
            _require_appendable(file)
        taken = {_real(path): "this command's own output" for path in written}
        replaced = {_real(folder) for folder in bundles}
        places = (*taken, *replaced, *(_real(file) for _, file in self.files))
        for flag, file in (*self.files, *told):
            if flag in EXTRA_OF:
                require_extra(EXTRA_OF[flag], flag)
            if (other := taken.setdefault(_real(file), flag)) != flag:
                raise RequestError(f"{flag} {file} is written by {other}, too: name another file")
            if (here := _real(file)) in replaced or any(here in place.parents for place in places):
                raise RequestError(
                    f"{flag} {file} is a folder that this command writes into, too: name another file"
                )
            if any(folder in here.parents for folder in replaced):
                raise RequestError(f"{flag} {file} lies in the bundle that is written: name another place")
            if flag != SUMMARY:
                refuse_in_bundle(file, flag)
                check_file(file, flag)
        inputs = list(read())
        for flag, file in (*self.files, *told):
            refuse_inputs([file], inputs, flag)
            if folder := next((one for one in inputs if one.is_dir() and lies_in(file, one)), None):
                raise RequestError(f"{flag} {file} lies in {folder}, which is read: name another place")
            if flag != SUMMARY:
                _require_report(file, flag)

    def refuse_without_verdict(self) -> None:
        """Raise RequestError if reports were asked for, although there will be no verdict."""
        if self.files:
            raise RequestError(f"{self.files[0][0]} reports a verdict: leave out --no-validate")

    def write(self, verdict: Verdict, subject: Callable[[], Subject]) -> None:
        """Write the files, and tell GitHub. Raises RequestError if a file cannot be written."""
        if not self.files and not self.github:
            return
        told = subject()
        self._write(lambda flag: _report(WRITERS[flag], WRITERS[flag])(verdict, told))
        if self.github:
            lines = _report("github", "annotations")(verdict, told)
            _tell_github(lines, lambda: _report("markdown", "markdown")(verdict, told))

    def write_many(self, entries: Sequence[Entry]) -> None:
        """As ``write``, of many jobs: each file is one report on all of them."""
        self._write(lambda flag: _report(*WRITERS_OF_MANY[flag])(entries))
        if self.github:
            lines = _report("github", "annotations_of_many")(entries)
            _tell_github(lines, lambda: _report("many", "markdown_of_many")(entries))

    def _write(self, content: Callable[[str], str]) -> None:
        for flag, file in self.files:
            with explained(file, flag, "file"), made_folder(file.parent):
                write_text(file, content(flag))


def _report(module: str, name: str) -> Callable[..., Any]:
    """A function that writes a report, imported now."""
    found: Callable[..., Any] = getattr(imported(f"onnxproof.validate.report.{module}"), name)
    return found


_REPORTS = (
    ("--junit", "Write the checks as a JUnit report."),
    ("--sarif", "Write what did not pass as SARIF 2.1.0."),
    ("--html", "Write the whole verdict as one HTML file, for people."),
    ("--markdown", "Write the verdict as Markdown."),
)

ON_GITHUB = "GITHUB_ACTIONS"
"""The environment variable that is "true" in GitHub's workflows."""


def report_options(command: Command) -> Command:
    """Give a command that reaches a verdict the options that say which reports to write, as ``reports``."""

    @functools.wraps(command)
    def with_reports(*args: Any, github: bool | None, **options: Any) -> Any:
        given = {flag: options.pop(flag.removeprefix("--")) for flag in WRITERS}
        files = tuple((flag, file) for flag, file in given.items() if file is not None)
        on = os.environ.get(ON_GITHUB) == "true" if github is None else github
        return command(*args, reports=Reports(files, on), **options)

    optioned: Command = click.option(
        "--github/--no-github",
        default=None,
        help="Annotate the job file, and append to the step summary, in GitHub's workflows. "
        "On by itself in one.",
    )(with_reports)
    for flag, said in reversed(_REPORTS):
        optioned = click.option(flag, metavar="FILE", type=click.Path(path_type=Path), help=said)(optioned)
    return optioned


def _summary() -> Path | None:
    """The file that GitHub shows as the step's summary. Returns None if none is named."""
    named = os.environ.get(SUMMARY)
    return Path(named) if named else None


def _require_appendable(file: Path) -> None:
    """Raise RequestError for a pipe, which is written to only once somebody reads it, or a socket.

    A folder, or a file that cannot be written, is told in the end: the verdict does not depend on it.
    """
    if file.exists() and not (file.is_file() or file.is_dir() or file.is_char_device()):
        raise RequestError(f"{SUMMARY} {file} {not_there(file)}: name a file, or give --no-github")


def _tell_github(annotations: Iterable[str], text: Callable[[], str]) -> None:
    """Annotate the job files, on standard error, and append a text to the step's summary."""
    for line in annotations:
        click.echo(line, err=True)
    summary = _summary()
    if summary is not None:
        try:
            # GitHub appends to one file what all steps write: another's last line may have no end.
            append_bytes(summary, f"\n{text()}\n".encode())
        except OSError as error:  # The verdict does not depend on it.
            click.echo(one_line(f"onnxproof: the step summary cannot be written ({error})"), err=True)


def subject_of(
    model: Path,
    stages: Stages,
    *,
    name: str | None = None,
    job: Path | None = None,
    manifest: Manifest | None = None,
    drawings: Iterable[Path] = (),
) -> Subject:
    """What a verdict is on. ``manifest`` is the bundle's, if there is one."""
    lines = {}
    if job is not None:
        lines = lines_of(job.read_text(encoding="utf-8", errors="replace"))
    return Subject(
        name=name or (manifest.contract.name if manifest is not None else model.stem),
        model=_told(model),
        job=None if job is None else _told(job),
        lines=lines,
        made=() if manifest is None else made_of(manifest),
        command=shlex.join(["onnxproof", *sys.argv[1:]]),
        stages=tuple(stages.seconds.items()),
        drawings=tuple(Drawing(path.name, path.read_bytes()) for path in drawings),
    )


def _told(path: Path) -> str:
    """A path from the folder that GitHub checked out, or from the working directory, if it lies in it."""
    root = Path(os.environ.get("GITHUB_WORKSPACE") or ".").resolve()
    whole = Path(os.path.abspath(path))  # noqa: PTH100
    return whole.relative_to(root).as_posix() if whole.is_relative_to(root) else whole.as_posix()


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _require_report(file: Path, flag: str) -> None:
    """Raise RequestError if a file is there that is neither empty nor a report of the option's kind."""
    if not file.is_file():
        return
    with file.open("rb") as stream:
        begins = stream.read(LOOKED_AT)
    if begins and not OURS[flag].search(begins):
        raise RequestError(
            f"{flag} {file} is there and is no report of onnxproof's: name another file, or remove it"
        )
