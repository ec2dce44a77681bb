"""Import modules when they are first used."""

import atexit
import contextlib
import functools
import gc
import importlib
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from onnxproof.system.signals import signals_held

CACHE = type(functools.lru_cache(int))
"""The type of a function with a cache."""

PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE"}
"""What lets PyTorch's threads sleep while they wait, if it is set before torch is imported. Otherwise they
spin, which takes the cores from each other and from other processes: where another one computes, the same
export took 170 s instead of 28. It changes no figure."""

_frozen: list[bool] = []
"""Has an entry once ``freeze_imports`` was called."""

_frozen_caches: list[Any] = []
"""The functions with a cache among what was frozen. The collector no longer lists these."""


def imported(name: str) -> ModuleType:
    """A module, imported now if it is not there yet. A signal that asks to stop waits until it is there."""
    known = name in sys.modules
    with signals_held(), collector_paused():
        module = importlib.import_module(name)
        if known:
            return module
        if _frozen:
            _frozen_caches.extend(_listed_caches())
            gc.freeze()
        elif not gc.get_freeze_count():
            # In a program of somebody else nothing is frozen: what was imported only counts as old. As new
            # objects they would be gone through by the next collections, the last time with all others.
            gc.freeze()
            gc.unfreeze()
        return module


def function_caches() -> tuple[Any, ...]:
    """The functions with a cache (``functools.lru_cache``) that exist, frozen or not."""
    return (*_frozen_caches, *_listed_caches())


def _listed_caches() -> Iterator[Any]:
    # An object of a type that C code makes refers to its type. Listing all objects takes twice as long.
    return (one for one in gc.get_referrers(CACHE) if type(one) is CACHE)


def freeze_imports() -> None:
    """From now on, leave what is imported out of collections. For a process that runs one command.

    What is imported stays, half a million objects with torch, and each full collection would go through it.
    What is garbage at that moment is not freed either.
    """
    if _frozen:
        return
    _frozen.append(True)
    atexit.register(gc.unfreeze)  # libraries report what is not collected at the end as leaks


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
