"""onnxproof predict."""

import json
from pathlib import Path
from typing import Any

import click

from onnxproof.errors import RequestError
from onnxproof.runtime import load


@click.command("predict")
@click.argument("model", metavar="BUNDLE|MODEL.onnx", type=click.Path(path_type=Path))
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
@click.option("--draw", type=click.Path(path_type=Path), help="A folder to write annotated pictures into.")
@click.option("--score-threshold", type=click.FloatRange(0, 1), help="Replace the file's own.")
@click.option("--iou-threshold", type=click.FloatRange(0, 1), help="Replace the file's own.")
def command(
    model: Path,
    images: tuple[Path, ...],
    as_json: bool,
    draw: Path | None,
    score_threshold: float | None,
    iou_threshold: float | None,
) -> int:
    """Run a bundle or a lone ONNX file on each IMAGE and print what it decides."""
    given = {"score_threshold": score_threshold, "iou_threshold": iou_threshold}
    predictor = load(model, overrides={name: value for name, value in given.items() if value is not None})
    results: list[dict[str, Any]] = []
    for image in images:
        prediction = predictor.predict(image)
        results.append({"image": str(image), **prediction.to_json()})
        if draw is not None:
            try:
                draw.mkdir(parents=True, exist_ok=True)
                prediction.draw(image).save(draw / f"{image.stem}.png")
            except OSError as error:
                raise RequestError(
                    f"{draw} cannot be written ({error.strerror or error}): name another folder with --draw"
                ) from error
        if not as_json:
            _print(results[-1])
    if as_json:
        click.echo(json.dumps(results, indent=2, ensure_ascii=False))
    return 0


def _print(result: dict[str, Any]) -> None:
    boxes = result["boxes"]
    click.echo(f"{result['image']}: {len(boxes)} detection{'' if len(boxes) == 1 else 's'}")
    for box in boxes:
        x0, y0, x1, y1 = box["box_xyxy"]
        click.echo(f"  {box['label']:<16} {box['score']:.3f}  [{x0:.1f}, {y0:.1f}, {x1:.1f}, {y1:.1f}]")
