"""What ``bench`` found: a row for each contestant, and who was left out and why."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

OWN = "the bundle"
"""The contestant that others are compared with."""

NOISY = 0.15
"""A ratio whose middle half of rounds spans more than this share of its median says nothing."""

ALIKE = 0.05
"""How far from 1 a ratio may be between processes that run the same file: measured, up to 0.03."""

DOUBT = 0.05
"""How often the interval of a ratio does not hold the true median."""


@dataclass(frozen=True, slots=True)
class Row:
    """One contestant at one size, batch and number of threads.

    ``sizes`` are the dynamic dimensions but the batch's, such as "height=96, width=96". ``p50``, ``p95`` and
    ``p99`` are of a run, in seconds; ``spread`` is the range of the middle half of the rounds, as a share of
    the median. ``throughput`` is rows a second. ``first`` is the time from the start of a new process to its
    first result, in seconds, imports included. ``peak`` is the most memory that the process took, in bytes,
    its libraries included; None if the system does not tell. ``ratio`` is the median over rounds of this
    contestant's time by the bundle's in the same round, ``low`` and ``high`` its interval at 95 %, and
    ``ratio_spread`` its spread; they are None for the bundle.
    """

    name: str
    sizes: str
    batch: int
    threads: int
    p50: float
    p95: float
    p99: float
    spread: float
    throughput: float
    first: float
    peak: int | None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    ratio_spread: float | None = None

    @property
    def noisy(self) -> bool:
        """Whether the machine was too noisy to tell."""
        return not (self.spread if self.ratio_spread is None else self.ratio_spread) <= NOISY

    @property
    def said(self) -> str:
        """What the row says beside its numbers; empty if the numbers say it."""
        if self.noisy:
            return "too noisy to tell"
        if self.ratio is None or self.low is None or self.high is None:
            return ""
        apart = abs(self.ratio - 1) > ALIKE and not self.low <= 1 <= self.high
        return "" if apart else "no clear difference"

    def to_json(self) -> dict[str, Any]:
        """A JSON object of these; times are in milliseconds."""
        return {
            "name": self.name,
            "sizes": self.sizes,
            "batch": self.batch,
            "threads": self.threads,
            **{f"{key}_ms": 1e3 * getattr(self, key) for key in ("p50", "p95", "p99", "first")},
            "spread": self.spread,
            "throughput": self.throughput,
            "peak_bytes": self.peak,
            **{key: getattr(self, key) for key in ("ratio", "low", "high", "ratio_spread", "noisy")},
        }


@dataclass(frozen=True, slots=True)
class Refused:
    """A contestant that is not compared, and why."""

    name: str
    sizes: str
    batch: int
    threads: int
    reason: str

    def to_json(self) -> dict[str, Any]:
        """A JSON object of these."""
        return {key: getattr(self, key) for key in ("name", "sizes", "batch", "threads", "reason")}


@dataclass(frozen=True, slots=True)
class Figures:
    """What ``bench`` returns."""

    rows: tuple[Row, ...]
    refused: tuple[Refused, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """A JSON object of these."""
        return {
            "noisy_above": NOISY,
            "rows": [row.to_json() for row in self.rows],
            "refused": [one.to_json() for one in self.refused],
            "notes": list(self.notes),
        }


Rounds = Sequence[Sequence[float]]
"""The seconds of the runs of each round."""


def row_of(
    name: str,
    sizes: str,
    batch: int,
    threads: int,
    rounds: Rounds,
    base: Rounds,
    first: float,
    peak: int | None,
) -> Row:
    """The row of a contestant. ``base`` are the bundle's rounds."""
    p50, p95, p99 = (
        float(value) for value in np.percentile([one for turn in rounds for one in turn], (50, 95, 99))
    )
    medians = [statistics.median(turn) for turn in rounds]
    own = (name, sizes, batch, threads, p50, p95, p99, _spread(medians), batch / p50, first, peak)
    if name == OWN:
        return Row(*own)
    ratios = [mine / statistics.median(turn) for mine, turn in zip(medians, base, strict=True)]
    return Row(*own, statistics.median(ratios), *interval(ratios), _spread(ratios))


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Between which of the values the true median lies, but for ``DOUBT`` of all cases; all of them if they
    are too few to say so.

    It needs no distribution: the number of values below the median is binomial (Conover, "Practical
    nonparametric statistics", 1999, section 3.2).
    """
    count, below, cut = len(values), 0.0, 0
    while cut < count // 2:
        below += math.comb(count, cut) / 2**count
        if below > DOUBT / 2:
            break
        cut += 1
    ordered = sorted(values)
    at = max(cut - 1, 0)
    return ordered[at], ordered[count - 1 - at]


def _spread(values: Sequence[float]) -> float:
    low, middle, high = np.percentile(values, (25, 50, 75))
    return float((high - low) / middle)
