"""onnxproof export."""

from pathlib import Path
from typing import Any

import click

import onnxproof
from onnxproof.cli._document import show_json
from onnxproof.cli._jobs import Many, answer_many, many_options
from onnxproof.cli._options import baseline_option, json_option, quiet_option
from onnxproof.cli._reports import Reports, report_options, subject_of
from onnxproof.cli._terminal import show_verdict, timed_progress
from onnxproof.cli._verdict import show_against, with_baseline
from onnxproof.errors import RequestError
from onnxproof.export.bundle import PICTURES_FOLDER
from onnxproof.job import Job
from onnxproof.job.asked import files_read
from onnxproof.progress import Stages
from onnxproof.runs.plan import makes_many, plan_export
from onnxproof.runtime.folder import MODEL_FILE
from onnxproof.steps.look_first import refuse_to_export
from onnxproof.text import one_line
from onnxproof.validate.baseline import read_baseline
from onnxproof.validate.report.notes import folded
from onnxproof.validate.report.subject import Subject


@click.command("export")
@click.argument("jobs", metavar="JOB|CHECKPOINT", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out",
    default=Path("dist"),
    show_default=True,
    type=click.Path(path_type=Path),
    help="The folder that the bundle's own folder is written into.",
)
@click.option("--set", "set", multiple=True, metavar="SECTION.KEY=VALUE", help="Replace a value of the job.")
@click.option("--no-validate", is_flag=True, help="Write the bundle without a verdict.")
@baseline_option
@many_options(force=True)
@json_option
@quiet_option
@report_options
def command(
    jobs: tuple[Path, ...],
    out: Path,
    set: tuple[str, ...],
    no_validate: bool,
    baseline: Path | None,
    as_json: bool,
    quiet: bool,
    reports: Reports,
    many: Many,
) -> int:
    """Export the checkpoint that JOB names, prove the file, and write the bundle OUT/<job name>.

    For a CHECKPOINT without a job, the job is the one that onnxproof init writes. Of many jobs, and of those
    of a matrix, the ones that are up to date are left alone; the exit code is the worst.
    """
    if len(jobs) > 1 or many.asked or makes_many(jobs[0], set):
        _refuse_without_verdict(no_validate, baseline, reports)
        planned = plan_export(
            jobs, out=out, set=set, only=many.only, validate=not no_validate, baseline=baseline
        )
        return answer_many(planned, many, reports, as_json=as_json, quiet=quiet)
    return _one(jobs[0], out, set, no_validate, baseline, as_json, quiet, reports)


def _one(
    job: Path,
    out: Path,
    set: tuple[str, ...],
    no_validate: bool,
    baseline: Path | None,
    as_json: bool,
    quiet: bool,
    reports: Reports,
) -> int:
    if baseline is not None:
        read_baseline(baseline)
    read = refuse_to_export(job, out, set)
    _refuse_without_verdict(no_validate, baseline, reports)
    known = read if isinstance(read, Job) else None
    bundles = [] if known is None else [out / known.name]
    reports.prepare(lambda: files_read(job, known), bundles=bundles)
    with timed_progress(quiet=quiet) as stages:
        bundle = onnxproof.export(
            known or job,
            out=out,
            set=() if known else set,
            validate=not no_validate,
            baseline=baseline,
            progress=stages,
        )
    code, parity = 0, None
    try:
        if bundle.verdict is not None:
            code = show_verdict(bundle.verdict, json_only=as_json, quiet=quiet)
        if bundle.lowered is not None and bundle.lowered.verdict is not None:
            code = show_verdict(bundle.lowered.verdict, json_only=as_json, quiet=quiet)
        if bundle.verdict is not None:
            parity, against = with_baseline(bundle.verdict, baseline)
            show_against(against, as_json=as_json, quiet=quiet)
    finally:  # even if nothing can be printed
        if bundle.verdict is not None:
            reports.write(bundle.verdict, lambda: _subject(job if known else None, bundle, stages))
    if as_json:
        document = {"bundle": str(bundle.path), "manifest": bundle.manifest.to_json(), "parity": parity}
        show_json(document if bundle.lowered is None else {**document, "lowered": _document(bundle.lowered)})
    elif not quiet:
        if bundle.verdict is None:
            for note in folded(bundle.notes):
                click.echo(one_line(f"note: {note}"), err=True)
        click.echo(one_line(str(bundle)))
        if bundle.lowered is not None:
            click.echo(str(bundle.lowered))
    return code


def _document(bundle: "onnxproof.Bundle") -> dict[str, Any]:
    """A bundle of lower precision in the document of --json."""
    parity = None if bundle.verdict is None else bundle.verdict.to_json()
    return {"bundle": str(bundle.path), "manifest": bundle.manifest.to_json(), "parity": parity}


def _refuse_without_verdict(no_validate: bool, baseline: Path | None, reports: Reports) -> None:
    if no_validate and baseline is not None:
        raise RequestError("--baseline with --no-validate: nothing is judged that could be held to it")
    if no_validate:
        reports.refuse_without_verdict()


def _subject(job: Path | None, bundle: "onnxproof.Bundle", stages: Stages) -> Subject:
    """What the reports call the bundle. ``job`` is the job's file, if there is one."""
    return subject_of(
        bundle.path / MODEL_FILE,
        stages,
        job=job,
        manifest=bundle.manifest,
        drawings=sorted((bundle.path / PICTURES_FOLDER).glob("*.png")),
    )
