"""Open what a run over many pictures needs: its workers, and the journal of its results."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from onnxproof.many.engines import Dask, Engine, Processes
from onnxproof.many.journal import Journal
from onnxproof.many.workers import Workers, cores
from onnxproof.system.scratch import scratch_folder


@contextlib.contextmanager
def opened_engine(workers: Workers, most: int) -> Iterator[Engine]:
    """The workers; of this machine at most ``most`` if no count is given. Raises as ``Dask`` does."""
    if workers.dask is None:
        yield Processes(workers.count or max(1, min(cores(), most)))
        return
    dask = Dask(workers.dask)
    try:
        yield dask
    finally:
        dask.close()


@contextlib.contextmanager
def opened_journal(workers: Workers, work: Mapping[str, Any]) -> Iterator[Journal]:
    """The journal of a piece of work. Raises as ``Journal`` does."""
    if workers.resume is not None:
        yield Journal(Path(workers.resume), work)
        return
    with scratch_folder() as folder:
        yield Journal(folder, work)
