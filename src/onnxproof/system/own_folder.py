"""How a folder that onnxproof wrote is replaced by a new one, and no other folder ever is."""

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from onnxproof.errors import RequestError
from onnxproof.system.files import explained, lies_in, loop_in, staging_folder, swap
from onnxproof.system.signals import signals_held

SYSTEM_FILES = (".DS_Store", "Thumbs.db", "desktop.ini")
"""What file managers put into folders that somebody looked at. Losing one loses nothing."""

SHOWN_NAMES = 5
"""How many foreign files a message names."""

_SIGNATURE = re.compile(
    rb"\n<!-- written by onnxproof \w+; SHA-256 of the lines above: ([0-9a-f]{64}) -->\n\Z"
)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of folder that a command writes.

    ``command`` is the command's name and ``what`` its folders' name in the plural, for messages. ``why_kept``
    says why a folder must not be replaced, and returns None if it may be: if it is empty, or such a folder
    with nothing else in it.
    """

    command: str
    what: str
    why_kept: Callable[[Path], str | None]


@contextlib.contextmanager
def staged_folder(target: Path, kind: Kind, inputs: Iterable[Path] = ()) -> Iterator[Path]:
    """An empty folder beside ``target`` that takes its place when the block ends without an error.

    Until then ``target`` keeps its old content; after an error it keeps that for good. If ``target`` is a
    link, the folder that it names is replaced, and the link stays. Raises RequestError if the target cannot
    be written, if it may not be replaced, or if one of ``inputs`` lies in it. This is checked before the
    block, and again after it.
    """
    target = Path(os.path.realpath(target))
    inputs = tuple(inputs)
    check_target(target, kind, inputs)
    with explained(target), staging_folder(target) as staged:
        yield staged
        check_target(target, kind, inputs)
        with signals_held(to_the_end=True):
            swap(staged, target)
            try:
                # The old content: files may have come since the last check.
                _check(target, staged, kind, inputs)
            except RequestError:
                swap(staged, target)
                raise


def check_target(target: Path, kind: Kind, inputs: Iterable[Path] = ()) -> None:
    """Raise RequestError if a folder must not be written to ``target``, as ``staged_folder`` does."""
    target = Path(os.path.realpath(target))
    with explained(target):
        _check(target, target, kind, tuple(inputs))


def _check(target: Path, folder: Path, kind: Kind, inputs: Iterable[Path]) -> None:
    """Raises RequestError if ``folder`` must not be removed. It is at ``target``, or was until the swap."""
    loop = loop_in(folder)
    if loop is not None:
        raise RequestError(f"{loop} is a link that leads to itself: name another folder with --out")
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
    reason = kind.why_kept(folder)
    if reason is not None:
        raise RequestError(
            f"{target} {reason}: {kind.command} replaces only {kind.what} that it wrote and empty folders; "
            "move it away, or name another folder with --out"
        )


def names_in(folder: Path) -> list[str]:
    """The names of a folder's entries, sorted, without those that file managers make."""
    return sorted(entry.name for entry in folder.iterdir() if entry.name not in SYSTEM_FILES)


def listed(names: list[str]) -> str:
    """The first few names, for a message."""
    more = len(names) - SHOWN_NAMES
    return ", ".join(names[:SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")


def signed(text: str, command: str) -> str:
    """A README with a last line that tells whether it is still as the command wrote it."""
    found = hashlib.sha256(text.encode("utf-8")).hexdigest()
    return f"{text}\n<!-- written by onnxproof {command}; SHA-256 of the lines above: {found} -->\n"


def is_signed(file: Path) -> bool:
    """Whether a README is one that a command wrote, and nobody edited since."""
    try:
        content = file.read_bytes().replace(b"\r\n", b"\n")
    except OSError:
        return False
    found = _SIGNATURE.search(content)
    return found is not None and hashlib.sha256(content[: found.start()]).hexdigest().encode() == found[1]
