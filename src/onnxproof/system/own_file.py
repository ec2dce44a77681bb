"""How a file that onnxproof wrote is replaced by a new one, and no other file ever is."""

from collections.abc import Callable, Collection
from pathlib import Path

from onnxproof.errors import RequestError
from onnxproof.system.files import explained
from onnxproof.system.parsed import json_in


def refuse_foreign(
    file: Path, is_own: Callable[[Path], bool], what: str, flag: str = "--out", kind: str = "folder"
) -> None:
    """Raise RequestError if a file that would be replaced is neither empty nor one that onnxproof wrote.

    ``is_own`` tells that by the file's content, and ``what`` names such files. ``kind`` is what ``flag``
    names: a file, or the folder that it is in. Call it before the work.
    """
    with explained(file, flag, kind):
        if not file.is_file() or not file.stat().st_size or is_own(file):
            return
    raise RequestError(
        f"{file} is there and is no {what} of onnxproof's: move it away, or name another {kind} with {flag}"
    )


def has_keys(file: Path, keys: Collection[str]) -> bool:
    """Whether a file is a JSON object with all of these keys. Raises OSError if it cannot be read."""
    try:
        document = json_in(file)
    except ValueError:
        return False
    return isinstance(document, dict) and all(key in document for key in keys)
