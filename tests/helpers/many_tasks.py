"""Tasks for workers in other processes, which have to import them."""

import gc
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from onnxproof.errors import CheckError
from onnxproof.many.worker import Work
from onnxproof.runtime.remote import Place


@dataclass(frozen=True, slots=True)
class Names:
    """Returns the names of a chunk's pictures, and appends a line to ``log`` for each chunk.

    The worker dies of the pictures called "kill": once, if "once" is in the name. It raises at "raise", and
    sleeps ``seconds`` for each picture.
    """

    log: str
    seconds: float = 0.0

    def open(self) -> Work:
        self._tell("open")

        def work(pictures: Sequence[Place]) -> bytes:
            for picture in pictures:
                time.sleep(self.seconds)
                self._look_at(picture)
            names = " ".join(picture.name for picture in pictures)
            self._tell(names)
            return names.encode()

        return work

    def _look_at(self, picture: Place) -> None:
        assert isinstance(picture, Path)
        if picture.name.startswith("raise"):
            raise CheckError(f"{picture.name} is bad")
        if picture.name.startswith("kill"):
            died = Path(f"{self.log}.{picture.name}")
            if "once" not in picture.name or not died.exists():
                died.touch()
                os.kill(os.getpid(), signal.SIGKILL)

    def _tell(self, line: str) -> None:
        with Path(self.log).open("a", encoding="utf-8") as stream:
            stream.write(f"{line}\n")


@dataclass(frozen=True, slots=True)
class Collecting:
    """Returns whether Python's cycle collector was on while the task was opened, and while it worked."""

    def open(self) -> Work:
        opening = gc.isenabled()
        return lambda _: f"{opening} {gc.isenabled()}".encode()
