"""A thread for work beside the caller's, and who waits for it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


@contextmanager
def a_thread(name: str) -> Iterator[ThreadPoolExecutor]:
    """A pool of one thread.

    If the block raises an error, what the thread is at is waited for, since PyTorch's default dtype, which a
    leg changes, is that of whatever follows, too. A signal or Ctrl-C ends the run at once.
    """
    pool = ThreadPoolExecutor(1, name)
    try:
        yield pool
    except Exception:
        pool.shutdown(wait=True, cancel_futures=True)
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
