"""Import modules when they are first used."""

import gc
import importlib
from types import ModuleType


def imported(name: str) -> ModuleType:
    """A module, imported now if it is not there yet, with Python's cyclic garbage collector at rest.

    An import makes objects that stay. Looking through them for garbage takes a fifth of the time in which
    torch is imported.
    """
    collected = gc.isenabled()
    gc.disable()
    try:
        return importlib.import_module(name)
    finally:
        if collected:
            gc.enable()
