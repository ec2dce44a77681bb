"""Whether a bundle's ``manifest.json`` says what its model file says."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onnxproof.errors import ModelFileError
from onnxproof.graph import OnnxGraph
from onnxproof.runtime.manifest import METADATA_KEY, Manifest, read_manifest_text
from onnxproof.validate.hazards.metadata import against_graph
from onnxproof.validate.verdict import Check

NAME = "manifest"

SHOWN = 60
"""How many characters of a value a reason shows."""


def manifest_check(manifest: Manifest, file: Path) -> Check:
    """Whether ``manifest.json`` agrees with the metadata in the model ``file`` and with its graph.

    The reason names every key that differs. The hazard ``metadata`` compares the metadata with the PyTorch
    model. Raises ModelFileError if the file is no ONNX file.
    """
    graph = OnnxGraph.read(file)
    wrong = [*_against_metadata(manifest, graph), *against_graph(manifest.contract, graph)]
    reason = f"manifest.json differs from {file.name}: {'; '.join(wrong)}" if wrong else ""
    return Check(NAME, "fail" if wrong else "pass", reason, float(len(wrong)), 0.0)


def _against_metadata(manifest: Manifest, graph: OnnxGraph) -> Iterator[str]:
    try:
        text = graph.metadata(METADATA_KEY)
        if text is None:
            yield "the model carries no metadata of onnxproof"
            return
        told = read_manifest_text(text, "its metadata")
    except ModelFileError as error:
        yield str(error)
        return
    yield from _differences(manifest.shared_json(), told.shared_json())


def _differences(ours: dict[str, Any], theirs: dict[str, Any], above: str = "") -> Iterator[str]:
    """The keys whose values differ. Goes into tables, and into lists of the same length."""
    for key in sorted(ours.keys() | theirs.keys()):
        here, there = ours.get(key), theirs.get(key)
        name = f"{above}{key}"
        if here == there:
            continue
        if isinstance(here, dict) and isinstance(there, dict):
            yield from _differences(here, there, f"{name}.")
        elif isinstance(here, list) and isinstance(there, list) and len(here) == len(there):
            at = next(i for i, pair in enumerate(zip(here, there, strict=True)) if pair[0] != pair[1])
            yield f"{name}[{at}] is {_shown(here[at])}, in the model {_shown(there[at])}"
        else:
            yield f"{name} is {_shown(here)}, in the model {_shown(there)}"


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return f"a list of {len(value)}"
    text = str(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
