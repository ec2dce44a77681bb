"""onnxproof inspect."""

import importlib
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from onnxproof.cli._document import show_json
from onnxproof.cli._options import json_option
from onnxproof.errors import ModelFileError
from onnxproof.runtime import Manifest, PlainModel, load_plain
from onnxproof.runtime.archive import is_there, on_disk
from onnxproof.runtime.folder import MANIFEST_FILE, data_of, note_on_manifest, read_manifest
from onnxproof.runtime.loading import predictor_of
from onnxproof.system.extras import missing
from onnxproof.targets import DEFAULT, TARGETS
from onnxproof.text import one_line
from onnxproof.validate.report.notes import for_people

SHOWN = 60
"""Characters of a name, and of a metadata value, that the table shows; --json shows all."""

NONE = "none"


@click.command("inspect")
@click.argument("model", metavar="BUNDLE|MODEL.onnx", type=click.Path(path_type=Path))
@click.option(
    "--target",
    type=click.Choice(TARGETS),
    help="The runtime that the file is for. [default: the one that the bundle is for, or onnxruntime]",
)
@click.option("--axes", is_flag=True, help="Also look for axes that a constant fixes at one size.")
@json_option
def command(model: Path, target: str | None, axes: bool, as_json: bool) -> int:
    """Show the inputs, outputs, dims, classes and provenance of a bundle or an ONNX file, and its hazards.

    For a file that onnxproof did not write: inputs, outputs, opset, producer and metadata; its "task" in
    JSON is null. Hazards are found in the graph without running it. inspect only shows them, so its exit code
    is 0 whatever they are; onnxproof validate judges them.
    """
    plain = load_plain(model)
    manifest = predictor_of(plain.session, plain.file).manifest if plain.by_onnxproof else None
    note = note_on_manifest(model, manifest)
    if note is not None:
        click.echo(one_line(f"note: {note}"), err=True)
    found, reason = _look_for_hazards(plain.file, target or _target_of(model), axes)
    if as_json:
        document = plain.to_json() if manifest is None else manifest.to_json()
        hazards = None if found is None else [entry.to_json() for entry in found]
        show_json({**document, "hazards": hazards})
        return 0
    rows = _rows_of_plain(plain) if manifest is None else _rows_of_manifest(manifest)
    rows += [("hazards", reason)] if found is None else _rows_of_hazards(found, axes)
    rows = [(_shorten(one_line(key)), one_line(value)) for key, value in rows]
    width = max(len(key) for key, _ in rows)
    for key, value in rows:
        for line in _hanging(f"{key:<{width}}  ", for_people(value)):
            click.echo(line.rstrip())
    return 0


def _hanging(key: str, value: str) -> list[str]:
    """A row as a terminal shows it, broken between words; one line where nobody's screen sets a width."""
    if not sys.stdout.isatty():
        return [f"{key}{value}"]
    columns = shutil.get_terminal_size().columns
    fit = textwrap.TextWrapper(
        columns,
        initial_indent=key,
        subsequent_indent=" " * len(key),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return fit.wrap(value) or [key]


def _target_of(model: Path) -> str:
    """The runtime that a bundle was exported for. A lone file does not say, so it gets the first."""
    if not is_there(model / MANIFEST_FILE):
        return DEFAULT
    try:
        job = read_manifest(model).job or {}
    except ModelFileError:
        return DEFAULT  # manifest.json is broken, which a note has said
    return str(job.get("export", {}).get("target", DEFAULT))


def _look_for_hazards(file: Path, target: str, axes: bool) -> tuple[Any, str]:
    """What onnxproof.validate.hazards found, a sequence of its ``Found``. None, and the reason, if it cannot
    look."""
    try:
        hazards = importlib.import_module("onnxproof.validate.hazards")
    except ModuleNotFoundError:
        return None, f"not looked for: {missing('onnx')}"
    more = (hazards.FROZEN_AXES,) if axes else ()
    with on_disk(file, data_of(file)) as readable:
        try:
            graph = hazards.OnnxGraph.read(readable)
        except ModelFileError:
            return None, "not looked for: the file is no ONNX graph, though ONNX Runtime loads it"
        return hazards.look_for_hazards(hazards.Subject(graph, readable, target), *more), ""


def _rows_of_hazards(found: Any, axes: bool) -> list[tuple[str, str]]:
    """A row for each hazard that has something to say. If ``axes`` were asked for, they always have one."""
    rows = []
    for entry in found:
        check, name = entry.check, f"hazard {entry.hazard.name}"
        if check.status == "fail":
            rows.append((name, f"fail: {check.reason}. Remedy: {entry.hazard.remedy}"))
        elif not entry.clean or (axes and entry is found[-1]):
            rows.append((name, f"{'advice' if entry.advice else check.status}: {check.reason}"))
    passed = sum(entry.check.status == "pass" for entry in found)
    return [*rows, ("hazards", f"{passed} checks passed")]


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


def _in_package(family: str, package: str | None) -> str:
    return family if package is None else f"{family} [{package}]"


def _rows_of_table(table: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """A row for each value of a JSON object, and of the objects in it."""
    for key, value in table.items():
        name = f"{above}{key.replace('_', ' ')}"
        if isinstance(value, Mapping):
            yield from _rows_of_table(value, f"{name} ")
        else:
            yield name, _in_words(value)


def _in_words(value: Any) -> str:
    """A JSON value as people write it; a list of lists has semicolons between the inner ones."""
    if value is None or value == []:
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        between = "; " if any(isinstance(entry, list) for entry in value) else ", "
        return between.join(map(_in_words, value))
    return str(value)


def _rows_of_manifest(manifest: Manifest) -> list[tuple[str, str]]:
    contract = manifest.contract
    return [
        ("name", contract.name),
        ("task", contract.task),
        ("family", _in_package(manifest.family, manifest.family_package)),
        *((f"input {spec.name}", str(spec)) for spec in contract.inputs),
        *((f"output {spec.name}", str(spec)) for spec in contract.outputs),
        *((f"dim {dim.name}", str(dim)) for dim in contract.dims),
        ("classes", ", ".join(entry.name for entry in contract.classes) or NONE),
        *((key, _shorten(value)) for key, value in _rows_of_table(contract.reading.to_json())),
        ("opset", str(manifest.opset)),
        ("exporter", manifest.exporter),
        ("simplify", manifest.simplify),
        ("checkpoint SHA-256", manifest.checkpoint_sha256 or NONE),
        ("versions", ", ".join(f"{name} {version}" for name, version in manifest.versions.items())),
    ]
