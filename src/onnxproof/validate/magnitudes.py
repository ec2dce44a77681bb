"""How often errors of each magnitude occur: counts by powers of two, of a sample of the errors."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

SAMPLE = 4096
"""How many errors of one run are counted, evenly spaced. A histogram needs no more."""

LEAST = -200
"""The smallest exponent; errors of 0 have it, too. No two float32 numbers differ by so little."""


@dataclass(slots=True)
class Magnitudes:
    """``counts[exponent]`` is how many errors have a magnitude in [2**(exponent - 1), 2**exponent)."""

    counts: Counter[int] = field(default_factory=Counter)

    def add(self, errors: NDArray[Any]) -> None:
        """Count a sample of finite errors, of any shape."""
        flat = errors.ravel()
        if flat.size > SAMPLE:
            flat = flat[np.arange(SAMPLE) * flat.size // SAMPLE]
        exponents = np.where(flat == 0, LEAST, np.maximum(np.frexp(flat)[1], LEAST))
        for place, count in enumerate(np.bincount(exponents - LEAST).tolist()):
            if count:
                self.counts[place + LEAST] += count

    def merge(self, other: Self) -> None:
        """Add what was counted elsewhere."""
        self.counts.update(other.counts)
