"""Whether rows come in the order that the contract states: the first picture's first, and of each picture the
best score first.

Only NMS that onnxproof puts into a graph states an order: hosts take the first rows, or split them by the
pictures. Of scores that are equal within the error bound either may come first. A file that is compared with
another one breaks the order only where it breaks it further than that one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from onnxproof.contract import Reading
from onnxproof.runtime.readings.adjustable import Array
from onnxproof.runtime.readings.padded import PaddedReading
from onnxproof.runtime.readings.rows import RowReading
from onnxproof.validate.compare.comparer import error_bound, exact

SCORES = 2
"""The position of the scores among the outputs."""


@dataclass(frozen=True, slots=True)
class Disorder:
    """The rows of one run that are out of place.

    ``rise`` is the largest amount by which a row scores more than one before it, of the same picture.
    ``better`` and ``worse`` are the two scores. ``mixed`` says in words which picture's row comes too late,
    if one does.
    """

    rise: float = 0.0
    better: float = 0.0
    worse: float = 0.0
    mixed: str = ""

    def beyond(self, reference: "Disorder | None") -> "Disorder | None":
        """What is out of place further than in the ``reference``'s rows. Returns None if nothing is."""
        if reference is None:
            return self
        rise = max(self.rise - reference.rise, 0.0)
        found = replace(self, rise=rise, mixed="" if reference.mixed else self.mixed)
        return found if rise or found.mixed else None

    def told(self, bound: float) -> str | None:
        """What is wrong, if a score may have moved by ``bound``. Returns None if nothing is."""
        if self.mixed:
            return self.mixed
        if self.rise <= 2 * bound:
            return None
        return (
            f"a row that scores {exact(self.better)} comes behind one of its picture that scores "
            f"{exact(self.worse)}, {error_bound(bound, each=True)}"
        )


def states_order(reading: Reading) -> bool:
    """Whether a file of this reading promises the order of its rows."""
    return isinstance(reading, RowReading) and reading.batch is not None


def disorder_of(outputs: Mapping[str, Array], sizes: Mapping[str, int], reading: Reading) -> Disorder | None:
    """The rows of one run that are out of place. Returns None if all are in order, or no order is stated."""
    if not isinstance(reading, RowReading) or not states_order(reading):
        return None
    worst = Disorder()
    for own, _ in reading.by_picture(outputs, sizes, {}):
        scores = own[reading.outputs[SCORES]].astype(np.float64)
        if len(scores) < 2 or not np.isfinite(scores).all():
            continue  # the check "finite" tells
        least = np.minimum.accumulate(scores)[:-1]
        at = int(np.argmax(scores[1:] - least))
        rise = float(scores[at + 1] - least[at])
        if rise > worst.rise:
            worst = Disorder(rise, float(scores[at + 1]), float(least[at]))
    mixed = "" if isinstance(reading, PaddedReading) else _mixed(outputs[reading.outputs[-1]])
    found = Disorder(worst.rise, worst.better, worst.worse, mixed)
    return None if found == Disorder() else found


def _mixed(pictures: Array) -> str:
    """Which row of an earlier picture comes behind a later one's, in words; empty if none does."""
    latest = np.maximum.accumulate(pictures)
    behind = np.flatnonzero(pictures < latest)
    if not len(behind):
        return ""
    return f"a row of picture {pictures[behind[0]]} comes behind one of picture {latest[behind[0]]}"
