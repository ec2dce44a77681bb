"""onnxproof inspect."""

import json
from pathlib import Path

import click

from onnxproof.runtime import Manifest, PlainModel, load_plain
from onnxproof.runtime.predictor import predictor_of

SHOWN = 60
"""Characters of a metadata value that the table shows; --json shows all."""


@click.command("inspect")
@click.argument("model", metavar="BUNDLE|MODEL.onnx", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(model: Path, as_json: bool) -> int:
    """Show the inputs, outputs, dims, classes and provenance of a bundle or an ONNX file.

    Of a file that onnxproof did not write: inputs, outputs, opset, producer and metadata; its "task" in
    JSON is null.
    """
    plain = load_plain(model)
    manifest = predictor_of(plain.session, plain.file).manifest if plain.by_onnxproof else None
    if as_json:
        document = plain.to_json() if manifest is None else manifest.to_json()
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
        return 0
    rows = _rows_of_plain(plain) if manifest is None else _rows_of_manifest(manifest)
    width = max(len(key) for key, _ in rows)
    for key, value in rows:
        click.echo(f"{key:<{width}}  {value}")
    return 0


def _rows_of_plain(plain: PlainModel) -> list[tuple[str, str]]:
    about = plain.to_json()
    opsets = ", ".join(f"{domain} {version}" for domain, version in about["opset"].items())
    return [
        ("file", about["file"]),
        ("task", "none: not written by onnxproof"),
        *((f"input {port.name}", str(port)) for port in plain.inputs),
        *((f"output {port.name}", str(port)) for port in plain.outputs),
        ("opset", opsets or "unknown"),
        ("producer", about["producer"] or "unknown"),
        *((f"metadata {key}", _shorten(value)) for key, value in about["metadata"].items()),
    ]


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else f"{line[: SHOWN - 1]}…"


def _rows_of_manifest(manifest: Manifest) -> list[tuple[str, str]]:
    return [
        ("name", manifest.name),
        ("task", manifest.task),
        ("family", manifest.family),
        *((f"input {spec.name}", str(spec)) for spec in manifest.inputs),
        *((f"output {spec.name}", str(spec)) for spec in manifest.outputs),
        *((f"dim {dim.name}", str(dim)) for dim in manifest.dims),
        ("classes", ", ".join(entry.name for entry in manifest.classes)),
        *((key.replace("_", " "), _shorten(str(value))) for key, value in manifest.postprocess.items()),
        ("opset", str(manifest.opset)),
        ("exporter", manifest.exporter),
        ("simplify", manifest.simplify),
        ("checkpoint SHA-256", str(manifest.checkpoint_sha256)),
        ("versions", ", ".join(f"{name} {version}" for name, version in manifest.versions.items())),
    ]
