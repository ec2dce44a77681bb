"""Hidden names beside a target, each held by a lock that dies with its process.

They are ``.TARGET.onnxproof-N``. The process that writes one holds a lock on it, which the system drops
however the process dies. If a hidden file has no lock, the next writer of the same target takes it for a
leftover, and removes it. Windows and some network file systems have no such locks: there, hidden names are
random and leftovers stay.
"""

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from onnxproof.system.cleaning import cleaned_up
from onnxproof.system.signals import signals_held

if sys.platform != "win32":
    import fcntl

SLOTS = 16
"""Hidden names that are tried for one target. So many processes can write it at once and remove leftovers."""

LONGEST_NAME = 200
"""Bytes of a target's name that its hidden name repeats. Common file systems allow 255 for the whole."""

FOLDER_SUFFIX = ".new"
"""What the hidden folder of a claim adds to the name of the file that locks it."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A hidden file that this process made and locked."""

    path: Path
    descriptor: int


@contextlib.contextmanager
def claimed_folder(target: Path, mode: int) -> Iterator[Path]:
    """An empty hidden folder beside ``target``, which goes with its content when the block ends."""
    with cleaned_up() as at_end:
        with signals_held(to_the_end=True):
            claimed = claim(target)
            at_end.callback(os.close, claimed.descriptor)
            at_end.callback(_remove, claimed.path)
            folder = _folder_of(claimed.path)
            folder.mkdir(mode)
        yield folder


def claim(target: Path) -> Claim:
    """Make and lock a hidden file beside ``target``, and remove the leftovers of killed processes there."""
    names = [_hidden(target, str(slot)) for slot in range(SLOTS)] if sys.platform != "win32" else []
    for path in names:
        _sweep(path)
    for path in (*names, _hidden(target, secrets.token_hex(8))):
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_BINARY", 0), 0o666)
        except FileExistsError:
            continue
        # Between opening and locking, another process may take the file for a leftover.
        if _lock(descriptor) is not False and is_at(descriptor, path) and not _folder_of(path).exists():
            return Claim(path, descriptor)
        os.close(descriptor)
    raise FileExistsError(errno.EEXIST, "the hidden names beside it are all taken", str(target))


def _hidden(target: Path, slot: str) -> Path:
    name = target.name
    if len(os.fsencode(name)) > LONGEST_NAME:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return target.with_name(f".{name}.onnxproof-{slot}")


def _folder_of(path: Path) -> Path:
    return path.with_name(path.name + FOLDER_SUFFIX)


def _sweep(path: Path) -> None:
    """Remove a claim whose process died. A claim that a process holds or another user made stays."""
    if not os.path.lexists(path):
        return
    try:
        descriptor = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return
    try:
        found = os.fstat(descriptor)
        ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
        if ours and _lock(descriptor) and is_at(descriptor, path):
            _remove(path)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    """Remove a claim that this process holds: first its folder, so that no folder is left without a lock."""
    shutil.rmtree(_folder_of(path), ignore_errors=True)
    with contextlib.suppress(OSError):
        path.unlink()


def _lock(descriptor: int) -> bool | None:
    """Lock an open file until it is closed or its process dies.

    Returns False if another process holds the lock, and None if the system has no such locks.
    """
    if sys.platform == "win32":
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the file at ``path``."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except OSError:
        return False
