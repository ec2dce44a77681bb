"""onnxproof validate."""

from pathlib import Path

import click

from onnxproof.asked import inputs_of
from onnxproof.cli._document import show_json
from onnxproof.cli._terminal import progress, quiet_option, show_verdict
from onnxproof.export.bundle import PARITY_FILE
from onnxproof.files import check_folder, explained, refuse_inputs, write_json
from onnxproof.pipeline import validate


@click.command("validate")
@click.argument("source", metavar="JOB|BUNDLE", type=click.Path(path_type=Path))
@click.option(
    "--onnx",
    "onnx_file",
    type=click.Path(path_type=Path),
    help="The ONNX file to judge, in place of the bundle's own.",
)
@click.option("--out", type=click.Path(path_type=Path), help="A folder to write parity.json into.")
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path),
    help="The checkpoint of a bundle that was moved; its SHA-256 must be the manifest's.",
)
@click.option(
    "--trust", is_flag=True, help="Run the code that a bundle names; accept a checkpoint of another SHA-256."
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="SECTION.KEY=VALUE",
    help="Replace a value of the job, or of a bundle's job.",
)
@click.option("--json", "as_json", is_flag=True, help="Print parity.json's document and nothing else.")
@quiet_option
def command(
    source: Path,
    onnx_file: Path | None,
    out: Path | None,
    checkpoint: Path | None,
    trust: bool,
    overrides: tuple[str, ...],
    as_json: bool,
    quiet: bool,
) -> int:
    """Check an ONNX file against the checkpoint that JOB or BUNDLE names."""
    if out is not None:
        check_folder(out)
        read = inputs_of(source, onnx_file=onnx_file, checkpoint=checkpoint, overrides=overrides)
        refuse_inputs([out / PARITY_FILE], read)
    with progress(quiet=quiet) as report:
        verdict = validate(
            source,
            onnx_file=onnx_file,
            checkpoint=checkpoint,
            overrides=overrides,
            trust=trust,
            progress=report,
        )
    code = show_verdict(verdict, json_only=as_json, quiet=quiet)
    document = verdict.to_json()
    if out is not None:
        with explained(out):
            out.mkdir(parents=True, exist_ok=True)
            write_json(out / PARITY_FILE, document)
    if as_json:
        show_json(document)
    return code
