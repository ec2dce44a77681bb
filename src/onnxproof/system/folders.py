"""Folders that are made for what is written into them."""

import contextlib
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def made_folder(folder: Path) -> Iterator[None]:
    """Inside, the folder is there, and those above it. What was made here and holds nothing in the end is
    removed again. Raises OSError if the folder cannot be made."""
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for place in made:  # the innermost first
            with contextlib.suppress(OSError):  # it holds something
                place.rmdir()
