"""What a bundle consists of, and which folders a new one may take the place of."""

from collections.abc import Iterable
from pathlib import Path

from onnxproof.runtime.archive import sha256_of
from onnxproof.runtime.drawings import is_drawing
from onnxproof.runtime.folder import (
    GOLDEN_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    PARITY_FILE,
    data_of,
    is_verdict,
    refuse_in_bundle,
)
from onnxproof.system.own_folder import SYSTEM_FILES, Kind, check_target, is_signed, listed, names_in
from onnxproof.system.parsed import json_in

README_FILE = "README.md"
PICTURES_FOLDER = "pictures"

DATA_FILE = data_of(Path(MODEL_FILE)).name

BUNDLE_FILES = (MODEL_FILE, DATA_FILE, GOLDEN_FILE, MANIFEST_FILE, PARITY_FILE)
"""The names of the files that export writes into a bundle, beside ``README_FILE`` and the drawings in
``PICTURES_FOLDER``."""

MANIFEST_KEYS = {"format", "name", "task", "family", "model_sha256", "versions"}
"""Keys that every manifest has, whatever its format."""


def check_bundle(target: Path, inputs: Iterable[Path] = ()) -> None:
    """Raise RequestError if no bundle may be written to ``target``. Call it before the work.

    A bundle in a bundle would keep that from being replaced. ``inputs`` are what is read, as for
    ``check_target``.
    """
    refuse_in_bundle(target.parent)
    check_target(target, BUNDLE, inputs)


def why_kept(folder: Path) -> str | None:
    """Why a folder must not be replaced, in words. Returns None if it may be.

    It may be if it is empty, or if it holds a manifest, a model, and only files that export writes, as it
    wrote them. A link is judged by its own name, because the file that it names stays.
    """
    names = names_in(folder)
    if not names:
        return None
    if MODEL_FILE not in names or not _is_manifest(folder / MANIFEST_FILE):
        return f"is no bundle that onnxproof wrote (it holds {listed(names)})"
    foreign = [name for name in names if not _is_own(folder / name)]
    told = _checksums(folder / MANIFEST_FILE)
    for name in names:
        if name in told and name not in foreign and not _is_as(folder / name, told[name]):
            return (
                f"holds another {name} than onnxproof wrote (its SHA-256 is not that in {MANIFEST_FILE}; if "
                "you do not need it, delete the bundle)"
            )
    pictures = folder / PICTURES_FOLDER
    if pictures.is_dir() and not pictures.is_symlink():
        foreign += [
            f"{PICTURES_FOLDER}/{entry.name}"
            for entry in sorted(pictures.iterdir())
            if entry.name not in SYSTEM_FILES and not is_drawing(entry)
        ]
    return f"holds what onnxproof did not write ({listed(foreign)})" if foreign else None


BUNDLE = Kind("export", "bundles", why_kept)
"""What export writes."""


def _is_own(entry: Path) -> bool:
    if entry.name == PICTURES_FOLDER:
        return entry.is_symlink() or entry.is_dir()
    if entry.name == README_FILE:
        return entry.is_symlink() or (entry.is_file() and is_signed(entry))
    if entry.name == PARITY_FILE:
        return entry.is_symlink() or (entry.is_file() and (not entry.stat().st_size or is_verdict(entry)))
    return entry.name in BUNDLE_FILES and (entry.is_symlink() or entry.is_file())


def _checksums(manifest: Path) -> dict[str, str | None]:
    """The SHA-256 of a bundle's files by their names, as its manifest tells them; None if it does not."""
    document = json_in(manifest)
    keys = {MODEL_FILE: "model_sha256", DATA_FILE: "data_sha256", GOLDEN_FILE: "golden_sha256"}
    return {name: document.get(key) for name, key in keys.items()}


def _is_as(entry: Path, sha256: str | None) -> bool:
    """Whether an entry is the file that was written, or an empty file, or a link, which is not followed."""
    return entry.is_symlink() or not entry.stat().st_size or sha256_of(entry) == sha256


def _is_manifest(file: Path) -> bool:
    try:
        document = json_in(file)
    except (OSError, ValueError):
        return False
    return (
        isinstance(document, dict)
        and document.keys() >= MANIFEST_KEYS
        and isinstance(document["versions"], dict)
        and "onnxproof" in document["versions"]
    )
