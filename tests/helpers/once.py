"""Folders that are filled once in a run of the tests, whichever files and workers read them."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock


class Once:
    """``once(key, make)`` is the folder that ``make`` filled. Nobody writes to it afterwards.

    The workers of a run share ``root``. The first that asks for a key fills the folder, others wait for
    it. If ``make`` raises, the next that asks tries again.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def __call__(self, key: str, make: Callable[[Path], object]) -> Path:
        self._root.mkdir(exist_ok=True)
        folder = self._root / hashlib.sha256(key.encode()).hexdigest()[:16]
        done = folder.with_suffix(".done")
        with FileLock(folder.with_suffix(".lock")):
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                done.touch()
        return folder
