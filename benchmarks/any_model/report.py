"""The table, the figures and the plot of the benchmark of many architectures."""

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from any_model.row import PEERS, Outcome, Row

OURS = "onnxproof"
TITLES = {
    OURS: "onnxproof export",
    "dynamo": "torch.onnx.export, dynamo",
    "torchscript": "torch.onnx.export, TorchScript",
    "ultralytics": "ultralytics export",
    "optimum-onnx": "optimum-onnx",
}
OUTCOMES: tuple[Outcome, ...] = ("right", "wrong", "none", "undecided", "crash", "skipped")
COLOURS = ("#3a923a", "#c03d3e", "#b0b0b0", "#e1a33b", "#6b4c9a", "#e4e4e4")
RIGHT_SHARE, TIME_SHARE = 0.97, 0.9
"""What is aimed at: the share of right files, and our time over dynamo's."""

Found = dict[tuple[str, str], Row]


def page(rows: Sequence[Row], asked: int) -> str:
    """What the page says: figures, one line an architecture, and every reason.

    ``asked`` is how many rows a whole run has.
    """
    found = {(row.architecture, row.contestant): row for row in rows}
    measured = f"{len(rows)} of {asked} rows are measured (an architecture and an exporter each)."
    parts = (
        "\n".join(f"- {line}" for line in (measured, *figures(found))),
        "![What each exporter makes, and our time over dynamo's](zoo.png)",
        "\n".join(("### By exporter", "", *by_contestant(rows))),
        "\n".join(("### By library", "", *by_library(rows))),
        "\n".join(("### Architectures", "", *by_architecture(found))),
        "\n".join(("### Not right", "", *not_right(rows))),
        "\n".join(("### Not by the first way, or not simplified", "", *detours(rows))),
    )
    return "\n\n".join(parts)


def figures(found: Found) -> list[str]:
    """The aims and what was measured."""
    ours = {name: row for (name, who), row in found.items() if who == OURS and row.outcome != "skipped"}
    right = [row for row in ours.values() if row.outcome == "right"]
    libraries = len({row.library for row in ours.values()})
    lines = [
        f"{len(right)} of {len(ours)} architectures of {libraries} libraries end in a file with a passing "
        f"verdict ({len(right) / max(len(ours), 1):.1%}; aimed at: {RIGHT_SHARE:.0%})."
    ]
    behind = sorted(
        f"{name} ({who})"
        for (name, who), row in found.items()
        if who != OURS and row.outcome == "right" and name in ours and ours[name].outcome != "right"
    )
    lines.append(
        f"A peer writes a right file where we do not: {', '.join(behind) or 'nowhere'} (aimed at: nowhere)."
    )
    crashes = sorted(row.architecture for row in found.values() if row.outcome == "crash")
    lines.append(f"Exceptions of ours that reach the user: {', '.join(crashes) or 'none'} (aimed at: none).")
    for peer in ("dynamo", "torchscript"):
        shares = ratios(found, peer)
        if shares:
            aim = f"; aimed at: {TIME_SHARE}" if peer == "dynamo" else ""
            lines.append(
                f"Our export with its verdict takes {statistics.median(shares):.2f} of the time of "
                f"{TITLES[peer]} without one (median of {len(shares)} that both write right{aim})."
            )
    return lines


def ratios(found: Found, peer: str) -> list[float]:
    """Our seconds over a peer's, where both write a right file."""
    pairs = [(row, found.get((name, peer))) for (name, who), row in found.items() if who == OURS]
    return [
        ours.seconds / theirs.seconds
        for ours, theirs in pairs
        if theirs is not None
        and ours.seconds
        and theirs.seconds
        and ours.outcome == theirs.outcome == "right"
    ]


def by_contestant(rows: Sequence[Row]) -> list[str]:
    """How often each exporter makes what."""
    lines = [f"| exporter | {' | '.join(OUTCOMES)} | median s | median MiB |", "| --- |" + " ---: |" * 8]
    for contestant in (OURS, *PEERS):
        own = [row for row in rows if row.contestant == contestant]
        if not own:
            continue
        counts = Counter(row.outcome for row in own)
        made = [row for row in own if row.outcome in ("right", "wrong")]
        cells = [str(counts[outcome]) for outcome in OUTCOMES]
        cells += [_median(row.seconds for row in made), _median(row.peak_mib for row in made)]
        lines.append(f"| {TITLES[contestant]} | {' | '.join(cells)} |")
    return lines


def by_library(rows: Sequence[Row]) -> list[str]:
    """How many architectures of each library are right, by exporter."""
    shown = [name for name in (OURS, *PEERS) if any(row.contestant == name for row in rows)]
    titles = " | ".join(TITLES[name] for name in shown)
    lines = [f"| library | architectures | {titles} |", f"| --- | ---: |{' ---: |' * len(shown)}"]
    for library in dict.fromkeys(row.library for row in rows):
        own = [row for row in rows if row.library == library]
        cells = []
        for name in shown:
            tried = [row for row in own if row.contestant == name and row.outcome != "skipped"]
            right = sum(row.outcome == "right" for row in tried)
            cells.append(f"{right} of {len(tried)}" if tried else "")
        lines.append(f"| {library} | {len({row.architecture for row in own})} | {' | '.join(cells)} |")
    return lines


def by_architecture(found: Found) -> list[str]:
    """One line an architecture."""
    shown = [name for name in (OURS, *PEERS) if any(who == name for _, who in found)]
    peers = "".join(f" {TITLES[name]} | s | MiB |" for name in shown if name != OURS)
    lines = [
        f"| library | architecture | onnxproof | captured by | simplified | s | MiB |{peers}",
        f"| --- | --- | --- | --- | --- | ---: | ---: |{' --- | ---: | ---: |' * (len(shown) - 1)}",
    ]
    for name in dict.fromkeys(name for name, _ in found):
        ours = found.get((name, OURS))
        row = ours or next(one for (other, _), one in found.items() if other == name)
        own = [_outcome(ours), "", "", *_cost(ours)]
        if ours is not None and ours.exporter:
            own[1:3] = [ours.exporter, "no" if ours.simplifier == "none" else ours.simplifier]
        cells = [row.library, name, *own]
        for peer in shown:
            if peer != OURS:
                theirs = found.get((name, peer))
                cells += [_outcome(theirs), *_cost(theirs)]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def not_right(rows: Sequence[Row]) -> list[str]:
    """Why there is no right file; one line for each reason of each exporter."""
    lines = ["| exporter | architectures | outcome | reason |", "| --- | --- | --- | --- |"]
    reasons: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        if row.outcome != "right":
            key = (TITLES[row.contestant], _outcome(row), row.reason)
            reasons.setdefault(key, []).append(row.architecture)
    for (contestant, outcome, reason), names in reasons.items():
        lines.append(f"| {contestant} | {', '.join(names)} | {outcome} | {_cell(reason)} |")
    return lines


def detours(rows: Sequence[Row]) -> list[str]:
    """Which of our exports came by a later way or were not simplified, and why."""
    lines = [
        "| architecture | captured by | why not before | why not simplified |",
        "| --- | --- | --- | --- |",
    ]
    for row in rows:
        if row.contestant == OURS and (row.rungs or row.kept):
            cells = (row.architecture, row.exporter, _cell("; ".join(row.rungs)), _cell(row.kept))
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def plot(rows: Sequence[Row], file: Path) -> None:
    """Draw what each exporter makes, and our time over dynamo's."""
    mpl.use("Agg")
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    shown = [name for name in (OURS, *PEERS) if any(row.contestant == name for row in rows)]
    for place, name in enumerate(reversed(shown)):
        counts = Counter(row.outcome for row in rows if row.contestant == name)
        start = 0
        for outcome, colour in zip(OUTCOMES, COLOURS, strict=True):
            label = outcome if place == 0 else None
            left.barh(place, counts[outcome], left=start, color=colour, label=label)
            start += counts[outcome]
    left.set_yticks(range(len(shown)), [TITLES[name] for name in reversed(shown)])
    left.set_xlabel("architectures")
    left.legend(ncols=3, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, 1.18), frameon=False)
    found = {(row.architecture, row.contestant): row for row in rows}
    shares = sorted(ratios(found, "dynamo"))
    right.plot(shares, range(1, len(shares) + 1), color="#3a6ea5")
    right.axvline(1.0, color="#808080", linewidth=0.8)
    right.axvline(TIME_SHARE, color="#3a923a", linewidth=0.8, linestyle="--", label="aimed at, median")
    right.set_xlabel("seconds of our export with its verdict /\nseconds of torch.onnx.export(dynamo=True)")
    right.set_ylabel("architectures at most there")
    right.set_xscale("log")
    right.legend(fontsize=8, frameon=False)
    figure.savefig(file, dpi=110)


def _median(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{statistics.median(known):.0f}" if known else ""


def _outcome(row: Row | None) -> str:
    if row is None:
        return ""
    return f"{row.outcome} ({row.link})" if row.link else row.outcome


def _cost(row: Row | None) -> list[str]:
    if row is None or row.outcome == "skipped":
        return ["", ""]
    seconds = "" if row.seconds is None else f"{row.seconds:.1f}"
    return [seconds, "" if row.peak_mib is None else f"{row.peak_mib:.0f}"]


def _cell(text: str) -> str:
    """Text that Markdown takes for neither a column nor a link."""
    return text.replace("|", "\\|").replace("](", "]\\(")
