"""Metadata that tells a host something else than the graph does."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from soundness.fault import Edit, Editor, Fault, faults_of

from onnxproof.runtime.manifest import METADATA_KEY


def told(change: Callable[[dict[str, Any]], None]) -> Edit:
    """Change the manifest in the file's metadata."""

    def edit(editor: Editor) -> None:
        document = json.loads(editor.metadata(METADATA_KEY))
        change(document)
        editor.set_metadata(METADATA_KEY, json.dumps(document, sort_keys=True, separators=(",", ":")))

    return edit


def table(name: str, **values: Any) -> Edit:
    """Other values in one of the manifest's tables."""
    return told(lambda document: document[name].update(values))


def classes(order: Callable[[list[Any]], list[Any]]) -> Edit:
    """The classes in another order, or other ones."""
    return told(lambda document: document.update(classes=order(document["classes"])))


def _faults() -> Iterator[Fault]:
    yield from faults_of(
        "classes in the metadata",
        "yolox",
        {
            "two swapped": classes(lambda names: [*names[:3], names[4], names[3], *names[5:]]),
            "the last missing": classes(lambda names: names[:-1]),
        },
    )
    kind = "preprocessing in the metadata"
    yield from faults_of(
        kind,
        "yolox",
        {
            "divided by 255 twice": table("preprocess", divide_by=255),
            "161 pixels for 160": table("preprocess", size=161),
        },
    )
    yield from faults_of(kind, "classifier", {"channels first": table("preprocess", layout="NCHW")})
    kind = "decisions in the metadata"
    yield from faults_of(kind, "yolox-raw", {"strides reversed": table("postprocess", strides=[32, 16, 8])})
    yield from faults_of(kind, "yolox", {"IoU 0.65": table("postprocess", iou_threshold=0.65)})
    yield from faults_of(kind, "multilabel", {"threshold 0.3": table("postprocess", score_threshold=0.3)})


FAULTS = tuple(_faults())
