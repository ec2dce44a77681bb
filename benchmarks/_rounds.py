"""Side-by-side timing: contestants take turns in one process, and ratios are taken round by round.

Machines drift and neighbours are noisy; a ratio within a round is not fooled by either as a quotient of
two separate timings is.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of each round of one contestant."""

    name: str
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median over the rounds, in seconds."""
        return statistics.median(self.seconds)

    def over(self, other: "Timing") -> float:
        """The median of this contestant's time over the other's, round by round."""
        return statistics.median(a / b for a, b in zip(self.seconds, other.seconds, strict=True))


def take_turns(contestants: Mapping[str, Callable[[], object]], rounds: int, warmup: int = 1) -> list[Timing]:
    """Run every contestant once a round; the first ``warmup`` rounds are not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(warmup + rounds):
        for name, run in contestants.items():
            start = time.perf_counter()
            run()
            elapsed = time.perf_counter() - start
            if number >= warmup:
                seconds[name].append(elapsed)
    return [Timing(name, tuple(values)) for name, values in seconds.items()]
