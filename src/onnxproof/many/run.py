"""Work on all chunks: hand out a few at a time, keep each result, and do again what a dying worker lost."""

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field

from onnxproof.errors import CheckError
from onnxproof.many.chunks import Chunk
from onnxproof.many.engines import Engine
from onnxproof.many.journal import Journal
from onnxproof.many.worker import Task, work

MOST_TRIES = 3
"""How often a chunk is tried. From the second time on it is tried alone, so that it is known which one kills
its worker."""


def completed(
    task: Task, chunks: Iterable[Chunk], engine: Engine, journal: Journal
) -> Generator[Chunk, None, None]:
    """Each chunk once, as soon as its result is in the journal.

    What an earlier run left in the journal is not done again. Raises what the task raises, and CheckError if
    workers die of one chunk again and again. The results so far stay in the journal.
    """
    run = _Run(task, iter(chunks), engine, journal)
    while True:
        with engine.opened() as executor:
            if not (yield from run.on(executor)):
                return


@dataclass(slots=True)
class _Run:
    """Which chunks are left, running and lost. ``lost`` are those whose worker died, to be tried alone."""

    task: Task
    left: Iterator[Chunk]
    engine: Engine
    journal: Journal
    lost: deque[Chunk] = field(default_factory=deque)
    tries: dict[int, int] = field(default_factory=dict)
    running: dict[Future[bytes], Chunk] = field(default_factory=dict)

    def on(self, executor: Executor) -> Generator[Chunk, None, bool]:
        """Work with one executor until all is done, or a worker is lost. Returns whether one was."""
        died = False
        while True:
            if not died:
                died = yield from self._hand_out(executor)
            if not self.running:
                return died
            finished, _ = wait(self.running, return_when=FIRST_COMPLETED)
            for future in finished:
                chunk = self.running.pop(future)
                error = None if future.cancelled() else future.exception()
                if future.cancelled() or (error is not None and self.engine.is_loss(error)):
                    self._lose(chunk, error)
                    died = True
                    continue
                self.journal.write(chunk.name, future.result())
                yield chunk

    def _hand_out(self, executor: Executor) -> Generator[Chunk, None, bool]:
        """Submit chunks until enough are running. Returns whether the executor takes none any more."""
        while len(self.running) < self.engine.in_flight():
            if self.lost:
                if self.running:
                    break
                chunk = self.lost.popleft()
            else:
                following = next(self.left, None)
                if following is None:
                    break
                chunk = following
                if self.journal.has(chunk.name):
                    yield chunk
                    continue
            try:
                self.running[executor.submit(work, self.task, chunk.pictures)] = chunk
            except BrokenProcessPool:
                self.lost.append(chunk)
                return True
            if self.tries.get(chunk.number):
                break
        return False

    def _lose(self, chunk: Chunk, error: BaseException | None) -> None:
        self.tries[chunk.number] = self.tries.get(chunk.number, 0) + 1
        if self.tries[chunk.number] >= MOST_TRIES:
            raise CheckError(
                f"the process that worked on {chunk.told} died {MOST_TRIES} times: leave out the picture "
                "that it dies of, or use fewer workers if memory is short"
            ) from error
        self.lost.append(chunk)
