"""A journal: a folder with the results of the chunks that are done, so that a run can go on where it stopped.

``journal.json`` says what work the folder belongs to. Each chunk's result is a file of its own, written whole
or not at all, with a checksum.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnxproof.errors import RequestError
from onnxproof.runtime.folder import refuse_in_bundle
from onnxproof.system.files import check_folder, explained, remove_own, write_bytes, write_json
from onnxproof.system.parsed import json_in

FORMAT = 1
FILE = "journal.json"
CHUNKS = "chunks"
FLAG = "--resume"


class Journal:
    """The results of chunks, in a folder. ``done`` counts those that were there when it was opened."""

    def __init__(self, folder: Path, work: Mapping[str, Any]) -> None:
        """Open the journal of a piece of work, or begin it in an empty or missing folder.

        ``work`` tells what is done, in JSON's types: two runs with equal ``work`` share their results. Raises
        RequestError if the folder holds other files, belongs to other work, or leads to another folder.
        """
        self.folder = folder
        self.key = hashlib.sha256(json.dumps(work, sort_keys=True).encode()).hexdigest()
        document = {"format": FORMAT, "key": self.key, "work": dict(work)}
        refuse_in_bundle(folder, FLAG)
        check_folder(folder, FLAG)
        if (folder / CHUNKS).is_symlink():
            raise RequestError(
                f"{folder / CHUNKS} is a link, and results are kept in the folder that {FLAG} names alone: "
                "remove the link, or name another folder"
            )
        if folder.is_dir() and any(folder.iterdir()):
            self._require_own(document)
            return
        with explained(folder, FLAG):
            (folder / CHUNKS).mkdir(parents=True, exist_ok=True)
            write_json(folder / FILE, document)

    def has(self, name: str) -> bool:
        """Whether the result of a chunk is there."""
        return self.read(name) is not None

    def read(self, name: str) -> bytes | None:
        """The result of a chunk. None if it is not there, or if its file was damaged."""
        try:
            digest, _, content = (self.folder / CHUNKS / name).read_bytes().partition(b"\n")
        except FileNotFoundError:
            return None
        return content if digest == _checksum(content) else None

    def taken(self, name: str) -> bytes:
        """The result of a chunk that is done. Raises RequestError if somebody removed or damaged it."""
        content = self.read(name)
        if content is None:
            raise RequestError(f"{self.folder} lost the chunk {name} while it was used: run the same again")
        return content

    def drop(self, name: str) -> None:
        """Remove the result of a chunk."""
        remove_own(self.folder / CHUNKS / name)

    def write(self, name: str, content: bytes) -> None:
        """Keep the result of a chunk. Raises RequestError if it cannot be written."""
        with explained(self.folder, FLAG):
            if (self.folder / CHUNKS / name).is_symlink():  # what it names is not the journal's
                self.drop(name)
            write_bytes(self.folder / CHUNKS / name, _checksum(content) + b"\n" + content)

    def _require_own(self, document: Mapping[str, Any]) -> None:
        file = self.folder / FILE
        try:
            found = json_in(file)
            if not isinstance(found, Mapping):
                raise TypeError("it is no object")
            for key in ("work", "format"):
                if key not in found:
                    raise ValueError(f"it has no {key}")
            kept, known = found["work"], found["format"]
            if not isinstance(kept, Mapping):
                raise TypeError("its work is no object")
        except FileNotFoundError as error:
            raise RequestError(
                f"{FLAG} {self.folder} holds files and no {FILE}: name an empty or a new folder, or that of "
                "an interrupted run"
            ) from error
        except (OSError, ValueError, TypeError) as error:
            reason = error.strerror or error if isinstance(error, OSError) else error
            raise RequestError(
                f"{file} is not what onnxproof wrote ({reason}): name another folder with {FLAG}"
            ) from error
        if known != FORMAT:
            raise RequestError(f"{file} has format {known!r}, expected {FORMAT}: name another folder")
        if kept != document["work"]:
            work = document["work"]
            keys = [key for key in {**work, **kept} if work.get(key) != kept.get(key)]
            raise RequestError(
                f"{FLAG} {self.folder} belongs to other work, which differs in {', '.join(keys)}: name "
                "another folder, or run the same again"
            )
        with explained(self.folder, FLAG):
            (self.folder / CHUNKS).mkdir(exist_ok=True)


def _checksum(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()
