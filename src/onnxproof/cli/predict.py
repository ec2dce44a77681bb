"""onnxproof predict."""

import json
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from PIL import Image

from onnxproof.cli._plain import run_plain
from onnxproof.errors import RequestError
from onnxproof.runtime import Prediction, Predictor, answer, load_plain, parse_request
from onnxproof.runtime.predictor import predictor_of
from onnxproof.runtime.preprocess import Picture

NONE_WORKED = 2
"""The exit code of a request of which no picture could be predicted."""


@click.command("predict")
@click.argument("model", metavar="BUNDLE|MODEL.onnx", type=click.Path(path_type=Path))
@click.argument("images", metavar="[IMAGE]...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
@click.option("--draw", type=click.Path(path_type=Path), help="A folder to write annotated pictures into.")
@click.option("--score-threshold", type=click.FloatRange(0, 1), help="Replace the file's own.")
@click.option("--iou-threshold", type=click.FloatRange(0, 1), help="Replace the file's own.")
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
    help="Feed an input from a .npy, .npz or picture; a .npz alone feeds several by name. Repeatable.",
)
@click.option(
    "--scale",
    type=click.FloatRange(0, min_open=True),
    help="What white is in a float32 input that a picture goes into: 1 unless given, often 255.",
)
@click.option("--out", type=click.Path(path_type=Path), help="A .npz to write the raw outputs into.")
def command(
    model: Path,
    images: tuple[Path, ...],
    as_json: bool,
    draw: Path | None,
    score_threshold: float | None,
    iou_threshold: float | None,
    request_file: Path | None,
    allow_urls: bool,
    inputs: tuple[str, ...],
    scale: float | None,
    out: Path | None,
) -> int:
    """Run a bundle or an ONNX file on each IMAGE, on a request, or on arrays.

    A file that onnxproof exported prints what it decides. Any other file, and any file with --input,
    prints its outputs' names, shapes and a summary; with --json also the values of outputs of up to 1000.

    --request takes {"input_data": {"columns": ["image"], "data": [...]}} with a picture in base64, a path
    or, with --allow-urls, a URL for each datum, and prints a JSON list in its order. A picture that
    cannot be used is {"error": ...} in its place: the exit code is 0 if at least one picture worked and
    2 if none did.
    """
    # Pictures above Pillow's limit are refused, and in our words.
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    if request_file is not None and (images or inputs):
        raise RequestError("--request names the pictures itself: leave out IMAGE and --input, or --request")
    if not (images or inputs or request_file):
        raise click.UsageError(
            "Missing argument 'IMAGE...': give pictures, --request FILE or --input NAME=FILE"
        )
    if allow_urls and request_file is None:
        raise RequestError("--allow-urls is for --request: download the picture and give its path")
    thresholds = {"score_threshold": score_threshold, "iou_threshold": iou_threshold}
    overrides = {name: value for name, value in thresholds.items() if value is not None}
    plain = load_plain(model)
    if inputs or not plain.by_onnxproof:
        if plain.by_onnxproof and images:
            raise RequestError(
                "--input feeds a model's inputs one by one: give it the picture too, or IMAGEs alone"
            )
        _refuse_for_arrays(request_file=request_file, draw=draw, **overrides)
        return run_plain(plain, images, inputs, scale=scale or 1.0, out=out, as_json=as_json)
    if out is not None or scale is not None:
        flag = "--out" if out is not None else "--scale"
        raise RequestError(
            f"{flag} goes with raw outputs, and the file has a task: use --input, or leave it out"
        )
    predictor = predictor_of(plain.session, plain.file, overrides)
    if request_file is not None:
        return _answer(predictor, request_file, draw, allow_urls=allow_urls)
    results: list[dict[str, Any]] = []
    for image, file in zip(images, _names(images), strict=True):
        prediction = predictor.predict(image)
        results.append({"image": str(image), **prediction.to_json()})
        if draw is not None:
            _draw(prediction, image, draw, file)
        if not as_json:
            summary, *rows = prediction.lines()
            click.echo(f"{image}: {summary}")
            for row in rows:
                click.echo(f"  {row}")
    if as_json:
        click.echo(json.dumps(results, indent=2, ensure_ascii=False))
    return 0


def _refuse_for_arrays(**flags: object) -> None:
    for name, value in flags.items():
        if value is not None:
            flag = {"request_file": "--request"}.get(name, f"--{name.replace('_', '-')}")
            raise RequestError(
                f"{flag} needs to know what the outputs mean, and raw outputs say nothing of it: "
                "give a file that onnxproof exported and no --input, or leave it out"
            )


def _answer(predictor: Predictor, file: Path, draw: Path | None, *, allow_urls: bool) -> int:
    request = parse_request(_read_request(file))
    answers: list[Mapping[str, Any]] = []
    failed = 0
    for position, result in enumerate(answer(predictor, request, allow_urls=allow_urls)):
        answers.append(result.to_json())
        if result.prediction is None or result.picture is None:
            failed += 1
        elif draw is not None:
            _draw(result.prediction, result.picture, draw, f"{position}.png")
    click.echo(json.dumps(answers, indent=2, ensure_ascii=False))
    if failed:
        click.echo(f"onnxproof: {failed} of {len(answers)} pictures cannot be used, see the answer", err=True)
    return NONE_WORKED if failed == len(answers) else 0


def _read_request(file: Path) -> bytes:
    if str(file) == "-":
        return sys.stdin.buffer.read()
    try:
        return file.read_bytes()
    except OSError as error:
        raise RequestError(
            f"the request {file} cannot be read ({error.strerror or error}): name a JSON file, or - for "
            "standard input"
        ) from error


def _names(images: tuple[Path, ...]) -> list[str]:
    """A file name for each drawing; a number tells pictures of the same name apart."""
    names: list[str] = []
    for image in images:
        name, number = f"{image.stem}.png", 1
        while name in names:
            number += 1
            name = f"{image.stem}-{number}.png"
        names.append(name)
    return names


def _draw(prediction: Prediction, picture: Picture, folder: Path, name: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        prediction.draw(picture).save(folder / name)
    except OSError as error:
        raise RequestError(
            f"{folder} cannot be written ({error.strerror or error}): name another folder with --draw"
        ) from error
