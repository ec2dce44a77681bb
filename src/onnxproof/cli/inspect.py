"""onnxproof inspect."""

import json
from pathlib import Path

import click

from onnxproof.runtime import load


@click.command("inspect")
@click.argument("model", metavar="BUNDLE|MODEL.onnx", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(model: Path, as_json: bool) -> int:
    """Show the inputs, outputs, dims, classes and provenance of a bundle or an ONNX file."""
    manifest = load(model).manifest
    if as_json:
        click.echo(json.dumps(manifest.to_json(), indent=2, ensure_ascii=False))
        return 0
    rows = [
        ("name", manifest.name),
        ("task", manifest.task),
        ("family", manifest.family),
        *((f"input {spec.name}", str(spec)) for spec in manifest.inputs),
        *((f"output {spec.name}", str(spec)) for spec in manifest.outputs),
        *((f"dim {dim.name}", str(dim)) for dim in manifest.dims),
        ("classes", ", ".join(entry.name for entry in manifest.classes)),
        *((key.replace("_", " "), str(value)) for key, value in manifest.postprocess.items()),
        ("opset", str(manifest.opset)),
        ("exporter", manifest.exporter),
        ("simplify", manifest.simplify),
        ("checkpoint SHA-256", str(manifest.checkpoint_sha256)),
        ("versions", ", ".join(f"{name} {version}" for name, version in manifest.versions.items())),
    ]
    width = max(len(key) for key, _ in rows)
    for key, value in rows:
        click.echo(f"{key:<{width}}  {value}")
    return 0
