"""What is taken back when a block ends, whatever ends it.

A signal that asks to stop raises an exception between any two steps of Python, in a removal, too. So it waits
while a block cleans up. If it comes in the step just before, the block around cleans up, or the process when
it ends.
"""

import atexit
import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from onnxproof.system.signals import Stopped, signals_held


@dataclass(frozen=True, slots=True, eq=False)
class _Block:
    """What a block has to do at its end, and who began it: a process that is forked off inherits the list."""

    steps: contextlib.ExitStack
    process: int
    thread: int


_begun: list[_Block] = []
"""The blocks that have not cleaned up, in the order in which they began."""


@contextlib.contextmanager
def cleaned_up() -> Iterator[contextlib.ExitStack]:
    """A stack whose callbacks are called when the block ends, the last one first.

    Signals that ask to stop wait meanwhile, however many come. Make what is to be removed, and register its
    removal, inside ``signals_held``: a signal in between would leave it.
    """
    block = _Block(contextlib.ExitStack(), os.getpid(), threading.get_ident())
    _begun.append(block)
    try:
        yield block.steps
    finally:
        with signals_held(to_the_end=True):
            if isinstance(sys.exception(), KeyboardInterrupt | Stopped) and block in _begun:
                # It may have come where a block inside of this one was about to clean up.
                _clean_up_since(_begun.index(block), block.thread)
            _clean_up(block)


@atexit.register
def clean_up_left() -> None:
    """Clean up after the blocks that a signal ended before they did it themselves."""
    with signals_held(to_the_end=True):
        _clean_up_since(0, None)


def _clean_up_since(first: int, thread: int | None) -> None:
    """Clean up after the blocks of this process from ``first`` on, of one thread or of all."""
    for block in reversed(_begun[first:]):
        if block.process == os.getpid() and thread in (None, block.thread):
            _clean_up(block)


def _clean_up(block: _Block) -> None:
    if block in _begun:
        _begun.remove(block)
    block.steps.close()
