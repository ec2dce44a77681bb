"""Whether the files of a bundle are those that its ``manifest.json`` describes.

Needs neither torch nor onnx.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from onnxproof.errors import ModelFileError
from onnxproof.runtime.archive import is_there
from onnxproof.runtime.folder import MANIFEST_FILE, data_of
from onnxproof.runtime.manifest import Manifest, read_manifest_text
from onnxproof.source import sha256_of
from onnxproof.validate.verdict import Check

SHOWN = 60
"""How many characters of a value a reason shows."""


def checksum_check(manifest: Manifest, file: Path, sum_of: Callable[[Path], str] = sha256_of) -> Check:
    """Whether the model ``file``, and the file with its weights if it has one, are those of the manifest.

    ``sum_of`` gives the SHA-256 of a file.
    """
    sums = {file: manifest.model_sha256}
    if manifest.data_sha256 is not None:
        sums[data_of(file)] = manifest.data_sha256
    other = [path for path, sum_ in sums.items() if not is_there(path) or sum_of(path) != sum_]
    reason = f"{other[0]} is not the file that {MANIFEST_FILE} describes" if other else ""
    return Check("checksum", "fail" if other else "pass", reason, float(len(other)), 0.0)


def agreement_check(file: Path, wrong: list[str], beside: Sequence[str] = ()) -> Check:
    """The check on what ``manifest.json`` says otherwise than the model ``file``, in words, and on what is
    wrong with the files ``beside`` it."""
    differs = [f"{MANIFEST_FILE} differs from {file.name}: {'; '.join(wrong)}"] if wrong else []
    found = len(wrong) + len(beside)
    reason = "; ".join((*differs, *beside))
    return Check("manifest", "fail" if found else "pass", reason, float(found), 0.0)


def against_metadata(manifest: Manifest, text: str | None) -> Iterator[str]:
    """What a manifest says otherwise than onnxproof's metadata in a model, whose text is ``text``."""
    if text is None:
        yield "the model carries no metadata of onnxproof"
        return
    try:
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
