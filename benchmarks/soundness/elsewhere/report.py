"""Tables and a plot of the files of other libraries' architectures: what was refused, what was missed."""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from soundness.elsewhere.files import DEFAULT
from soundness.elsewhere.measure import FileRow
from soundness.report import BANDS, CLAIMED, band_of, interval

from onnxproof.validate.policy import FUNCTION, RATIO_RMS

CLAIMED_ELSEWHERE = 1.0
"""The same as ``CLAIMED`` for files that we did not export: their constants were rounded by others."""

EXACT = 1e-8
"""What most healthy files are exact to."""

FOLDERS = re.compile(r"/\S*/(?:site-packages/|(?=benchmarks/)|(?=\d+\.onnx))")
"""Where the measuring machine keeps its packages and its files."""

Group = tuple[str, Callable[[FileRow], bool]]

GROUPS: tuple[Group, ...] = (
    ("ours, default", lambda row: row.way == DEFAULT),
    ("ours, other ways", lambda row: row.source == "ours" and row.way != DEFAULT),
    ("torch.onnx.export, dynamo", lambda row: row.source == "elsewhere" and row.way.endswith("dynamo")),
    ("torch.onnx.export, TorchScript", lambda row: row.source == "elsewhere" and row.way.endswith("Script")),
)
"""Who exported a file and how."""


def healthy(rows: Sequence[FileRow]) -> list[FileRow]:
    """The files without a planted fault, less those that are wrong as their exporter wrote them."""
    written = [row for row in rows if row.effect is None and row.verdict != "not exported"]
    return [row for row in written if not row.own > CLAIMED_ELSEWHERE]


def wrong(rows: Sequence[FileRow]) -> list[FileRow]:
    """The refused files that are wrong as their exporter wrote them.

    In float64, with their own constants, they part from the network by more than float32's error, or they do
    not run at a declared size, or in ONNX Runtime, at a declared input, they answer NaN or nothing where the
    network answers a number.
    """
    return [row for row in rows if row.own > CLAIMED_ELSEWHERE]


def acting(rows: Sequence[FileRow]) -> list[FileRow]:
    """The faults that change the result in float64."""
    return [row for row in rows if row.effect]


def claimed(row: FileRow) -> bool:
    """Whether a fault is so large that it must be found."""
    return (row.effect or 0.0) > (CLAIMED if row.source == "ours" else CLAIMED_ELSEWHERE)


def rate(seen: int, of: int) -> str:
    """A share with its 95 % interval."""
    if not of:
        return "none of none"
    low, high = interval(seen, of)
    if not seen:
        return f"0 of {of} (at most {high:.2%})"
    return f"{seen} of {of} ({seen / of:.2%}; {low:.2%} to {high:.2%})"


def summary(rows: Sequence[FileRow]) -> list[str]:
    """The front page's lines."""
    files, faults = healthy(rows), [row for row in acting(rows) if claimed(row)]
    refused = sum(row.verdict != "pass" for row in files)
    networks = len({row.architecture for row in files})
    lines = [
        f"- {len(files)} healthy files of {networks} architectures of torchvision, timm, transformers and "
        f"ultralytics, at four optimization levels: {rate(refused, len(files))} refused."
    ]
    told = []
    for source, name, least in (
        ("ours", "our exports", CLAIMED),
        ("elsewhere", "files of torch.onnx.export", CLAIMED_ELSEWHERE),
    ):
        members = [row for row in faults if row.source == source]
        missed = sum(row.verdict == "pass" for row in members)
        told.append(f"{rate(missed, len(members))} with an effect over {least:g} on {name}")
    return [*lines, f"- Faults planted into them that it passes: {'; '.join(told)}."]


def figures(rows: Sequence[FileRow]) -> Iterator[str]:
    """The main figures, a line each."""
    files = healthy(rows)
    networks, libraries = (len({getattr(row, of) for row in files}) for of in ("architecture", "library"))
    yield (
        f"architectures: {networks} of {libraries} libraries; healthy files: {len(files)}, each at four "
        f"optimization levels; refused: {rate(sum(row.verdict != 'pass' for row in files), len(files))}"
    )
    for name, chosen in GROUPS:
        values = _ratios([row for row in files if chosen(row)])
        if values:
            within = sum(value <= EXACT for value in values)
            yield (
                f"{name}: function link of {len(values)} files: median {np.median(values):.1e}, 99 % "
                f"{np.quantile(values, 0.99):.1e}, largest {max(values):.1e}; {within} at most {EXACT:g}"
            )
    skipped = [row for row in files if row.links.get("function") != "pass" and row.verdict == "pass"]
    yield f"without a function link: {len(skipped)}"
    for source in ("ours", "elsewhere"):
        faults = [row for row in acting(rows) if row.source == source and claimed(row)]
        missed = sum(row.verdict == "pass" for row in faults)
        least = CLAIMED if source == "ours" else CLAIMED_ELSEWHERE
        yield f"faults with an effect over {least:g}, {source}: missed {rate(missed, len(faults))}"
    yield f"faults that change nothing in float64: {sum(row.effect == 0 for row in rows)}"
    yield f"files that are wrong as their exporter wrote them, all of them refused: {len(wrong(rows))}"
    yield from _told("wrong as written", wrong(rows))
    yield from _told("false alarm", [row for row in files if row.verdict != "pass"])
    yield from _told("missed", [row for row in acting(rows) if claimed(row) and row.verdict == "pass"])
    yield from _told("no function link", skipped)


def _told(what: str, rows: Sequence[FileRow]) -> Iterator[str]:
    for row in rows:
        reason = FOLDERS.sub("", row.reason)
        fault = f", {row.kind}, {row.severity}, effect {row.effect:.3g}" if row.effect is not None else ""
        yield (
            f"{what}: {row.library} {row.architecture}, {row.way}{fault}: function {row.function:.2g} (limit "
            f"{row.limit:.2g}), rms ratio {row.rms:.2f}; {', '.join(row.failed)} {reason}"
        )


def by_library(rows: Sequence[FileRow]) -> Iterator[str]:
    """A table with a line for each library and way to export."""
    yield (
        "| library | exported | architectures | files | refused | not exported | function: median | 99 % "
        "| largest | rms ratio: median | largest | files with unproven constants |"
    )
    yield f"| --- | --- |{' ---: |' * 10}"
    libraries = [*dict.fromkeys(row.library for row in rows), "all"]
    for library in libraries:
        for name, chosen in GROUPS:
            members = [row for row in rows if chosen(row) and library in (row.library, "all")]
            files = healthy(members)
            if not files:
                continue
            refused = sum(row.verdict != "pass" for row in files)
            absent = sum(row.verdict == "not exported" for row in members)
            runtime = [row.rms for row in files if not math.isnan(row.rms)]
            numbers = (
                *_quantiles(_ratios(files), "{:.0e}", (0.5, 0.99, 1.0)),
                *_quantiles(runtime, "{:.2f}", (0.5, 1.0)),
                str(sum(row.unproven > 0 for row in files)),
            )
            counts = (len({row.architecture for row in files}), len(files), refused, absent)
            yield f"| {library} | {name} | {' | '.join(map(str, counts))} | {' | '.join(numbers)} |"


def by_effect(rows: Sequence[FileRow]) -> Iterator[str]:
    """A table with a line for each range of effects: the faults that were missed."""
    yield "| effect | ours: missed | torch.onnx.export: missed |"
    yield "| --- | --- | --- |"
    for index, (name, _, _) in enumerate(BANDS):
        cells = []
        for source in ("ours", "elsewhere"):
            members = [
                row for row in acting(rows) if row.source == source and band_of(row.effect or 0.0) == index
            ]
            cells.append(rate(sum(row.verdict == "pass" for row in members), len(members)))
        yield f"| {name} | {' | '.join(cells)} |"


def by_kind(rows: Sequence[FileRow]) -> Iterator[str]:
    """A table with a line for each fault: how many were planted, what they change, how many were missed."""
    yield (
        "| fault | severity | files | change nothing | smallest effect | median | missed, over the claim "
        "| below it |"
    )
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    faults = [row for row in rows if row.effect is not None]
    for kind, severity in sorted({(row.kind, row.severity) for row in faults}):
        members = [row for row in faults if (row.kind, row.severity) == (kind, severity)]
        effects = [row.effect for row in members if row.effect]
        passed = [row for row in members if row.effect and row.verdict == "pass"]
        over = sum(map(claimed, passed))
        numbers = _quantiles(effects, "{:.1e}", (0.0, 0.5))
        idle = sum(row.effect == 0 for row in members)
        counts = " | ".join(numbers)
        yield f"| {kind} | {severity} | {len(members)} | {idle} | {counts} | {over} | {len(passed) - over} |"


def not_exported(rows: Sequence[FileRow]) -> Iterator[str]:
    """A table with a line for each file that an exporter refused, and why."""
    yield "| library | architecture | exported | why not |"
    yield "| --- | --- | --- | --- |"
    for row in rows:
        if row.verdict == "not exported":
            reason = FOLDERS.sub("", row.reason).replace("|", "\\|")
            yield f"| {row.library} | {row.architecture} | {row.way} | {reason} |"


def by_architecture(rows: Sequence[FileRow]) -> Iterator[str]:
    """A table with a line for each architecture."""
    yield "| library | architecture | files | refused | function: largest | faults | missed |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: |"
    for architecture in dict.fromkeys(row.architecture for row in rows):
        members = [row for row in rows if row.architecture == architecture]
        files, faults = healthy(members), [row for row in acting(members) if claimed(row)]
        refused = sum(row.verdict != "pass" for row in files)
        missed = sum(row.verdict == "pass" for row in faults)
        (largest,) = _quantiles(_ratios(files), "{:.0e}", (1.0,))
        numbers = (len(files), refused, largest, len(faults), missed)
        yield f"| {members[0].library} | {architecture} | {' | '.join(map(str, numbers))} |"


def _ratios(files: Sequence[FileRow]) -> list[float]:
    return [row.function for row in files if not math.isnan(row.function)]


def _quantiles(values: Sequence[float], form: str, shares: Sequence[float]) -> tuple[str, ...]:
    if not values:
        return ("",) * len(shares)
    finite = np.sort(np.asarray(values, float))
    # By rank, so that an infinite effect does no harm.
    return tuple(form.format(finite[min(int(share * finite.size), finite.size - 1)]) for share in shares)


def plot(rows: Sequence[FileRow], file: Path) -> None:
    """Plot how far healthy files part from their networks, and what the faults change, on one axis."""
    mpl.use("Agg")
    figure = Figure(figsize=(13, 5.2), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    edges = np.logspace(-14, 8, 67)
    for name, chosen in GROUPS:
        values = _ratios([row for row in healthy(rows) if chosen(row)])
        above.hist(
            np.clip(values, edges[0], None), edges, histtype="step", lw=1.5, label=f"{name} ({len(values)})"
        )
    above.set(
        ylabel="healthy files", title="how far a file's graph in float64 parts from its network in float64"
    )
    faults = [row for row in acting(rows) if row.effect is not None and math.isfinite(row.effect)]
    for found, color, label in ((True, "tab:blue", "refused"), (False, "tab:red", "passed")):
        members = [row.effect for row in faults if (row.verdict != "pass") is found]
        clipped = np.clip(np.array(members, float), edges[0], edges[-1])
        below.hist(clipped, edges, color=color, alpha=0.7, label=f"faults, {label} ({len(members)})")
    below.set(
        xscale="log",
        xlabel="units of PyTorch's own float32 error",
        ylabel="damaged files",
        title="what a planted fault changes in float64",
    )
    for axes in (above, below):
        axes.axvline(FUNCTION, color="black", lw=1, label=f"limit of the function link: {FUNCTION:g}")
        axes.axvline(RATIO_RMS, color="grey", lw=1, ls=":", label=f"limit of the runtime link: {RATIO_RMS:g}")
        axes.legend(loc="upper left", fontsize=8)
    figure.savefig(file, dpi=90)
