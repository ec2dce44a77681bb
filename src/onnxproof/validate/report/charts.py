"""Charts of a verdict as numbers: where each mark lies and what it says. The HTML report draws them."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onnxproof.validate.cases import BATCH, Case
from onnxproof.validate.contents import CONSTANT
from onnxproof.validate.facts import Facts
from onnxproof.validate.magnitudes import LEAST
from onnxproof.validate.measure import Measurement

CELL = (46, 26)
"""Width and height of a heat map's cell with its figure, in pixels."""

SMALL_CELL = (16, 16)
"""The same without the figure."""

MOST_FIGURES = 16
"""A heat map with more columns than this shows colours alone. Its table has the figures."""

LABELS = (72, 34)
"""Room for the labels left of a heat map and above it, in pixels."""

STEPS = (0.5, 1.0, 1.5, 2.0)
"""Ratios at which the colour changes, below the limit."""

PLOT = (640, 180)
"""Width and height of a histogram without its labels, in pixels."""


@dataclass(frozen=True, slots=True)
class Cell:
    """The largest ratio over the cases of two sizes.

    ``level`` chooses the colour: how many STEPS lie below the ratio, or "over" past the limit.
    """

    x: int
    y: int
    figure: str
    title: str
    level: str


@dataclass(frozen=True, slots=True)
class Label:
    """A text at a place in a chart, in pixels."""

    x: float
    y: float
    text: str


@dataclass(frozen=True, slots=True)
class HeatMap:
    """The ratio of a field over the sizes that were tried. ``said`` describes it in words."""

    field: str
    width: int
    height: int
    cell: tuple[int, int]
    columns: str
    rows: str
    cells: tuple[Cell, ...]
    labels: tuple[Label, ...]
    figures: bool
    said: str


@dataclass(frozen=True, slots=True)
class Histogram:
    """How often errors of each magnitude occur in the reference and in the file.

    The two are outlines in SVG's path syntax. ``said`` describes them in words.
    """

    field: str
    reference: str
    candidate: str
    labels: tuple[Label, ...]
    said: str


def heat_maps(facts: Facts, cases: Sequence[Case], limit: float | None) -> tuple[HeatMap, ...]:
    """A heat map for each field that has a ratio for each case; inputs of one value are left out."""
    axes = _axes(cases)
    return tuple(
        _heat_map(one, cases, axes, limit)
        for one in facts.fields
        if one.count and len(one.by_case) == len(cases)
    )


def _axes(cases: Sequence[Case]) -> tuple[str, str]:
    """The two names with most values: sizes, or else the content. The second is the rows'."""
    values: dict[str, set[Any]] = {}
    for case in cases:
        for name, size in case.sizes.items():
            values.setdefault(name, set()).add(size)
    varied = (name for name in values if len(values[name]) > 1)
    names = sorted(varied, key=lambda name: (-len(values[name]), name == BATCH))[:2]
    names = sorted(names, key=lambda name: (name != "width", name == "height"))
    return (names[0] if names else "content", names[1] if len(names) > 1 else "content")


def _value(case: Case, axis: str) -> int | str:
    return case.kind if axis == "content" else case.sizes[axis]


def _heat_map(
    measured: Measurement, cases: Sequence[Case], axes: tuple[str, str], limit: float | None
) -> HeatMap:
    worst: dict[tuple[Any, Any], tuple[float, str]] = {}
    for case, ratio in zip(cases, measured.by_case, strict=True):
        if ratio is None or case.content in CONSTANT:
            continue
        place = (_value(case, axes[0]), _value(case, axes[1]))
        worst[place] = max(worst.get(place, (-1.0, "")), (ratio, case.name))
    columns, rows = (sorted({place[at] for place in worst}, key=_order) for at in (0, 1))
    shown = len(columns) <= MOST_FIGURES
    width, height = CELL if shown else SMALL_CELL
    left, top = LABELS
    cells = tuple(
        Cell(
            left + columns.index(column) * width,
            top + rows.index(row) * height,
            _short(ratio),
            f"{axes[0]} {column}, {axes[1]} {row}: ratio {ratio:.3g}, in {name}",
            _level(ratio, limit),
        )
        for (column, row), (ratio, name) in sorted(worst.items(), key=lambda item: str(item[0]))
    )
    every = max(1, math.ceil(len(columns) / MOST_FIGURES))
    labels = [
        Label(left + (at + 0.5) * width, top - 8, str(column))
        for at, column in enumerate(columns)
        if at % every == 0
    ]
    labels += [Label(left - 8, top + (at + 0.5) * height, str(row)) for at, row in enumerate(rows)]
    peak, name = max(worst.values(), default=(0.0, ""))
    over = sum(limit is not None and not ratio <= limit for ratio, _ in worst.values())
    past = "" if limit is None else f"; {over} are over the limit of {limit:g}"
    return HeatMap(
        field=measured.name,
        width=left + len(columns) * width + 4,
        height=top + len(rows) * height + 4,
        cell=(width, height),
        columns=axes[0],
        rows=axes[1],
        cells=cells,
        labels=tuple(labels),
        figures=shown,
        said=f"{len(cells)} pairs of {axes[0]} and {axes[1]} were tried{past}. "
        f"The largest ratio is {peak:.3g}, in {name}.",
    )


def _order(value: int | str) -> tuple[bool, int | str]:
    return isinstance(value, str), value


def _short(ratio: float) -> str:
    """The ratio in at most four characters, so that it fits into a cell: 0.85, 420, 1.8k."""
    for size, suffix in ((1e9, "≫"), (1e6, "M"), (1e3, "k")):
        if ratio >= 0.995 * size:
            shown = ratio / size
            return (
                suffix
                if suffix == "≫"
                else f"{shown:.2g}{suffix}"
                if shown < 99.5
                else f"{shown:.0f}{suffix}"
            )
    return f"{ratio:.2g}" if ratio < 99.5 else f"{ratio:.0f}"


def _level(ratio: float, limit: float | None) -> str:
    if limit is not None and not ratio <= limit:
        return "over"
    return str(sum(ratio > step for step in STEPS))


def histograms(facts: Facts) -> tuple[Histogram, ...]:
    """A histogram of each field's errors, where they were counted."""
    return tuple(_histogram(one, facts.witness) for one in facts.fields if one.exponents)


def _histogram(measured: Measurement, witness: str) -> Histogram:
    legs = {
        leg: Counter(dict(zip(measured.exponents, counts, strict=True)))
        for leg, counts in (
            ("reference", measured.errors_reference),
            ("candidate", measured.errors_candidate),
        )
    }
    zeros = {leg: counts.pop(LEAST, 0) for leg, counts in legs.items()}
    used = sorted(exponent for exponent in measured.exponents if exponent > LEAST)
    low, high = (used[0] - 1, used[-1]) if used else (-1, 0)
    shares = {
        leg: {exponent: count / max(counts.total() + zeros[leg], 1) for exponent, count in counts.items()}
        for leg, counts in legs.items()
    }
    peak = max((share for leg in shares.values() for share in leg.values()), default=1.0)
    width, height = PLOT

    def x(exponent: float) -> float:
        return round((exponent - low) / (high - low) * width, 1)

    outlines = {leg: _outline(shares[leg], low, high, peak, x, height) for leg in shares}
    decades = range(math.ceil(low * math.log10(2)), math.floor(high * math.log10(2)) + 1)
    every = max(1, math.ceil(len(decades) / 8))
    labels = tuple(
        Label(x(decade / math.log10(2)), height + 16, f"1e{decade}")
        for decade in decades
        if decade % every == 0
    )
    unit = f" {measured.unit}" if measured.unit else ""
    said = "; ".join(
        f"half of {name} errors are below {_median(measured.exponents, counts)}{unit}, "
        f"{zeros[leg] / max(sum(counts), 1):.0%} are 0"
        for name, leg, counts in (
            (f"{witness}'s", "reference", measured.errors_reference),
            ("the file's", "candidate", measured.errors_candidate),
        )
    )
    told = f"{said[0].upper()}{said[1:]}."
    return Histogram(measured.name, outlines["reference"], outlines["candidate"], labels, told)


def _outline(
    shares: Mapping[int, float], low: int, high: int, peak: float, x: Callable[[float], float], height: int
) -> str:
    """A closed path of steps, from the lowest exponent to the highest."""
    path = [f"M0 {height}"]
    for exponent in range(low + 1, high + 1):
        level = round(height * (1 - 0.95 * shares.get(exponent, 0.0) / peak), 1)
        path.append(f"L{x(exponent - 1)} {level}L{x(exponent)} {level}")
    return f"{''.join(path)}L{x(high)} {height}Z"


def _median(exponents: Sequence[int], counts: Sequence[int]) -> str:
    """The magnitude that half of the errors lie below."""
    below = 0
    for exponent, count in zip(exponents, counts, strict=True):
        below += count
        if 2 * below >= sum(counts):
            return f"{math.ldexp(1.0, exponent):.1g}"
    return "0"
