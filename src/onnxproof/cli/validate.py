"""onnxproof validate."""

import json
from pathlib import Path

import click

from onnxproof.cli._document import show_json
from onnxproof.cli._folder import explained, try_folder
from onnxproof.cli._terminal import progress, show_verdict
from onnxproof.pipeline import PARITY_FILE, validate


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
    help="Where the checkpoint lies now, of a bundle that moved; its SHA-256 must be the manifest's.",
)
@click.option(
    "--trust", is_flag=True, help="Run the code that a bundle names; take a checkpoint that is another."
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="SECTION.KEY=VALUE",
    help="Replace a value of the job, a bundle's too.",
)
@click.option("--json", "as_json", is_flag=True, help="Print parity.json's document and nothing else.")
def command(
    source: Path,
    onnx_file: Path | None,
    out: Path | None,
    checkpoint: Path | None,
    trust: bool,
    overrides: tuple[str, ...],
    as_json: bool,
) -> int:
    """Hold an ONNX file against the checkpoint that JOB or BUNDLE names."""
    if out is not None:
        try_folder(out)
    with progress() as report:
        verdict = validate(
            source,
            onnx_file=onnx_file,
            checkpoint=checkpoint,
            overrides=overrides,
            trust=trust,
            progress=report,
        )
    code = show_verdict(verdict, json_only=as_json)
    document = verdict.to_json()
    if out is not None:
        with explained(out):
            (out / PARITY_FILE).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    if as_json:
        show_json(document)
    return code
