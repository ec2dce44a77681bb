"""How many threads PyTorch computes with."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

import torch

_taken: ContextVar[int] = ContextVar("taken", default=0)


def use_threads(threads: int) -> None:
    """Have PyTorch compute with so many threads in this thread; with one fewer ``beside_another``."""
    torch.set_num_threads(max(1, threads - _taken.get()))


@contextlib.contextmanager
def beside_another() -> Iterator[None]:
    """Inside, PyTorch leaves one processor to a computation that runs at the same time."""
    token = _taken.set(1)
    try:
        yield
    finally:
        _taken.reset(token)
