"""onnxproof predict."""

import functools
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from PIL import Image

from onnxproof.cli._document import show_json, show_line
from onnxproof.cli._lines import StageLines
from onnxproof.cli._many import workers_options
from onnxproof.cli._options import json_option
from onnxproof.cli._pictures import check_drawings, pictures_named, several
from onnxproof.cli._plain import print_outputs, runs_of
from onnxproof.cli._predicted import Asked, print_decisions, told_failed
from onnxproof.cli._predicted import draw as write_drawing
from onnxproof.cli._streams import MOST_INPUT, read_input
from onnxproof.errors import RequestError
from onnxproof.many.workers import Workers
from onnxproof.runtime import PlainModel, Predictor, answer, load_plain, parse_request
from onnxproof.runtime.archive import sha256_of
from onnxproof.runtime.declared import note_on_range
from onnxproof.runtime.feeds import require_fits
from onnxproof.runtime.folder import (
    model_file,
    model_files,
    note_on_checksums,
    note_on_manifest,
    require_checksums,
)
from onnxproof.runtime.loading import predictor_of
from onnxproof.runtime.plain import Fits, gather_fitting
from onnxproof.runtime.remote import Place
from onnxproof.runtime.request import files_named
from onnxproof.runtime.session import CPU
from onnxproof.runtime.video import is_video
from onnxproof.system.extras import require_extra, require_for_json
from onnxproof.system.foreign import read_foreign
from onnxproof.system.imports import imported
from onnxproof.text import one_line

NONE_WORKED = 2
"""The exit code if none of a request's pictures worked."""


@click.command("predict")
@click.argument("model", metavar="BUNDLE|MODEL.onnx", type=click.Path(path_type=Path))
@click.argument("images", metavar="[IMAGE|VIDEO|FOLDER|PATTERN|URL|-]...", nargs=-1)
@json_option
@click.option("--jsonl", is_flag=True, help="Print one JSON object a line, for each picture in order.")
@click.option(
    "--batch",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Run up to so many pictures at once that end in one size.",
)
@click.option("--draw", type=click.Path(path_type=Path), help="A folder to write annotated pictures into.")
@click.option("--score-threshold", type=click.FloatRange(0, 1), help="Replace the file's own.")
@click.option("--iou-threshold", type=click.FloatRange(0, 1), help="Replace the file's own.")
@click.option("--top-k", type=click.IntRange(1), help="Replace the file's own number of best classes.")
@click.option(
    "--request",
    "request_file",
    metavar="FILE|-",
    type=click.Path(path_type=Path, allow_dash=True),
    help="Answer a JSON request (- is standard input) in place of IMAGEs.",
)
@click.option("--allow-urls", is_flag=True, help="Fetch what a request names by http(s) URL.")
@click.option(
    "--input",
    "inputs",
    metavar="NAME=FILE",
    multiple=True,
    help="Feed an input from a .npy, .npz or picture; a .npz alone feeds several by name. Repeatable; "
    "each IMAGE gets the same.",
)
@click.option(
    "--scale",
    type=click.FloatRange(0, min_open=True),
    help="The value of white in a float32 input that takes a picture: 1 unless given, often 255.",
)
@click.option("--raw", is_flag=True, help="Print the outputs as they are, even if the file has a task.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="A .npz to write raw outputs into; implies --raw."
)
@click.option(
    "--checksums/--no-checksums",
    default=True,
    help="Whether a bundle's model must be the one that its manifest.json describes.  [default: checksums]",
)
@click.option(
    "--provider",
    "providers",
    multiple=True,
    metavar="NAME",
    help=f"An execution provider of ONNX Runtime, such as CUDAExecutionProvider. Repeatable, the first that "
    f"can run a node first.  [default: {CPU}]",
)
@click.option(
    "--fallback",
    is_flag=True,
    help="Run on the next provider, in the end the CPU, where one is not there; a note says so.",
)
@workers_options
def command(
    model: Path,
    images: tuple[str, ...],
    as_json: bool,
    jsonl: bool,
    batch: int,
    draw: Path | None,
    score_threshold: float | None,
    iou_threshold: float | None,
    top_k: int | None,
    request_file: Path | None,
    allow_urls: bool,
    inputs: tuple[str, ...],
    scale: float | None,
    raw: bool,
    out: Path | None,
    checksums: bool,
    providers: tuple[str, ...],
    fallback: bool,
    workers: Workers,
) -> int:
    """Run a bundle or an ONNX file on each IMAGE, on a request, on arrays, or on both.

    A FOLDER stands for the pictures in it, a PATTERN such as 'pictures/*.png' for those that match, and - for
    names on standard input, one a line. A URL such as s3://bucket/folder is read through fsspec. A video such
    as clip.mp4 stands for its frames. Of several pictures, one that cannot be used becomes an error in its
    place, and the exit code is 2 at the end.

    With --workers, --dask or --resume each worker runs the file with one thread, and answers keep the
    pictures' order.

    For a file that onnxproof exported, its decisions are printed. With --raw or --out, for the task raw, and
    for any other file, the outputs' names, shapes and a summary are printed; with --json also the values of
    outputs that have up to 1000. Without IMAGE and --request, --json prints one object in place of a list.

    --request takes {"input_data": {"columns": ["image"], "data": [...]}}, where each datum is a picture in
    base64, a path or, with --allow-urls, a URL. It prints a JSON list in that order. A picture that cannot be
    used becomes {"error": ...} in its place. The exit code is 0 if at least one picture worked, and 2 if
    none did.
    """
    # Pictures above Pillow's limit are refused with our own message.
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    if request_file is not None and images:
        raise RequestError("--request names the pictures itself: leave out IMAGE, or --request")
    if not (images or inputs or request_file):
        raise click.UsageError(
            "Missing argument 'IMAGE...': give pictures, --request FILE or --input NAME=FILE"
        )
    if allow_urls and request_file is None:
        raise RequestError("--allow-urls is for --request: download the picture and give its path")
    if jsonl and (as_json or request_file is not None):
        raise RequestError("--jsonl comes in place of --json, and not with --request: leave one out")
    many = several(images)
    places = pictures_named(images)
    videos = [place for place in places if is_video(place)]
    if videos:
        _require_video(videos)
    settings = {"score_threshold": score_threshold, "iou_threshold": iou_threshold, "top_k": top_k}
    overrides = {name: value for name, value in settings.items() if value is not None}
    files = [place for place in places if isinstance(place, Path)]
    read = [*model_files(model), *files, *(Path(text.partition("=")[2] or text) for text in inputs)]
    if request_file is not None:
        read.append(request_file)
    plain = _loaded(model, providers, fallback=fallback)
    predictor = predictor_of(plain.session, plain.file, overrides) if plain.by_onnxproof else None
    notes = [note_on_checksums(model)] if checksums else []
    sum_of = functools.cache(sha256_of)  # a large model is read once, also if workers are told its sum
    if checksums:  # After what is broken was named: that says more than another SHA-256 does.
        require_checksums(model, sum_of)
    notes.append(note_on_manifest(model, None if predictor is None else predictor.manifest))
    _tell(notes)
    has_task = predictor is not None and predictor.decides
    if workers.asked:
        alone: dict[str, object] = {"--draw": draw, "--request": request_file, "--input": inputs or None}
        alone["--scale"] = scale
        alone |= {"--provider": providers or None, "--fallback": fallback or None}
        alone |= {"--raw": raw or None, "--out": out, "--json (use --jsonl)": as_json or None}
        alone |= {f"the video {video}": str(video) for video in videos[:1]}
        _refuse_with_workers(alone, places, has_task=has_task)
        if jsonl and predictor is not None:
            require_for_json(predictor.contract.task)
        sha256 = sum_of(model_file(model))
        return _predict_many(
            model, sha256, places, overrides, batch, workers, jsonl=jsonl, checksums=checksums
        )
    if raw or out is not None or not has_task:
        why = f"the task of {model} is raw, and says nothing of them: leave it out"
        if predictor is None:
            why = (
                f"{model} does not say it, for onnxproof did not export it: leave it out to see the "
                f"outputs, or draw with its checkpoint: onnxproof check {model} --against CHECKPOINT "
                "--images PICTURES --draw FOLDER"
            )
        elif has_task:
            why = "--raw and --out take them as they are: leave these out, or it"
        _refuse_for_outputs(why, request_file=request_file, draw=draw, **overrides)
        if videos:
            raise RequestError(f"the video {videos[0]} is for decisions; {why}")
    if predictor is None:
        given = _gather(plain, inputs, scale, lambda name, array: plain.input_named(name).check(array))
        run = runs_of(plain, given, scale=scale, hint=not jsonl)
        return print_outputs(run, places, read=read, out=out, as_json=as_json, jsonl=jsonl)
    pictures, others = _sort(predictor, inputs)
    if pictures and (images or request_file):
        raise RequestError(
            f"--input {pictures[0]} comes beside other pictures: give it as an IMAGE of its own"
        )
    places = (*places, *(Path(text.partition("=")[2]) for text in pictures))
    if scale is not None and predictor.contract.preprocess is not None:
        raise RequestError(
            "--scale is for files that do not say what white is, and this one does: leave it out"
        )
    arrays = _gather(plain, others, scale, functools.partial(require_fits, predictor.contract))
    _tell(note_on_range(arrays[spec.name], spec) for spec in predictor.contract.inputs if spec.name in arrays)
    if raw or out is not None or not has_task:
        return print_outputs(
            lambda image: predictor.run(image, arrays),
            places,
            read=read,
            out=out,
            as_json=as_json,
            jsonl=jsonl,
        )
    if as_json or jsonl or request_file is not None:
        require_for_json(predictor.contract.task)
    if request_file is not None:
        return _answer(predictor, request_file, arrays, draw, read, allow_urls=allow_urls)
    many = many or len(places) > 1 or bool(videos)
    asked = Asked(places, arrays, draw, batch, many=many)
    return print_decisions(predictor, asked, read, as_json=as_json, jsonl=jsonl)


def _loaded(model: Path, providers: Sequence[str], *, fallback: bool) -> PlainModel:
    """The opened file. Says on standard error what runs elsewhere than on the providers."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", RuntimeWarning)
        plain = load_plain(model, providers=providers or (CPU,), fallback=fallback)
    for warning in told:
        click.echo(one_line(f"note: {warning.message}"), err=True)
    return plain


def _tell(notes: Iterable[str | None]) -> None:
    """Say notes on standard error."""
    for note in notes:
        if note is not None:
            click.echo(one_line(f"note: {note}"), err=True)


def _require_video(videos: Sequence[Place]) -> None:
    """Raise MissingPackageError if nothing reads videos, RequestError for one that is not on this machine."""
    require_extra("video", str(videos[0]))
    for video in videos:
        if not isinstance(video, Path):
            raise RequestError(f"the video {video} is read from a disk: copy it to this machine first")


def _refuse_with_workers(flags: Mapping[str, object], places: Sequence[Place], *, has_task: bool) -> None:
    """Raise RequestError for a flag that workers do not know, or if there is nothing to share out."""
    if not has_task:
        raise RequestError(
            "--workers, --dask and --resume share out decisions, and the file does not say what its outputs "
            "mean: leave them out"
        )
    for flag, value in flags.items():
        if value is not None:
            raise RequestError(f"--workers, --dask and --resume do not go with {flag}: leave it out")
    if not places:
        raise RequestError("--workers, --dask and --resume share out pictures: name some")


def _predict_many(
    model: Path,
    sha256: str,
    places: Sequence[Place],
    settings: Mapping[str, float],
    batch: int,
    workers: Workers,
    *,
    jsonl: bool,
    checksums: bool,
) -> int:
    """Print the decisions on each picture, in order, as workers find them."""
    predicting, opened = (imported(f"onnxproof.many.{name}") for name in ("predicting", "opened"))
    task = predicting.predict_task(
        model, sha256, settings, batch, "json" if jsonl else "text", checksums=checksums
    )
    failed = 0
    with (
        opened.opened_journal(workers, task.to_json()) as journal,
        opened.opened_engine(workers, most=len(places)) as engine,
    ):
        keep, told = workers.resume is not None, StageLines(sys.stderr)
        for answers in predicting.predict_many(task, places, engine, journal, keep=keep, progress=told):
            failed += answers.failed
            for line in answers.lines:
                show_line(line)
    return told_failed(failed, len(places))


def _sort(predictor: Predictor, given: Sequence[str]) -> tuple[list[str], list[str]]:
    """The values of --input that give a picture to the input for pictures, and the others."""
    spec = predictor.contract.preprocess
    pictures = [
        text
        for text in given
        if spec is not None
        and text.startswith(f"{spec.input}=")
        and not text.lower().endswith((".npy", ".npz"))
    ]
    return pictures, [text for text in given if text not in pictures]


def _gather(plain: PlainModel, given: Sequence[str], scale: float | None, fits: Fits) -> dict[str, Any]:
    arrays, notes = gather_fitting(plain, given, fits, scale=scale or 1.0)
    for note in notes:
        click.echo(one_line(note), err=True)
    return arrays


def _refuse_for_outputs(why: str, **flags: object) -> None:
    """Raise RequestError for a flag that needs decisions. ``why`` says why there are none."""
    for name, value in flags.items():
        if value is not None:
            flag = {"request_file": "--request"}.get(name, f"--{name.replace('_', '-')}")
            raise RequestError(f"{flag} needs to know what the outputs mean; {why}")


def _answer(
    predictor: Predictor,
    file: Path,
    arrays: Mapping[str, Any],
    draw: Path | None,
    read: Sequence[Path],
    *,
    allow_urls: bool,
) -> int:
    request = parse_request(_read_request(file))
    if draw is not None:
        names = [f"{position}.png" for position in range(len(request.data))]
        check_drawings(draw, names, [*read, *files_named(request)])
    answers: list[Mapping[str, Any]] = []
    failed = 0
    for position, result in enumerate(answer(predictor, request, inputs=arrays, allow_urls=allow_urls)):
        answers.append(result.to_json())
        if result.prediction is None or result.picture is None:
            failed += 1
        elif draw is not None:
            write_drawing(result.prediction, result.picture, draw / f"{position}.png")
    show_json(answers)
    told_failed(failed, len(answers))
    return NONE_WORKED if failed == len(answers) else 0


def _read_request(file: Path) -> bytes:
    if str(file) == "-":
        return read_input("give the request there, or name its file")
    try:
        return read_foreign(file, MOST_INPUT, pipes=True)
    except OSError as error:
        raise RequestError(
            f"the request {file} cannot be read ({error.strerror or error}): name a JSON file, or - for "
            "standard input"
        ) from error
