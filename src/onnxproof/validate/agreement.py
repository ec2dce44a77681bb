"""Whether a bundle's ``manifest.json`` says what its model file says."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from onnxproof.errors import ModelFileError
from onnxproof.graph import OnnxGraph
from onnxproof.runtime.archive import is_there
from onnxproof.runtime.folder import MANIFEST_FILE, PARITY_FILE
from onnxproof.runtime.manifest import GOLDEN_KEY, METADATA_KEY, Manifest
from onnxproof.system.parsed import json_in
from onnxproof.validate.bundled import against_metadata, agreement_check
from onnxproof.validate.golden.found import golden_in, tells_of_golden
from onnxproof.validate.hazards.metadata import against_graph
from onnxproof.validate.verdict import Check

SHOWN = 16
"""How many characters of a SHA-256 a reason shows."""


def manifest_check(manifest: Manifest, file: Path) -> Check:
    """Whether ``manifest.json`` agrees with the metadata in the model ``file``, with its graph, and with the
    golden cases and the verdict beside it.

    The reason names every key that differs. The hazard ``metadata`` compares the metadata with the PyTorch
    model. Raises ModelFileError if the file is no ONNX file.
    """
    graph = OnnxGraph.read(file)
    try:
        told = {key: text for key in (METADATA_KEY, GOLDEN_KEY) if (text := graph.metadata(key)) is not None}
    except ModelFileError as error:
        return agreement_check(file, [str(error), *against_graph(manifest.contract, graph)])
    wrong = [*against_metadata(manifest, told.get(METADATA_KEY)), *against_graph(manifest.contract, graph)]
    return agreement_check(
        file, wrong, [*_golden(manifest, file.parent, told), *_verdict(manifest, file.parent)]
    )


def _golden(manifest: Manifest, folder: Path, metadata: Mapping[str, str]) -> Iterator[str]:
    """Why the golden cases beside a model are not those that it was exported with."""
    if not tells_of_golden(folder, manifest, metadata):
        return
    try:
        found = golden_in(folder, manifest, metadata)
    except ModelFileError as error:
        yield str(error)
        return
    if isinstance(found, str):
        yield found


def _verdict(manifest: Manifest, folder: Path) -> Iterator[str]:
    """Why the verdict beside a model is not the one on it. Nothing if there is none, or if the manifest does
    not say which file the model is."""
    file = folder / PARITY_FILE
    if manifest.model_sha256 is None or not is_there(file):
        return
    try:
        document = json_in(file)
    except (OSError, ValueError) as error:
        yield f"{PARITY_FILE} cannot be read ({error})"
        return
    found = document.get("model_sha256") if isinstance(document, dict) else None
    if found != manifest.model_sha256:
        said = f"of a model with the SHA-256 {found:.{SHOWN}}" if isinstance(found, str) else "no verdict"
        yield f"{PARITY_FILE} is {said}, {MANIFEST_FILE} says {manifest.model_sha256:.{SHOWN}}"
