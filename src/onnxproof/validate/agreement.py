"""Whether a bundle's ``manifest.json`` says what its model file says."""

from collections.abc import Iterator
from pathlib import Path

from onnxproof.errors import ModelFileError
from onnxproof.graph import OnnxGraph
from onnxproof.runtime.manifest import METADATA_KEY, Manifest
from onnxproof.validate.bundled import against_metadata, agreement_check
from onnxproof.validate.hazards.metadata import against_graph
from onnxproof.validate.verdict import Check


def manifest_check(manifest: Manifest, file: Path) -> Check:
    """Whether ``manifest.json`` agrees with the metadata in the model ``file`` and with its graph.

    The reason names every key that differs. The hazard ``metadata`` compares the metadata with the PyTorch
    model. Raises ModelFileError if the file is no ONNX file.
    """
    graph = OnnxGraph.read(file)
    return agreement_check(
        file, [*_against_metadata(manifest, graph), *against_graph(manifest.contract, graph)]
    )


def _against_metadata(manifest: Manifest, graph: OnnxGraph) -> Iterator[str]:
    try:
        text = graph.metadata(METADATA_KEY)
    except ModelFileError as error:
        yield str(error)
        return
    yield from against_metadata(manifest, text)
