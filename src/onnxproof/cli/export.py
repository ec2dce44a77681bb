"""onnxproof export."""

from pathlib import Path

import click

from onnxproof.cli._document import show_json
from onnxproof.cli._options import json_option, quiet_option
from onnxproof.cli._terminal import progress, show_verdict
from onnxproof.pipeline import export
from onnxproof.validate.report.notes import folded


@click.command("export")
@click.argument("job", metavar="JOB|CHECKPOINT", type=click.Path(path_type=Path))
@click.option(
    "--out",
    default=Path("dist"),
    show_default=True,
    type=click.Path(path_type=Path),
    help="The folder that the bundle's own folder is written into.",
)
@click.option(
    "--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", help="Replace a value of the job."
)
@click.option("--no-validate", is_flag=True, help="Write the bundle without a verdict.")
@json_option
@quiet_option
def command(
    job: Path, out: Path, overrides: tuple[str, ...], no_validate: bool, as_json: bool, quiet: bool
) -> int:
    """Export the checkpoint that JOB names, prove the file, and write the bundle OUT/<job name>.

    For a CHECKPOINT without a job, the job is the one that onnxproof init writes.
    """
    with progress(quiet=quiet) as report:
        bundle = export(job, out=out, overrides=overrides, validate=not no_validate, progress=report)
    code = 0 if bundle.verdict is None else show_verdict(bundle.verdict, json_only=as_json, quiet=quiet)
    if as_json:
        verdict = None if bundle.verdict is None else bundle.verdict.to_json()
        show_json({"bundle": str(bundle.path), "manifest": bundle.manifest.to_json(), "parity": verdict})
    elif not quiet:
        manifest = bundle.manifest
        if bundle.verdict is None:
            for note in folded(bundle.notes):
                click.echo(f"note: {note}", err=True)
        click.echo(
            f"{bundle.path}: {manifest.exporter}, opset {manifest.opset}, simplify {manifest.simplify}, "
            f"SHA-256 {str(manifest.model_sha256)[:12]}"
        )
    return code
