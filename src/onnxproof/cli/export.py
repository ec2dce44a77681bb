"""onnxproof export."""

from pathlib import Path

import click

import onnxproof
from onnxproof.asked import inputs_of
from onnxproof.cli._document import show_json
from onnxproof.cli._options import baseline_option, json_option, quiet_option
from onnxproof.cli._reports import Reports, Stages, report_options, subject_of, timed_progress
from onnxproof.cli._terminal import show_verdict
from onnxproof.cli._verdict import with_baseline
from onnxproof.errors import RequestError
from onnxproof.export.bundle import PICTURES_FOLDER
from onnxproof.job import load_job
from onnxproof.look_first import refuse_to_export
from onnxproof.runtime.folder import MODEL_FILE
from onnxproof.source import JobFile, look_at
from onnxproof.validate.baseline import read_baseline
from onnxproof.validate.report.notes import folded
from onnxproof.validate.report.subject import Subject


@click.command("export")
@click.argument("job", metavar="JOB|CHECKPOINT", type=click.Path(path_type=Path))
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
@json_option
@quiet_option
@report_options
def command(
    job: Path,
    out: Path,
    set: tuple[str, ...],
    no_validate: bool,
    baseline: Path | None,
    as_json: bool,
    quiet: bool,
    reports: Reports,
) -> int:
    """Export the checkpoint that JOB names, prove the file, and write the bundle OUT/<job name>.

    For a CHECKPOINT without a job, the job is the one that onnxproof init writes.
    """
    if baseline is not None:
        read_baseline(baseline)
        if no_validate:
            raise RequestError("--baseline with --no-validate: nothing is judged that could be held to it")
    refuse_to_export(job, out, set)
    if no_validate:
        reports.refuse_without_verdict()
    elif reports.files:
        bundle_of_job = out / load_job(job, set).name if isinstance(look_at(job), JobFile) else None
        reports.prepare(lambda: inputs_of(job, set=set), bundle=bundle_of_job)
    with timed_progress(quiet=quiet) as stages:
        bundle = onnxproof.export(
            job,
            out=out,
            set=set,
            validate=not no_validate,
            baseline=baseline,
            progress=stages,
        )
    code = 0 if bundle.verdict is None else show_verdict(bundle.verdict, json_only=as_json, quiet=quiet)
    parity = None
    if bundle.verdict is not None:
        parity = with_baseline(bundle.verdict, baseline, as_json=as_json, quiet=quiet)
        reports.write(bundle.verdict, lambda: _subject(job, bundle, stages))
    if as_json:
        show_json({"bundle": str(bundle.path), "manifest": bundle.manifest.to_json(), "parity": parity})
    elif not quiet:
        if bundle.verdict is None:
            for note in folded(bundle.notes):
                click.echo(f"note: {note}", err=True)
        click.echo(str(bundle))
    return code


def _subject(job: Path, bundle: "onnxproof.Bundle", stages: Stages) -> Subject:
    """What the reports call the bundle."""
    return subject_of(
        bundle.path / MODEL_FILE,
        stages,
        job=job if isinstance(look_at(job), JobFile) else None,
        manifest=bundle.manifest,
        drawings=sorted((bundle.path / PICTURES_FOLDER).glob("*.png")),
    )
