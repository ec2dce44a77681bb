"""A bundle's README: a model card for people and for model hubs, of the manifest and the verdict alone.

It has no date and no path, so the same job and checkpoint give the same bytes on the same machine.
"""

from collections.abc import Sequence
from dataclasses import replace

from onnxproof.runtime.folder import MODEL_FILE
from onnxproof.runtime.manifest import Manifest
from onnxproof.validate.report.markdown import escaped, sections, table
from onnxproof.validate.report.notes import folded
from onnxproof.validate.report.subject import Subject
from onnxproof.validate.report.words import headline
from onnxproof.validate.verdict import Verdict, link_texts

PIPELINE_TAGS = {
    "classification": "image-classification",
    "depth": "depth-estimation",
    "detection": "object-detection",
    "embedding": "feature-extraction",
    "instance_segmentation": "image-segmentation",
    "keypoints": "keypoint-detection",
    "multilabel": "image-classification",
    "oriented_detection": "object-detection",
    "panoptic": "image-segmentation",
    "segmentation": "image-segmentation",
    "tokens": "token-classification",
}
"""What Hugging Face's hub calls a task, in the card's metadata."""

SHOWN_CLASSES = 20


def card(manifest: Manifest, verdict: Verdict | None, notes: Sequence[str] = ()) -> str:
    """The README of a bundle in Markdown. ``notes`` stand in for the verdict's if there is no verdict."""
    contract = manifest.contract
    tag = PIPELINE_TAGS.get(contract.task)
    head = ["---", "library_name: onnx", *([] if tag is None else [f"pipeline_tag: {tag}"])]
    head += ["tags:", "- onnx", "- onnxproof", "---"]
    parts = ["\n".join(head), f"# {escaped(contract.name)}"]
    if verdict is None:
        parts.append(
            "This ONNX file was exported without a proof (`--no-validate`). `onnxproof validate` with this "
            "folder proves it."
        )
    else:
        parts += [escaped(headline(verdict)), *_links(verdict)]
    parts += ["## Use", _use(manifest), "## Inputs and outputs", _interface(manifest)]
    if contract.classes:
        names = [entry.name for entry in contract.classes]
        more = f" and {len(names) - SHOWN_CLASSES} more" if len(names) > SHOWN_CLASSES else ""
        parts.append(f"Classes: {escaped(', '.join(names[:SHOWN_CLASSES]))}{more}.")
    if verdict is not None:
        subject = replace(Subject(contract.name, MODEL_FILE), made=made_of(manifest))
        parts += list(sections(verdict, subject))[bool(_links(verdict)) :]
    else:
        parts += ["## How it was made", table(("", ""), made_of(manifest))]
        parts += ["\n".join(f"- {escaped(note)}" for note in folded(notes))] if notes else []
    return "\n\n".join(parts) + "\n"


def made_of(manifest: Manifest) -> tuple[tuple[str, str], ...]:
    """How the manifest's file was made, as label and value."""
    facts = {
        "family": manifest.family,
        "task": manifest.contract.task,
        "exporter": manifest.exporter,
        "opset": str(manifest.opset),
        "simplifier": manifest.simplify,
        "SHA-256 of the checkpoint": manifest.checkpoint_sha256 or "none: the module was given",
        "made with": ", ".join(f"{name} {number}" for name, number in manifest.versions.items()),
    }
    return tuple(facts.items())


def _links(verdict: Verdict) -> list[str]:
    rows = [(link.link, link.status, text) for link, text in link_texts(verdict)]
    return [table(("link", "status", "what was found"), rows)] if rows else []


def _use(manifest: Manifest) -> str:
    contract = manifest.contract
    if contract.preprocess is None or contract.task == "raw":
        names = "".join(f" --input {spec.name}=FILE.npy" for spec in contract.inputs)
        return f"```\nonnxproof predict {MODEL_FILE}{names} --raw --json\n```"
    more = "" if len(contract.inputs) == 1 else ", inputs={...}"
    return (
        "```python\n"
        "import onnxproof\n\n"
        f'predictor = onnxproof.load("{MODEL_FILE}")  # NumPy, ONNX Runtime and Pillow; no torch\n'
        f'print(predictor.predict("picture.png"{more}).to_json())\n'
        "```"
    )


def _interface(manifest: Manifest) -> str:
    contract = manifest.contract
    rows = [
        *(("input", spec.name, str(spec)) for spec in contract.inputs),
        *(("output", spec.name, str(spec)) for spec in contract.outputs),
        *(("size", dim.name, str(dim)) for dim in contract.dims),
    ]
    return table(("", "name", "what it is"), rows)
