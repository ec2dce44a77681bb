"""A bill of materials of a bundle: CycloneDX 1.6 in JSON, with a machine-learning model as its subject.

Written with cyclonedx-python-lib (the extra "bom").
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from onnxproof.runtime.archive import sha256_of
from onnxproof.runtime.folder import MODEL_FILE
from onnxproof.runtime.manifest import Manifest
from onnxproof.system.imports import imported
from onnxproof.system.own_file import has_keys

PROPERTIES = "onnxproof:"
"""What the names of our properties begin with."""


def write_bom(manifest: Manifest, files: Sequence[Path]) -> str:
    """The document: the model with its task and provenance, each of ``files`` with its SHA-256, and the
    versions of what made them."""
    model: Any = imported("cyclonedx.model")
    component: Any = imported("cyclonedx.model.component")
    bom: Any = imported("cyclonedx.model.bom")
    output: Any = imported("cyclonedx.output")
    schema: Any = imported("cyclonedx.schema")
    kinds = component.ComponentType
    sums = {file.name: sha256_of(file) for file in files}

    def hashes(name: str) -> list[Any]:
        return [model.HashType(alg=model.HashAlgorithm.SHA_256, content=sums[name])]

    subject = component.Component(
        name=manifest.contract.name,
        type=kinds.MACHINE_LEARNING_MODEL,
        bom_ref=manifest.contract.name,
        version=sums[MODEL_FILE],
        hashes=hashes(MODEL_FILE),
        properties=[
            model.Property(name=f"{PROPERTIES}{key}", value=value) for key, value in _told(manifest).items()
        ],
        components=[
            component.Component(
                name=name, type=kinds.FILE, bom_ref=f"{manifest.contract.name}/{name}", hashes=hashes(name)
            )
            for name in sums
        ],
    )
    tools = [
        component.Component(name=name, type=kinds.LIBRARY, bom_ref=f"{name}@{version}", version=version)
        for name, version in sorted(manifest.versions.items())
    ]
    document = bom.Bom(components=tools)
    document.metadata.component = subject
    document.register_dependency(subject, tools)
    writer = output.make_outputter(document, schema.OutputFormat.JSON, schema.SchemaVersion.V1_6)
    return f"{writer.output_as_string(indent=2)}\n"


def is_bom(file: Path) -> bool:
    """Whether a file is a bill of materials of a bundle. Raises OSError if it cannot be read."""
    return has_keys(file, ("bomFormat", "metadata")) and f'"{PROPERTIES}'.encode() in file.read_bytes()


def _told(manifest: Manifest) -> dict[str, str]:
    contract = manifest.contract
    told = {
        "task": contract.task,
        "family": manifest.family,
        "opset": str(manifest.opset),
        "exporter": manifest.exporter,
        "simplify": manifest.simplify,
        "checkpoint_sha256": manifest.checkpoint_sha256 or "",
        **{f"input:{spec.name}": str(spec) for spec in contract.inputs},
        **{f"output:{spec.name}": str(spec) for spec in contract.outputs},
    }
    return {key: value for key, value in told.items() if value}
