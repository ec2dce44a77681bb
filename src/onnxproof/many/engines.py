"""Where chunks are worked on: processes of this machine, or those of a Dask cluster.

Both are used through the standard interface, ``concurrent.futures.Executor``.
"""

import contextlib
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import CancelledError, Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, Protocol

from onnxproof.errors import RequestError
from onnxproof.many.worker import begin
from onnxproof.system.extras import require_extra
from onnxproof.system.imports import imported

AHEAD = 2
"""Chunks that are handed out for each worker: the one that it works on, and the next."""

CONNECT_S, WAIT_S = 10, 60
"""Seconds in which a scheduler has to answer, and in which it has to have a worker."""


class Engine(Protocol):
    """A way to get executors. A new one is opened when workers were lost."""

    def opened(self) -> contextlib.AbstractContextManager[Executor]:
        """An executor. Its workers end with the block, also if work is left."""

    def in_flight(self) -> int:
        """How many chunks to hand out at once."""

    def is_loss(self, error: BaseException) -> bool:
        """Whether a future's error says that its worker died, and nothing of the work itself."""

    def __str__(self) -> str:
        """The workers, for messages."""


@dataclass(frozen=True, slots=True)
class Processes:
    """So many processes of this machine. They are started anew (spawn), for torch does not survive a fork."""

    workers: int

    def __str__(self) -> str:
        return f"{self.workers} worker{'' if self.workers == 1 else 's'}"

    @contextlib.contextmanager
    def opened(self) -> Iterator[Executor]:
        before = set(multiprocessing.active_children())
        spawn = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(self.workers, mp_context=spawn, initializer=begin)
        try:
            yield pool
        except BaseException:
            for child in set(multiprocessing.active_children()) - before:
                child.terminate()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def in_flight(self) -> int:
        return AHEAD * self.workers

    def is_loss(self, error: BaseException) -> bool:
        return isinstance(error, BrokenProcessPool)


class Dask:
    """The workers of a Dask cluster, by its scheduler's address, such as "tcp://10.0.0.1:8786".

    Raises RequestError if no scheduler answers there, MissingPackageError without distributed.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        require_extra("dask", "--dask")
        self._distributed = imported("distributed")
        try:
            self._client: Any = self._distributed.Client(
                address, timeout=f"{CONNECT_S}s", set_as_default=False
            )
        except (OSError, ValueError) as error:  # TimeoutError is an OSError
            raise RequestError(
                f"--dask {address}: no scheduler answers there ({error}): start one with dask scheduler"
            ) from error

    def __str__(self) -> str:
        return f"{len(self._client.nthreads())} Dask workers"

    @contextlib.contextmanager
    def opened(self) -> Iterator[Executor]:
        try:
            self._client.wait_for_workers(1, timeout=WAIT_S)
        except TimeoutError as error:
            raise RequestError(
                f"--dask {self.address}: the scheduler has no worker: start some with dask worker"
            ) from error
        executor: Executor = self._client.get_executor(pure=False)
        try:
            yield executor
        finally:
            executor.shutdown(wait=False)

    def in_flight(self) -> int:
        threads: int = sum(self._client.nthreads().values())
        return AHEAD * max(1, threads)

    def is_loss(self, error: BaseException) -> bool:
        lost = (self._distributed.KilledWorker, CancelledError)
        return isinstance(error, lost)

    def close(self) -> None:
        """Leave the cluster as it is, and let go of it."""
        self._client.close()
