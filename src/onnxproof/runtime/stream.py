"""Answer a stream of pictures: the next are read while the model runs, and those of one size run together."""

import importlib
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Any, Generic, TypeVar

Picture = TypeVar("Picture")
Fed = TypeVar("Fed")
Told = TypeVar("Told")


class Stream(Generic[Picture, Fed, Told]):
    """A bounded pipeline over pictures.

    ``feed`` makes of a picture what the model takes, in one of ``readers`` threads, or in the caller's if
    there are none. ``size_of`` says which of these may run together, or None if there is nothing to run; then
    ``answer`` gets it alone. ``answer`` runs in the caller's thread, on at most ``batch``. At most ``ahead``
    pictures are held.
    """

    def __init__(
        self,
        feed: Callable[[Picture], Fed],
        size_of: Callable[[Fed], Hashable | None],
        answer: Callable[[Sequence[Fed]], Sequence[Told]],
        *,
        batch: int,
        ahead: int,
        readers: int,
    ) -> None:
        self._feed, self._size_of, self._answer = feed, size_of, answer
        self._batch, self._ahead, self._readers = batch, ahead, readers

    def over(self, pictures: Iterable[Picture]) -> Iterator[Told]:
        """The answers, in the order of the pictures."""
        source = iter(pictures)
        reading: dict[int, Callable[[], Fed]] = {}
        waiting: dict[Hashable, list[tuple[int, Fed]]] = {}
        answers: dict[int, Told] = {}
        started = told = 0

        def run(together: Sequence[tuple[int, Fed]]) -> None:
            found = self._answer([fed for _, fed in together])
            answers.update(zip((number for number, _ in together), found, strict=True))

        with self._readers_started() as start:
            while True:
                for picture in islice(source, max(0, self._ahead - (started - told))):
                    reading[started] = start(picture)
                    started += 1
                if told == started:
                    return
                if reading:
                    number = next(iter(reading))
                    fed = reading.pop(number)()
                    size = self._size_of(fed)
                    if size is None:
                        run([(number, fed)])
                    else:
                        same = waiting.setdefault(size, [])
                        same.append((number, fed))
                        if len(same) == self._batch:
                            run(waiting.pop(size))
                else:
                    # No picture is left to be read: answer those that wait with the first of all.
                    run(waiting.pop(next(iter(waiting))))
                while told in answers:
                    yield answers.pop(told)
                    told += 1

    @contextmanager
    def _readers_started(self) -> Iterator[Callable[[Picture], Callable[[], Fed]]]:
        """What begins to read a picture, and returns what waits for it."""
        if not self._readers:
            yield lambda picture: partial(self._feed, picture)
            return
        # Imported only here, because threads take 2% of a cold start.
        pool: Any = importlib.import_module("concurrent.futures").ThreadPoolExecutor(self._readers)
        try:
            yield lambda picture: pool.submit(self._feed, picture).result
        finally:
            pool.shutdown(cancel_futures=True)
