"""The figures of ``bench`` as a picture."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from onnxproof.deploy.rows import OWN, Row
from onnxproof.runtime.drawings import ONNXPROOF, SOFTWARE
from onnxproof.system.files import explained, replacing
from onnxproof.system.folders import made_folder

COLOURS = ("#1f4e79", "#d9822b", "#3f8f5f", "#8a5a9e", "#9a3b3b", "#6b6b6b")
"""Of the contestants: the bundle's first."""
HEIGHT_IN = 0.42
"""Of a bar and what is around it, in inches."""


def write_plot(rows: Sequence[Row], file: Path) -> None:
    """Draw the p50 of each row as a bar, with a line to its p95, as PNG.

    Raises RequestError if the file cannot be written, ModuleNotFoundError without matplotlib.
    """
    figures: Any = importlib.import_module("matplotlib.figure")
    names = list(dict.fromkeys(row.name for row in rows))
    groups = list(dict.fromkeys(_group(row) for row in rows))
    figure = figures.Figure(
        figsize=(8, 1.4 + HEIGHT_IN * (len(rows) + len(groups))), dpi=120, layout="constrained"
    )
    axes = figure.subplots()
    place, ticks = 0.0, []
    for group in groups:
        inside = [row for row in rows if _group(row) == group]
        ticks.append(place + (len(inside) - 1) / 2)
        for row in inside:
            middle, slow = 1e3 * row.p50, 1e3 * row.p95
            colour = COLOURS[names.index(row.name) % len(COLOURS)]
            axes.barh(place, middle, color=colour, alpha=0.45 if row.noisy else 1.0, height=0.8)
            axes.plot((middle, slow), (place, place), color="#222222", linewidth=1)
            times = "" if row.ratio is None else f"  × {row.ratio:.2f}"
            note = f" ({row.said})" if row.said else ""
            axes.text(max(middle, slow), place, f"  {middle:.2f} ms{times}{note}", va="center", fontsize=8)
            place += 1
        place += 1
    axes.set_yticks(ticks, groups)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.45e3 * max(row.p95 for row in rows))
    axes.set_xlabel(f"ms a run: bar p50, line to p95; × the time of {OWN}")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    patches: Any = importlib.import_module("matplotlib.patches")
    marks = [patches.Patch(color=COLOURS[at % len(COLOURS)], label=name) for at, name in enumerate(names)]
    figure.legend(
        handles=marks, loc="outside upper left", ncols=min(len(names), 3), frameon=False, fontsize=9
    )
    with explained(file, "--plot", "file"), made_folder(file.parent), replacing(file) as stream:
        figure.savefig(stream, format="png", metadata={SOFTWARE: ONNXPROOF})


def _group(row: Row) -> str:
    threads = "1 thread" if row.threads == 1 else f"{row.threads} threads"
    return "\n".join(filter(None, (row.sizes.replace(", ", "\n"), f"batch {row.batch}", threads)))
