"""The golden cases that lie in a bundle."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from onnxproof.contract import Contract
from onnxproof.errors import ModelFileError
from onnxproof.runtime.archive import is_there, read_file
from onnxproof.runtime.folder import GOLDEN_FILE, MANIFEST_FILE, MODEL_FILE, PARITY_FILE
from onnxproof.runtime.manifest import GOLDEN_KEY, METADATA_KEY, Manifest, read_manifest_text
from onnxproof.validate.golden.file import about, unpack
from onnxproof.validate.golden.golden import Golden
from onnxproof.validate.golden.held import why_not_held


def tells_of_golden(folder: Path, manifest: Manifest, metadata: Mapping[str, str]) -> bool:
    """Whether a bundle has golden cases, or had some: its manifest, the model's ``metadata``, by key, or the
    folder tells of them."""
    told = manifest.golden_sha256 is not None or GOLDEN_KEY in metadata
    return told or is_there(folder / GOLDEN_FILE)


def require_golden(folder: Path, manifest: Manifest, metadata: Mapping[str, str]) -> None:
    """Raise ModelFileError if a bundle was written without golden cases.

    ``metadata`` is the model's, by key. Cases that it or the folder tells of, and the manifest does not, were
    taken out of the manifest: that is no error here, and ``golden_in`` says so.
    """
    if not tells_of_golden(folder, manifest, metadata):
        raise ModelFileError(
            f"{folder} has no golden cases to test itself by: it was exported with --no-validate, by an "
            f"older onnxproof, or they would be too large (a note in {PARITY_FILE} says so); export it again"
        )


@dataclass(frozen=True, slots=True, eq=False)
class Recorded:
    """Golden cases, the contract that they were recorded with, and the text of the metadata that holds it."""

    golden: Golden
    contract: Contract
    metadata: str


def golden_in(folder: Path, manifest: Manifest, metadata: Mapping[str, str]) -> Recorded | str:
    """The golden cases in a bundle, or why there are none to run.

    ``metadata`` is the model's, by key. Raises ModelFileError as ``unpack``.
    """
    file = folder / GOLDEN_FILE
    if manifest.golden_sha256 is None:
        told = f"{GOLDEN_FILE} is there" if is_there(file) else f"{MODEL_FILE} tells of golden cases"
        return f"{MANIFEST_FILE} has no golden_sha256, although {told}: it was changed"
    if not is_there(file):
        return f"{GOLDEN_FILE}, which {MANIFEST_FILE} names, is missing"
    content = read_file(file)
    if hashlib.sha256(content).hexdigest() != manifest.golden_sha256:
        return f"{GOLDEN_FILE} is not the file that {MANIFEST_FILE} describes"
    wanted = about(content, str(file)).metadata_sha256
    for text, source in (
        (metadata.get(METADATA_KEY), f"the metadata of {MODEL_FILE}"),
        (manifest.to_metadata(), MANIFEST_FILE),
    ):
        if text is not None and sha256_of_text(text) == wanted:
            contract = read_manifest_text(text, source).contract
            golden = unpack(content, contract, str(file))
            return why_not_held(golden.cases, metadata) or Recorded(golden, contract, text)
    return (
        f"{GOLDEN_FILE} was recorded for another model: neither the metadata in {MODEL_FILE} nor "
        f"{MANIFEST_FILE} is what it was recorded with"
    )


def sha256_of_text(text: str) -> str:
    """The SHA-256 of a text in UTF-8, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()
