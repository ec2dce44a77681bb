"""What a bundle consists of, and how a new one takes the place of an old one."""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from onnxproof.errors import RequestError
from onnxproof.runtime.drawings import is_drawing
from onnxproof.runtime.folder import GOLDEN_FILE, MANIFEST_FILE, MODEL_FILE, PARITY_FILE
from onnxproof.system.files import explained, lies_in, staging_folder, swap

README_FILE = "README.md"
PICTURES_FOLDER = "pictures"

BUNDLE_FILES = (MODEL_FILE, f"{MODEL_FILE}.data", GOLDEN_FILE, MANIFEST_FILE, PARITY_FILE)
"""The names of the files that export writes into a bundle, beside ``README_FILE`` and the drawings in
``PICTURES_FOLDER``."""

_SIGNATURE = re.compile(
    rb"\n<!-- written by onnxproof export; SHA-256 of the lines above: ([0-9a-f]{64}) -->\n\Z"
)

SYSTEM_FILES = (".DS_Store", "Thumbs.db", "desktop.ini")
"""What file managers put into folders that somebody looked at. Losing one loses nothing."""

MANIFEST_KEYS = {"format", "name", "task", "family", "model_sha256", "versions"}
"""Keys that every manifest has, whatever its format."""

SHOWN_NAMES = 5
"""How many foreign files a message names."""


def signed(text: str) -> str:
    """A README with a last line that tells whether it is still as export wrote it."""
    found = hashlib.sha256(text.encode("utf-8")).hexdigest()
    return f"{text}\n<!-- written by onnxproof export; SHA-256 of the lines above: {found} -->\n"


def is_signed(file: Path) -> bool:
    """Whether a README is one that export wrote, and nobody edited since."""
    try:
        content = file.read_bytes().replace(b"\r\n", b"\n")
    except OSError:
        return False
    found = _SIGNATURE.search(content)
    return found is not None and hashlib.sha256(content[: found.start()]).hexdigest().encode() == found[1]


@contextlib.contextmanager
def staged_bundle(target: Path, inputs: Iterable[Path] = ()) -> Iterator[Path]:
    """An empty folder beside ``target`` that takes its place when the block ends without an error.

    Until then ``target`` keeps its old content; after an error it keeps that for good. If ``target`` is a
    link, the folder that it names is replaced, and the link stays. Raises RequestError if the target cannot
    be written, if it is neither empty nor a bundle that onnxproof wrote, or if one of ``inputs`` lies in it.
    This is checked before the block, and again after it.
    """
    target = Path(os.path.realpath(target))
    inputs = tuple(inputs)
    check_target(target, inputs)
    with explained(target), staging_folder(target) as staged:
        yield staged
        check_target(target, inputs)
        swap(staged, target)
        try:
            _check(target, staged, inputs)  # the old content: files may have come since the last check
        except RequestError:
            swap(staged, target)
            raise


def check_target(target: Path, inputs: Iterable[Path] = ()) -> None:
    """Raise RequestError if a bundle must not be written to ``target``, as ``staged_bundle`` does."""
    target = Path(os.path.realpath(target))
    _check(target, target, tuple(inputs))


def _check(target: Path, folder: Path, inputs: Iterable[Path]) -> None:
    """Raises RequestError if ``folder`` must not be removed. It is at ``target``, or was until the swap."""
    if folder.exists() and not folder.is_dir():
        raise RequestError(f"{target} is a file: name another folder with --out")
    if folder.parent.exists() and not folder.parent.is_dir():
        raise RequestError(
            f"{target} cannot be written, {target.parent} is a file: name another folder with --out"
        )
    if not folder.exists():
        return
    if os.path.ismount(folder):
        raise RequestError(f"{target} is where a disk is mounted: name a folder in it with --out")
    for path in inputs:
        if lies_in(path, folder):
            raise RequestError(
                f"{target} would be replaced, and {path} is read from it: name another folder with --out"
            )
    reason = why_kept(folder)
    if reason is not None:
        raise RequestError(
            f"{target} {reason}: export replaces only bundles that it wrote and empty folders; "
            "move it away, or name another folder with --out"
        )


def why_kept(folder: Path) -> str | None:
    """Why a folder must not be replaced, in words. Returns None if it may be.

    It may be if it is empty, or if it holds a manifest, a model, and only files that export writes. A link
    is judged by its own name, because the file that it names stays.
    """
    names = sorted(entry.name for entry in folder.iterdir() if entry.name not in SYSTEM_FILES)
    if not names:
        return None
    if MODEL_FILE not in names or not _is_manifest(folder / MANIFEST_FILE):
        return f"is no bundle that onnxproof wrote (it holds {_list(names)})"
    foreign = [name for name in names if not _is_own(folder / name)]
    pictures = folder / PICTURES_FOLDER
    if pictures.is_dir() and not pictures.is_symlink():
        foreign += [
            f"{PICTURES_FOLDER}/{entry.name}"
            for entry in sorted(pictures.iterdir())
            if entry.name not in SYSTEM_FILES and not is_drawing(entry)
        ]
    return f"holds what onnxproof did not write ({_list(foreign)})" if foreign else None


def _is_own(entry: Path) -> bool:
    if entry.name == PICTURES_FOLDER:
        return entry.is_symlink() or entry.is_dir()
    if entry.name == README_FILE:
        return entry.is_symlink() or (entry.is_file() and is_signed(entry))
    return entry.name in BUNDLE_FILES and (entry.is_symlink() or entry.is_file())


def _is_manifest(file: Path) -> bool:
    try:
        document = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return (
        isinstance(document, dict)
        and document.keys() >= MANIFEST_KEYS
        and isinstance(document["versions"], dict)
        and "onnxproof" in document["versions"]
    )


def _list(names: list[str]) -> str:
    more = len(names) - SHOWN_NAMES
    return ", ".join(names[:SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")
