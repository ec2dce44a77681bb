"""Which candidate of the reference each detection of the other leg is.

If boxes nearly coincide, a detection may be any of several candidates within the error bounds. If it takes
the first of them, another detection may be left with none. So earlier choices are changed as long as that
gives one more detection an origin. When no chain of changes does, no other assignment gives more detections
one (C. Berge, "Two theorems in graph theory", PNAS 43, 1957).
"""

from collections.abc import Callable, Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from onnxproof.runtime.readings.boxes import Candidates, Detections
from onnxproof.validate.compare.margins import Margins
from onnxproof.validate.compare.nearness import candidates_near

NO_CANDIDATE = "the reference has no candidate with this class, box and score"
DUPLICATE = "a duplicate of a detection that is matched already"
DROPPED = "the reference drops it, and no margin lies within the error bound"


class Origins:
    """The origin of each detection of ``found`` that has one. No two detections have the same.

    An origin is a detection of ``wanted``, or an open candidate that the reference drops. Its box and score
    are within the bounds of the detection's. Its class is the detection's, unless its own class is open.

    Origins are numbered: detection i of ``wanted`` is i, candidate k of the reference is len(wanted) + k.
    """

    def __init__(
        self,
        reference: Candidates,
        wanted: Detections,
        found: Detections,
        margins: Margins,
        bounds: Mapping[str, float],
        near: NDArray[np.bool_],
        pairs: Iterable[tuple[int, int]],
    ) -> None:
        """Start with ``pairs`` of indices into ``wanted`` and ``found``.

        ``near`` [len(wanted), len(found)] says whether two detections are within the bounds of each other.
        """
        self._reference, self._wanted, self._found = reference, wanted, found
        self._margins, self._bounds = margins, bounds
        same_class = wanted.labels[:, None] == found.labels
        self._same_class = near & same_class
        self._other_class = near & ~same_class & margins.may_flip(wanted.indices)[:, None]
        # If two detections have the same candidate, the first stands for it: it is paired first.
        rows = enumerate(wanted.indices.tolist())
        self._row_of = {k: i for i, k in reversed(list(rows))}
        self._holders = dict(pairs)
        self._origins = {j: i for i, j in self._holders.items()}
        self._choices: dict[int, list[int]] = {}

    def explain(self) -> None:
        """Give each of ``found`` an origin, if one can be had. What has one keeps one."""
        for j in range(len(self._found)):
            if j not in self._origins:
                reassign(j, self._origins_for, self._origins, self._holders, _stays)

    def keep(self, dispensable: Callable[[int], bool]) -> None:
        """Make each of ``wanted`` an origin that is not ``dispensable``, if a detection can be had for it.

        The detection is taken from a dropped candidate, or from one of ``wanted`` that is ``dispensable``.
        """

        def may_go(origin: int) -> bool:
            return origin >= len(self._wanted) or dispensable(origin)

        for i in range(len(self._wanted)):
            if i not in self._holders and not dispensable(i):
                reassign(i, self._detections_for, self._holders, self._origins, may_go)

    def pairs(self) -> tuple[tuple[int, int], ...]:
        """The detections that are in both legs, as indices into ``wanted`` and ``found``."""
        return tuple((i, j) for j, i in self._origins.items() if i < len(self._wanted))

    def dropped(self) -> dict[int, int]:
        """The dropped candidates that are origins: for a detection's index, the candidate's."""
        count = len(self._wanted)
        return {j: origin - count for j, origin in self._origins.items() if origin >= count}

    def why_none(self, j: int) -> str:
        """Why ``found[j]`` has no origin."""
        below = self._margins.below(float(self._found.scores[j]))
        if below is not None:
            return below
        near = candidates_near(self._reference, self._found, j, self._bounds)
        same_class = _where(near & (self._reference.labels == self._found.labels[j]))
        if not same_class:
            return NO_CANDIDATE
        numbers = (self._row_of.get(k, len(self._wanted) + k) for k in same_class)
        return DUPLICATE if all(number in self._holders for number in numbers) else DROPPED

    def _detections_for(self, i: int) -> list[int]:
        """The detections whose origin ``wanted[i]`` may be, first those of its class."""
        return _where(self._same_class[i]) + _where(self._other_class[i])

    def _origins_for(self, j: int) -> list[int]:
        """What may be the origin of ``found[j]``: first what the reference keeps, first of its class."""
        if j not in self._choices:
            near = candidates_near(self._reference, self._found, j, self._bounds)
            same_class = self._reference.labels == self._found.labels[j]
            candidates = [k for k in _where(near & same_class) if self._may_be(k)]
            candidates += [
                k for k in _where(near & ~same_class) if self._may_be(k) and self._margins.class_open(k)
            ]
            detections = _where(self._same_class[:, j]) + _where(self._other_class[:, j])
            self._choices[j] = detections + [len(self._wanted) + k for k in candidates]
        return self._choices[j]

    def _may_be(self, k: int) -> bool:
        """Whether the reference drops candidate ``k``, but float error may change that."""
        return k not in self._row_of and self._margins.open(k) is not None


def reassign(
    start: int,
    choices: Callable[[int], Iterable[int]],
    partners: dict[int, int],
    holders: dict[int, int],
    may_go: Callable[[int], bool],
) -> bool:
    """Give ``start`` a partner, and others another one where need be. Returns False if that is impossible.

    ``choices(one)`` are the possible partners of ``one``, the best first. ``partners`` maps each to its
    partner, and ``holders`` the other way round; both are changed. What has a partner keeps one, unless it
    ``may_go``. As few partners as possible change.
    """
    came_from: dict[int, int] = {}
    queue = [start]
    for one in queue:
        for partner in choices(one):
            if partner in came_from:
                continue
            came_from[partner] = one
            holder = holders.get(partner)
            if holder is not None and not may_go(holder):
                queue.append(holder)
                continue
            if holder is not None:
                del partners[holder]
            _shift(start, partner, came_from, partners, holders)
            return True
    return False


def _stays(_one: int) -> bool:
    return False


def _shift(
    start: int, last: int, came_from: Mapping[int, int], partners: dict[int, int], holders: dict[int, int]
) -> None:
    """Give each on the chain from ``start`` the partner that it reached; ``last`` is the chain's last."""
    partner = last
    while True:
        one = came_from[partner]
        before = partners.get(one)
        partners[one], holders[partner] = partner, one
        if one == start:
            return
        assert before is not None
        partner = before


def _where(mask: NDArray[np.bool_]) -> list[int]:
    """The indices at which ``mask`` is True."""
    found: list[int] = np.flatnonzero(mask).tolist()
    return found
