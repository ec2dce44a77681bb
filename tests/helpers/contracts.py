"""Contracts, manifests and readings as tests write them: flat, with the reading as the document of a file."""

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from types import MappingProxyType
from typing import Any

from onnxproof.contract import Contract
from onnxproof.document import Entry
from onnxproof.runtime.manifest import Manifest, read_reading
from onnxproof.runtime.tasks import get_task
from onnxproof.validate.compare import get_comparer

NOTHING: Mapping[str, Any] = MappingProxyType({})

PARTS = tuple(entry.name for entry in fields(Contract))


def reading_of(task: str, /, **document: Any) -> Any:
    """The reading of a task that a manifest's ``postprocess`` describes."""
    return read_reading(task, Entry(json.loads(json.dumps(document)), "postprocess"))


def contract(
    *, name: str = "model", task: str = "raw", postprocess: Mapping[str, Any] = NOTHING, **parts: Any
) -> Contract:
    """A contract, empty but for its parts."""
    empty: dict[str, Any] = {
        "inputs": (),
        "outputs": (),
        "dims": (),
        "fields": (),
        "preprocess": None,
        "classes": (),
    }
    return Contract(name=name, task=task, reading=reading_of(task, **postprocess), **{**empty, **parts})


def manifest(**parts: Any) -> Manifest:
    """A manifest; what belongs to its contract is given beside the rest."""
    own = {key: parts.pop(key) for key in list(parts) if key not in (*PARTS, "postprocess")}
    defaults = {
        "family": "module",
        "opset": 20,
        "exporter": "torchscript",
        "simplify": "none",
        "checkpoint_sha256": None,
    }
    return Manifest(contract=contract(**parts), **{**defaults, **own})


def changed(told: Manifest, **changes: Any) -> Manifest:
    """The manifest with something replaced, be it its own or its contract's."""
    own = {key: changes.pop(key) for key in list(changes) if key not in (*PARTS, "postprocess")}
    if "task" in changes or "postprocess" in changes:
        document = changes.pop("postprocess", None)
        document = told.contract.reading.to_json() if document is None else document
        changes["reading"] = reading_of(changes.get("task", told.contract.task), **document)
    return replace(told, contract=replace(told.contract, **changes), **own)


class Whole:
    """A task and its comparer under one roof."""

    def __init__(self, name: str) -> None:
        self.task, self.comparer = get_task(name), get_comparer(name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task if hasattr(self.task, name) else self.comparer, name)
