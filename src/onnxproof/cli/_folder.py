"""The folder that a command writes into, and what is said where it cannot."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from onnxproof.errors import RequestError


def try_folder(folder: Path) -> None:
    """Before the work, so that no result is lost to a folder that cannot be written."""
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass


@contextlib.contextmanager
def explained(folder: Path) -> Iterator[None]:
    """RequestError in place of what the system raises."""
    try:
        yield
    except OSError as error:
        raise RequestError(
            f"{folder} cannot be written ({error.strerror or error}): name another folder with --out"
        ) from error
