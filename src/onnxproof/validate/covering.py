"""Few rows that have every value of every factor, and every pair of values of two factors."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

CANDIDATE_ROWS = 60
"""How many random rows are drawn for each row of the design; the best of them is taken."""


def covering_design(factors: Mapping[str, Sequence[Any]], seed: int) -> Iterator[dict[str, Any]]:
    """Rows that together have every value of every factor and every pair of values of two factors."""
    names = list(factors)
    uncovered = {
        ((a, x), (b, y)) for a, b in itertools.combinations(names, 2) for x in factors[a] for y in factors[b]
    }
    if len(names) == 1:
        yield from ({names[0]: value} for value in factors[names[0]])
    random = np.random.default_rng(seed)
    while uncovered:
        must = min(uncovered, key=repr)
        rows: list[tuple[float, int, dict[str, Any], set[Any]]] = []
        for _ in range(CANDIDATE_ROWS):
            row = {name: values[int(random.integers(len(values)))] for name, values in factors.items()}
            row |= dict(must)
            covered = {pair for pair in itertools.combinations(row.items(), 2) if pair in uncovered}
            rows.append((len(covered) / _cost(row), len(rows), row, covered))
        _, _, best, covered = max(rows, key=lambda entry: entry[:2])
        uncovered -= covered
        yield {name: best[name] for name in names}


def _cost(row: Mapping[str, Any]) -> float:
    """Work of a row: the input's volume, plus a constant so that small rows are not free."""
    return 1e5 + math.prod(value for value in row.values() if isinstance(value, int))
