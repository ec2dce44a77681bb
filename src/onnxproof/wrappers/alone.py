"""One module at a time.

PyTorch's default dtype, its fast path of attention, and what a run in float64 patches, are the process's and
not a thread's. While a module runs in float64, another thread's would make its tensors in float64, too. And
of two threads that each put back what was before, the last one puts back what the other had set.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.RLock()


@contextmanager
def alone() -> Iterator[None]:
    """Inside, no other thread is."""
    with _lock:
        yield


def _renewed() -> None:
    """The thread that holds the lock is not in a forked process."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renewed)
