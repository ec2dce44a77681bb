"""Tables and a plot of how often each tool is wrong: healthy files that it refuses, faults that it passes."""

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from soundness.measure import Row
from soundness.peers import PEERS

from onnxproof.validate.hazards import HAZARDS
from onnxproof.validate.policy import FUNCTION, RATIO_MAX, RATIO_RMS

OURS = "onnxproof"
SHOWN = {hazard.name for hazard in HAZARDS}
"""The names of the hazards. These checks look at the graph and measure no error."""

CLAIMED = 1e-3
"""Faults with a larger effect than this, in units of the model's own float error, must be found."""

BANDS: tuple[tuple[str, float, float], ...] = (
    ("under 0.001", 0.0, CLAIMED),
    ("0.001 to 1 (hidden in float error)", CLAIMED, 1.0),
    ("1 to 30", 1.0, 30.0),
    ("30 to 1,000", 30.0, 1e3),
    ("over 1,000", 1e3, math.inf),
    ("no number (another form, label or metadata, or NaN)", math.inf, math.inf),
)
"""Ranges of effects: a name, the lower end (excluded) and the upper end. The last is for effects that have no
number."""

SURE = 1.96
"""Standard deviations on either side of 95 % of a normal distribution."""


def caught(row: Row, tool: str) -> bool:
    """Whether the tool refuses the file."""
    return row.verdict != "pass" if tool == OURS else not row.peers[tool]


def tools() -> tuple[str, ...]:
    """The names of all tools, onnxproof first."""
    return (OURS, *(peer.name for peer in PEERS))


def acting(rows: Sequence[Row]) -> list[Row]:
    """The faults that change the result in float64."""
    return [row for row in rows if row.population == "fault" and row.effect]


def band_of(effect: float) -> int:
    """The index of the effect's band."""
    if math.isinf(effect):
        return len(BANDS) - 1
    return next(index for index, (_, low, high) in enumerate(BANDS) if low < effect <= high)


def summary(rows: Sequence[Row]) -> list[str]:
    """The README's table: the healthy files that each tool refuses, and the faults that it passes."""
    healthy = [row for row in rows if row.population == "healthy"]
    asked = [row for row in healthy if row.peers]
    faults = acting(rows)
    bands = [
        [row for row in faults if row.effect is not None and band_of(row.effect) == i]
        for i in range(len(BANDS))
    ]
    heads = " | ".join(tools())
    lines = [
        f"| effect, in units of the model's own float error | files | {heads} |",
        f"| --- | ---: |{' ---: |' * len(tools())}",
        f"| none (healthy files): refused | {len(asked)} | "
        + " | ".join(str(sum(caught(row, tool) for row in asked)) for tool in tools())
        + " |",
    ]
    for (name, _, _), members in zip(BANDS, bands, strict=True):
        missed = [sum(not caught(row, tool) for row in members) for tool in tools()]
        lines.append(f"| {name}: passed | {len(members)} | {' | '.join(map(str, missed))} |")
    return lines


def rules() -> Iterator[str]:
    """A table with a line for each tool: what it accepts, and where that is defined."""
    yield "| tool | accepts | source |"
    yield "| --- | --- | --- |"
    for peer in PEERS:
        yield f"| {peer.name} | {peer.rule} | {peer.source} |"


def figures(rows: Sequence[Row]) -> list[str]:
    """The main figures, a line each."""
    healthy = [row for row in rows if row.population == "healthy"]
    files = {(row.subject, row.name) for row in healthy}
    alarms = [row for row in healthy if row.verdict != "pass"]
    faults = acting(rows)
    nothing = [row for row in rows if row.population == "fault" and not row.effect]
    large = [row for row in faults if row.effect is not None and row.effect > CLAIMED]
    missed = [row for row in large if row.verdict == "pass"]
    rms = [row.rms for row in healthy if not math.isnan(row.rms)]
    maximum = [row.maximum for row in healthy if not math.isnan(row.maximum)]
    function = [row.function for row in healthy if not math.isnan(row.function)]
    measurable = [row for row in faults if row.effect and math.isfinite(row.effect)]
    found = [row for row in measurable if set(row.failed) - SHOWN]
    passed = [row for row in measurable if row.verdict == "pass"]
    lines = [
        f"healthy: {len(files)} files of {len({row.subject for row in healthy})} models, each at "
        f"{len({row.severity for row in healthy})} settings of ONNX Runtime: {len(healthy)} verdicts, "
        f"{len(alarms)} false alarms",
        f"healthy: rms ratio {min(rms):.2f} to {max(rms):.2f} (limit {RATIO_RMS:g}), "
        f"max ratio {min(maximum):.2f} to {max(maximum):.2f} (limit {RATIO_MAX:g})",
        f"healthy: function link {min(function):.1g} to {max(function):.1g} of PyTorch's float32 error "
        f"(limit {FUNCTION:g}); {sum(value <= 1e-8 for value in function)} of {len(function)} verdicts at "
        f"most 1e-8, {sum(math.isnan(row.function) for row in healthy)} without one",
        f"faults: {len({row.name for row in rows if row.population == 'fault'})} kinds, "
        f"{len(faults) + len(nothing)} files, of which {len(nothing)} change nothing in float64",
        f"faults with an effect over {CLAIMED:g}: {len(large)}, missed {len(missed)}",
    ]
    if found and passed:
        smallest = min(found, key=lambda row: row.effect or 0)
        largest = max(passed, key=lambda row: row.effect or 0)
        lines.append(f"smallest effect that a measured error revealed: {_line(smallest)}")
        lines.append(f"largest effect that passed: {_line(largest)}")
    shown = [row for row in faults if row.verdict != "pass" and not set(row.failed) - SHOWN]
    lines.append(f"found by a hazard alone, with every measured error below its limit: {len(shown)}")
    lines += [f"false alarm: {_line(row)}" for row in alarms]
    lines += [f"missed: {_line(row)}" for row in missed]
    return lines


def _line(row: Row) -> str:
    effect = "" if row.effect is None else f", effect {row.effect:.3g}"
    return (
        f"{row.subject}, {row.name}, {row.severity}{effect}: rms ratio {row.rms:.3g}, max ratio "
        f"{row.maximum:.3g}, function {row.function:.3g}{'; failed checks: ' if row.failed else ''}"
        f"{', '.join(row.failed)}"
    )


def by_kind(rows: Sequence[Row]) -> Iterator[str]:
    """A table with a line for each planted file: its fault, effect and ratios, and each tool's result."""
    heads = " | ".join(tools())
    yield f"| fault | model | severity | effect | rms ratio | max ratio | function | {heads} |"
    yield f"| --- | --- | --- | ---: | ---: | ---: | ---: |{' --- |' * len(tools())}"
    faults = sorted((row for row in rows if row.population == "fault"), key=lambda row: row.name)
    for _, members in groupby(faults, key=lambda row: row.name):
        for row in sorted(members, key=lambda row: (row.subject, -(row.effect or 0))):
            said = " | ".join((_ours(row), *("found" if caught(row, t) else "–" for t in tools()[1:])))
            assert row.effect is not None
            numbers = " | ".join(map(_number, (row.effect, row.rms, row.maximum, row.function)))
            yield f"| {row.name} | {row.subject} | {row.severity} | {numbers} | {said} |"


def _ours(row: Row) -> str:
    """The result of onnxproof's verdict. If only hazards found the fault, their names."""
    if row.verdict == "pass":
        return "–"
    return "found" if set(row.failed) - SHOWN else f"by {', '.join(row.failed)}"


def by_healthy(rows: Sequence[Row]) -> Iterator[str]:
    """A table with a line for each healthy model: files, verdicts, and the range of the ratios."""
    yield "| model | files | verdicts | false alarms | rms ratio | max ratio | function |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    healthy = sorted((row for row in rows if row.population == "healthy"), key=lambda row: row.subject)
    for subject, group in groupby(healthy, key=lambda row: row.subject):
        members = list(group)
        alarms = sum(row.verdict != "pass" for row in members)
        ranges = [
            f"{min(values):.2f} to {max(values):.2f}"
            for values in ([row.rms for row in members], [row.maximum for row in members])
        ]
        function = [row.function for row in members if not math.isnan(row.function)]
        ranges.append(f"{min(function):.0e} to {max(function):.0e}" if function else "")
        files = len({row.name for row in members})
        yield f"| {subject} | {files} | {len(members)} | {alarms} | {' | '.join(ranges)} |"


def _number(value: float) -> str:
    if math.isnan(value):
        return ""
    if math.isinf(value):
        return "∞"
    return f"{value:.2g}" if value < 100 else f"{value:.1e}".replace("e+0", "e").replace("e+", "e")


def interval(seen: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share: Wilson's (1927), or the rule of three where nothing was seen (Hanley and
    Lippman-Hand 1983)."""
    if not seen:
        return 0.0, min(3 / of, 1.0)
    share, square = seen / of, SURE**2
    middle = (share + square / (2 * of)) / (1 + square / of)
    half = SURE / (1 + square / of) * math.sqrt(share * (1 - share) / of + square / (4 * of**2))
    return max(middle - half, 0.0), min(middle + half, 1.0)


def plot(rows: Sequence[Row], file: Path) -> None:
    """Plot the two measured ratios over the true effect (left), and each tool's share of wrong results
    (right)."""
    mpl.use("Agg")
    figure = Figure(figsize=(13, 5.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    faults = [row for row in acting(rows) if row.effect is not None and math.isfinite(row.effect)]
    for measured, marker, name in (("function", "o", "function link"), ("rms", "x", "runtime link")):
        for found, color, label in ((True, "tab:blue", "found"), (False, "tab:red", "passed")):
            chosen = [
                row for row in faults if (row.verdict != "pass") is found and getattr(row, measured) > 0
            ]
            left.scatter(
                [row.effect for row in chosen],
                [getattr(row, measured) for row in chosen],
                s=20,
                c=color,
                marker=marker,
                label=f"fault, {label}: {name}",
                alpha=0.7,
            )
        healthy = [getattr(row, measured) for row in rows if row.population == "healthy"]
        healthy = [value for value in healthy if not math.isnan(value)]
        left.scatter([1e-6] * len(healthy), healthy, s=10, c="tab:green", marker=marker, alpha=0.3)
    for limit, text in ((RATIO_RMS, "limit of ratio_rms"), (FUNCTION, "limit of function")):
        left.axhline(limit, color="black", lw=1)
        left.text(2e-6, limit * 1.25, f"{text}: {limit:g}", fontsize=9)
    left.axvline(CLAIMED, color="grey", lw=1, ls=":")
    left.set(
        xscale="log",
        yscale="log",
        xlabel="effect in float64, in units of PyTorch's own float error (rms)",
        ylabel="figure that the verdict measured; healthy files at the left",
    )
    left.legend(loc="upper left", fontsize=9)
    asked = [row for row in rows if row.population == "healthy" and row.peers]
    large = [row for row in acting(rows) if row.effect is not None and row.effect > CLAIMED]
    for offset, members, wrong, color, label in (
        (0.2, asked, True, "tab:orange", "healthy files that it refuses"),
        (-0.2, large, False, "tab:red", f"faults with an effect over {CLAIMED:g} that it passes"),
    ):
        counts = [sum(caught(row, tool) is wrong for row in members) for tool in tools()]
        shares = [100 * count / len(members) for count in counts]
        ends = [interval(count, len(members)) for count in counts]
        reach = [
            [share - 100 * low for share, (low, _) in zip(shares, ends, strict=True)],
            [100 * high - share for share, (_, high) in zip(shares, ends, strict=True)],
        ]
        places = [len(shares) - index + offset for index in range(len(shares))]
        bars = right.barh(
            places,
            shares,
            0.38,
            color=color,
            label=f"{label} (of {len(members)})",
            xerr=reach,
            error_kw={"elinewidth": 1, "capsize": 2},
        )
        right.bar_label(bars, fmt="%.0f %%", padding=3, fontsize=9)
    right.set_yticks([len(tools()) - index for index in range(len(tools()))], tools())
    right.set(xlim=(0, 100), xlabel="wrong, %, with the 95 % interval")
    right.legend(loc="upper right", fontsize=9)
    figure.savefig(file, dpi=90)
