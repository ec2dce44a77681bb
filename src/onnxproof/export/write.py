"""Write the files of a bundle: the model with its metadata, the manifest, and pictures of its decisions."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from onnxproof.errors import ExportError, ModelFileError
from onnxproof.export.bundle import PICTURES_FOLDER
from onnxproof.export.finish import stamped
from onnxproof.export.make import Graph
from onnxproof.job import Job
from onnxproof.job.relocated import relocated
from onnxproof.on_disk import write_model_file
from onnxproof.progress import Progress
from onnxproof.runtime.drawings import drawing_names, save_drawing
from onnxproof.runtime.folder import GOLDEN_FILE, MANIFEST_FILE, MODEL_FILE, data_of
from onnxproof.runtime.loading import load
from onnxproof.runtime.manifest import Frozen, Manifest
from onnxproof.source import sha256_of
from onnxproof.system.files import write_json
from onnxproof.system.packages import PACKAGES, versions
from onnxproof.wrappers.family import Checkpoint, WrappedModel

SHOWN_PICTURES = 4
"""How many of the job's pictures a bundle shows with the file's decisions drawn on them."""


def manifest_of(
    job: Job,
    model: WrappedModel,
    checkpoint: Checkpoint | None,
    exporter: str,
    simplifier: str,
    frozen: tuple[Frozen, ...] = (),
) -> Manifest:
    """The manifest of a model's file, without the file's checksum, which is not known yet."""
    return Manifest(
        contract=replace(model.contract, name=job.name),
        family=model.family,
        opset=job.export.opset,
        exporter=exporter,
        simplify=simplifier,
        frozen=frozen,
        checkpoint_sha256=None if checkpoint is None else checkpoint.sha256,
        versions=versions(PACKAGES),
        family_package=model.package,
    )


def manifest_in(job: Job, model: WrappedModel, checkpoint: Checkpoint | None, graph: Graph) -> Manifest:
    """The manifest in the metadata of a graph's file."""
    captured = graph.captured
    return manifest_of(job, model, checkpoint, captured.exporter, graph.simplifier, captured.frozen)


def write_model(
    job: Job, model: WrappedModel, checkpoint: Checkpoint | None, graph: Graph, folder: Path
) -> None:
    """Write the model file, with the manifest and the folds as its metadata.

    Raises ExportError if the graph is not valid ONNX.
    """
    captured = graph.captured
    made = stamped(graph.proto, manifest_in(job, model, checkpoint, graph), captured.folder, captured.folds)
    write_model_file(made, captured.folder or folder, folder / MODEL_FILE)


def write_manifest(
    job: Job,
    model: WrappedModel,
    checkpoint: Checkpoint | None,
    graph: Graph,
    folder: Path,
    target: Path,
) -> Manifest:
    """Write ``manifest.json`` beside the graph's model file in ``folder``, and return the manifest.

    It has the checksum of the golden cases there, if there are any. ``target`` is the bundle's final place.
    The manifest's paths are relative to it.
    """
    file = folder / MODEL_FILE
    data, golden = data_of(file), folder / GOLDEN_FILE
    manifest = replace(
        manifest_in(job, model, checkpoint, graph),
        model_sha256=sha256_of(file),
        data_sha256=sha256_of(data) if data.exists() else None,
        golden_sha256=sha256_of(golden) if golden.exists() else None,
        job=relocated(job, target),
    )
    write_json(folder / MANIFEST_FILE, manifest.to_json())
    return manifest


def draw_pictures(job: Job, pictures: Sequence[Path], folder: Path, progress: Progress) -> None:
    """Load the finished bundle as a user would, and draw its decisions on a few pictures.

    The checksums, which ``write_manifest`` has just computed, are not computed again. Draws nothing if the
    task decides nothing, or if the model has inputs besides the picture. Raises ExportError if the bundle
    does not load.
    """
    try:
        table = job.validation
        predictor = load(folder, providers=table.providers, threads=table.threads, checksums=False)
    except ModelFileError as error:
        raise ExportError(f"what was exported does not load: {error}") from error
    shown = pictures[:SHOWN_PICTURES]
    if not shown or not predictor.decides or len(predictor.contract.inputs) > 1:
        return
    (folder / PICTURES_FOLDER).mkdir()
    for done, (picture, name) in enumerate(zip(shown, drawing_names(shown), strict=True)):
        progress("draw", done, len(shown))
        save_drawing(predictor.predict(picture).draw(picture), folder / PICTURES_FOLDER / name)
    progress("draw", len(shown), len(shown))
