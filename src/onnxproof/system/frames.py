"""Room for the frames of Python's calls."""

from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

ROOM = 2**16
"""How many values the frames of the calls below a roomy function hold, about: a thousand calls."""

MORE_THAN_HALF = ROOM + 2**12


def roomy(function: Function) -> Function:
    """A function that makes room for the frames of all calls below it. It is changed in place.

    CPython takes frames from chunks of 16 KiB (``DATA_STACK_CHUNK_SIZE`` in Python/pystate.c). The call that
    does not fit into a chunk asks the system for another, and gives it back when it returns. A loop at that
    depth does so at each round: in a capture with torch.export 52,000 times, at 7 µs each. A
    chunk has as many bytes as its first frame needs, in powers of two. So a frame that claims a little more
    than half of a chunk leaves the rest of it to the calls below. It never touches what it claims.
    """
    code: Any = function.__code__
    function.__code__ = code.replace(co_stacksize=MORE_THAN_HALF)
    return function
