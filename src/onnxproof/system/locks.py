"""A lock that processes of one machine hold in turn."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

if sys.platform != "win32":
    import fcntl


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold a lock that one process has at a time; others wait for it. It is dropped when its holder dies.

    ``file`` is made, and stays. Windows and some network file systems have no such locks: there nobody waits.
    """
    descriptor = os.open(file, os.O_CREAT | os.O_RDWR, 0o666)
    try:
        if sys.platform != "win32":
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
