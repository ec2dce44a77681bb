"""onnxproof check."""

from pathlib import Path

import click

from onnxproof.check import check
from onnxproof.cli._options import json_option, map_option, mapping_of, quiet_option
from onnxproof.cli._terminal import progress
from onnxproof.cli._verdict import answer_verdict
from onnxproof.export.bundle import PARITY_FILE
from onnxproof.files import check_folder, refuse_inputs
from onnxproof.runtime.folder import model_files
from onnxproof.source import find_pictures


@click.command("check")
@click.argument("onnx", metavar="MODEL.onnx", type=click.Path(path_type=Path))
@click.option(
    "--against", required=True, metavar="CHECKPOINT", type=click.Path(path_type=Path), help="The checkpoint."
)
@click.option("--images", metavar="PATTERN", help="Pictures to decide on, such as 'pictures/*.png'.")
@map_option
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="SECTION.KEY=VALUE",
    help="What cannot be found out, as a job says it: model.variant=NAME.",
)
@click.option("--out", type=click.Path(path_type=Path), help="A folder to write parity.json into.")
@json_option
@quiet_option
def command(
    onnx: Path,
    against: Path,
    images: str | None,
    pairs: tuple[str, ...],
    overrides: tuple[str, ...],
    out: Path | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Check MODEL.onnx, whoever exported it, against a checkpoint.

    Family, task and sizes, which output is which, and how the file takes pictures are found out. The notes of
    the verdict say what was found.
    """
    if out is not None:
        check_folder(out)
        read = [*model_files(onnx), against, *find_pictures(images, Path())]
        refuse_inputs([out / PARITY_FILE], read)
    with progress(quiet=quiet) as report:
        verdict = check(
            onnx,
            against=against,
            images=images,
            map=mapping_of(pairs),
            overrides=overrides,
            progress=report,
        )
    file = None if out is None else out / PARITY_FILE
    return answer_verdict(verdict, file, as_json=as_json, quiet=quiet)
