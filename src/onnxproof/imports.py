"""Import modules when they are first used."""

import contextlib
import gc
import importlib
from collections.abc import Iterator
from types import ModuleType


def imported(name: str) -> ModuleType:
    """A module, imported now if it is not there yet."""
    with collector_paused():
        return importlib.import_module(name)


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """Pause Python's cycle collector, for what makes many objects that stay.

    It takes a fifth of the time in which torch is imported, and of a capture, whose symbolic trace keeps
    millions of small objects alive; it frees next to nothing.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
