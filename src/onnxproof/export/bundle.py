"""Write a bundle beside its target and swap it in, so that a reader never sees a half."""

import contextlib
import ctypes
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from onnxproof.errors import RequestError

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
"""From Linux's <fcntl.h> and <linux/fs.h>."""


@contextlib.contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """A fresh folder beside ``target`` that takes its place when the block ends without an error.

    Whatever was at ``target`` stays there, whole, until then; on an error it stays for good. Raises
    RequestError where the target's parent cannot be written, or the target is a file.
    """
    # Of a linked bundle the link stays: what it names is replaced, and staged beside that.
    target = Path(os.path.realpath(target))
    if target.exists() and not target.is_dir():
        raise RequestError(f"{target} is a file: name another folder with --out")
    if target.parent.exists() and not target.parent.is_dir():
        raise RequestError(
            f"{target} cannot be written, {target.parent} is a file: name another folder with --out"
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise RequestError(
            f"{target.parent} cannot be written ({error.strerror}): name another folder with --out"
        ) from error
    try:
        yield staging
        staging.chmod(0o777 & ~_umask())
        _swap(staging, target)
    except OSError as error:
        raise RequestError(f"{target} cannot be written ({error.strerror or error})") from error
    finally:
        # After the swap this is the old bundle, after an error the unfinished new one.
        shutil.rmtree(staging, ignore_errors=True)


def _swap(staging: Path, target: Path) -> None:
    """Put ``staging`` at ``target``; what was there, if anything, is at ``staging`` afterwards."""
    if not target.exists():
        staging.rename(target)
    elif not _exchange(staging, target):
        # Elsewhere than on Linux there is no exchange: for a moment between these two there is none.
        old = staging.with_name(f"{staging.name}-old")
        target.rename(old)
        staging.rename(target)
        old.rename(staging)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step; False where the system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    done = renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)
    return bool(done == 0)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
