"""onnxproof check."""

from pathlib import Path

import click

import onnxproof
from onnxproof.cli._options import baseline_option, json_option, map_option, mapping_of, quiet_option
from onnxproof.cli._pictures import TakesPictures, check_drawings
from onnxproof.cli._reports import Reports, report_options, subject_of
from onnxproof.cli._terminal import timed_progress
from onnxproof.cli._verdict import answer_verdict, prepare_answer
from onnxproof.runtime.drawings import drawing_names
from onnxproof.runtime.folder import PARITY_FILE, model_files
from onnxproof.source import find_pictures, model_at
from onnxproof.steps.look_first import refuse_to_check
from onnxproof.validate.baseline import files_of, read_baseline


@click.command("check", cls=TakesPictures)
@click.argument("onnx", metavar="MODEL.onnx", type=click.Path(path_type=Path))
@click.option(
    "--against", required=True, metavar="CHECKPOINT", type=click.Path(path_type=Path), help="The checkpoint."
)
@click.option("--images", metavar="PATTERN", help="Pictures to decide on, such as 'pictures/*.png'.")
@map_option
@click.option(
    "--set",
    "set",
    multiple=True,
    metavar="SECTION.KEY=VALUE",
    help="What cannot be found out, as a job says it: model.variant=NAME.",
)
@click.option("--out", type=click.Path(path_type=Path), help="A folder to write parity.json into.")
@click.option(
    "--draw",
    type=click.Path(path_type=Path),
    help="A folder to write the pictures of --images into, with what the file decides on them.",
)
@baseline_option
@json_option
@quiet_option
@report_options
def command(
    onnx: Path,
    against: Path,
    images: str | None,
    pairs: tuple[str, ...],
    set: tuple[str, ...],
    out: Path | None,
    draw: Path | None,
    baseline: Path | None,
    as_json: bool,
    quiet: bool,
    reports: Reports,
) -> int:
    """Check MODEL.onnx, whoever exported it, against a checkpoint.

    Family, task and sizes, which output is which, and how the file takes pictures are found out. The notes of
    the verdict say what was found.
    """
    if baseline is not None:
        read_baseline(baseline)
    refuse_to_check(onnx, against, set)
    images_there = find_pictures(images, Path())
    names = mapping_of(pairs)
    file = None if out is None else out / PARITY_FILE

    def read() -> list[Path]:
        return [*model_files(onnx), against, *images_there, *files_of(baseline)]

    prepare_answer(file, read, reports)
    if draw is not None:
        check_drawings(draw, drawing_names(images_there), read())
    with timed_progress(quiet=quiet) as stages:
        verdict = onnxproof.check(
            onnx,
            against=against,
            images=images,
            map=names,
            set=set,
            draw=draw,
            baseline=baseline,
            progress=stages,
        )
    return answer_verdict(
        verdict,
        file,
        as_json=as_json,
        quiet=quiet,
        reports=reports,
        subject=lambda: subject_of(model_at(onnx), stages),
        baseline=baseline,
    )
