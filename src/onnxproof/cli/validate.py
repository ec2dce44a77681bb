"""onnxproof validate."""

from pathlib import Path

import click

from onnxproof.asked import inputs_of
from onnxproof.cli._options import checkpoint_options, map_option, mapping_of, onnx_option
from onnxproof.cli._terminal import progress
from onnxproof.cli._verdict import answer_verdict
from onnxproof.errors import RequestError
from onnxproof.export.bundle import PARITY_FILE
from onnxproof.files import check_folder, refuse_inputs
from onnxproof.pipeline import validate


@click.command("validate")
@click.argument("source", metavar="JOB|BUNDLE", type=click.Path(path_type=Path))
@onnx_option
@map_option
@click.option("--out", type=click.Path(path_type=Path), help="A folder to write parity.json into.")
@checkpoint_options
def command(
    source: Path,
    onnx: Path | None,
    pairs: tuple[str, ...],
    out: Path | None,
    checkpoint: Path | None,
    trust: bool,
    overrides: tuple[str, ...],
    as_json: bool,
    quiet: bool,
) -> int:
    """Check an ONNX file against the checkpoint that JOB or BUNDLE names."""
    if pairs and onnx is None:
        raise RequestError("--map is for a file from elsewhere: name it with --onnx FILE")
    if out is not None:
        check_folder(out)
        read = inputs_of(source, onnx=onnx, checkpoint=checkpoint, overrides=overrides)
        refuse_inputs([out / PARITY_FILE], read)
    with progress(quiet=quiet) as report:
        verdict = validate(
            source,
            onnx=onnx,
            map=mapping_of(pairs),
            checkpoint=checkpoint,
            overrides=overrides,
            trust=trust,
            progress=report,
        )
    file = None if out is None else out / PARITY_FILE
    return answer_verdict(verdict, file, as_json=as_json, quiet=quiet)
