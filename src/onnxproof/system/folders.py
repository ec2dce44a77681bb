"""Folders that are made for what is written into them."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from onnxproof.system.cleaning import cleaned_up


@contextlib.contextmanager
def made_folder(folder: Path) -> Iterator[None]:
    """Inside, the folder is there, and those above it. What was made here and holds nothing in the end is
    removed again. Raises OSError if the folder cannot be made."""
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    with cleaned_up() as at_end:
        for place in reversed(made):  # the innermost is removed first
            at_end.callback(_remove_empty, place)
        folder.mkdir(parents=True, exist_ok=True)
        yield


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):  # it holds something, or is not there
        folder.rmdir()
