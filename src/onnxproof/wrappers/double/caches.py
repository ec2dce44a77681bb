"""Caches of functions (``functools.lru_cache``) that hold tensors.

A model may keep a table, such as a position embedding, in the cache of the function that computes it, by size
and dtype. In the float64 modes it sees the same sizes and dtypes as without them. So the cache would give the
table of a float32 run to the float64 run, and the other way round.
"""

import gc
from typing import Any

from torch import Tensor

from onnxproof.system.imports import function_caches

OTHERS = ("torch", "sympy")
"""Packages whose own caches hold no table of a model, and many other entries."""

DEEPEST = 5
"""How many containers deep a tensor is looked for, the cache's own included: an entry may contain itself."""


class Caches:
    """The functions with a cache that exist now, without those of ``OTHERS``."""

    def __init__(self) -> None:
        self._caches = tuple(
            one for one in function_caches() if str(one.__module__).partition(".")[0] not in OTHERS
        )
        self._misses = [0] * len(self._caches)

    def drop_tensors(self) -> None:
        """Clear each cache that holds a tensor. Its function computes the tensor anew.

        Only caches with a new entry are looked into: each entry is a miss.
        """
        for at, cache in enumerate(self._caches):
            misses = cache.cache_info().misses
            if misses == self._misses[at]:
                continue
            if _holds_tensor(gc.get_referents(cache), DEEPEST):
                cache.cache_clear()
                misses = 0
            self._misses[at] = misses


def _holds_tensor(value: Any, depth: int) -> bool:
    if isinstance(value, Tensor):
        return True
    if not depth or not isinstance(value, tuple | list | dict):
        return False
    items = value.values() if isinstance(value, dict) else value
    return any(_holds_tensor(item, depth - 1) for item in items)
