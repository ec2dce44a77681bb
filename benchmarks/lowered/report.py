"""The precision table in Markdown, and its curves."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lowered.contestants import DEFAULTS, FP16, NNCF, OURS, SEARCHED
from lowered.subject import MODELS

Row = Mapping[str, Any]

LOOKS = {
    OURS: ("o", "C0"),
    SEARCHED: ("*", "C0"),
    DEFAULTS: ("s", "C3"),
    FP16: ("^", "C2"),
    NNCF: ("D", "C1"),
}
"""Mark and colour of each contestant, in the order of the rows."""
BUDGET = 1.0
"""The share of changed decisions that every job allows, in per cent."""


def table(rows: Sequence[Row]) -> Iterator[str]:
    """The rows in Markdown. A time at a second side stands in brackets."""
    yield (
        "| model | contestant | time, of float32 | size, of float32 | decisions changed "
        "| largest move: box px, score | mAP or top 1 | within the budget |"
    )
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |"
    for row in rows:
        if "failed" in row:
            yield f"| {row['model']} | {row['contestant']} | | | | | | no file: {row['failed']} |"
        else:
            yield f"| {row['model']} | {row['contestant']} | {' | '.join(_figures(row))} |"


def _figures(row: Row) -> Iterator[str]:
    large = f" ({row['large_time']:.2f} at 224)" if "large_time" in row else ""
    yield f"{row['time']:.2f}{large}" if "time" in row else "not timed"
    yield f"{row['size']:.2f}"
    yield f"{row['changed']:,} of {row['decisions']:,}"
    yield ", ".join(f"{row[key]:.3g}" for key in ("box", "score") if key in row)
    yield f"{row['reference'] + row['quality']:.3f} of {row['reference']:.3f}"
    yield "yes" if row["budget"] == "pass" else f"no: {', '.join(row['beyond'])}"


def curve(found: Row) -> Iterator[str]:
    """What a search tried, in Markdown. The file that ships is bold."""
    ships = min((one["kept"] for one in found["tried"] if one["passed"]), default=None)
    yield (
        f"| parts in float32, of {found['parts']} | decisions changed | bound | at | largest move of a score "
        "| size, of float32 | |"
    )
    yield "| ---: | ---: | ---: | ---: | ---: | ---: | --- |"
    for one in found["tried"]:
        cells = (
            str(one["kept"]),
            f"{one['changed']:,} of {one['decisions']:,}",
            f"{100 * one['share']:.2f} %",
            f"{100 * one['confidence']:.2f} %",
            f"{one['score']:.3f}",
            f"{one['size']:.2f}",
            "ships" if one["kept"] == ships else "",
        )
        bold = "**" if one["kept"] == ships else ""
        yield f"| {' | '.join(f'{bold}{cell}{bold}' for cell in cells)} |"


def span(values: Sequence[float], form: str = ".2g") -> str:
    """The least and the largest value, or the one that they are."""
    ends = dict.fromkeys(f"{end:{form}}" for end in (min(values), max(values)))
    return " to ".join(ends)


def plot(rows: Sequence[Row], curves: Mapping[str, Path], to: Path) -> None:
    """Draw the share of changed decisions over the time, a panel for each model.

    ``curves`` are the files in which the searches of the models say what they tried.
    """
    import matplotlib as mpl  # noqa: PLC0415

    mpl.use("agg")
    from matplotlib import pyplot  # noqa: PLC0415

    shown = [row for row in rows if "time" in row and "changed" in row]
    shorts = [short for short in MODELS if any(row["short"] == short for row in shown)]
    figure, panels = pyplot.subplots(
        1, len(shorts), figsize=(3.1 * len(shorts), 3.4), layout="constrained", squeeze=False
    )
    handles: dict[str, Any] = {}
    for short, axes in zip(shorts, panels[0], strict=True):
        curve = json.loads(curves[short].read_text(encoding="utf-8")) if curves[short].exists() else {}
        points = sorted((one["time"], _share(one)) for one in curve.get("tried", ()))
        if points:
            axes.plot(*zip(*points, strict=True), ".-", color="C0", lw=1, label="files that the search tried")
        for row in (one for one in shown if one["short"] == short):
            mark, colour = LOOKS[row["contestant"]]
            axes.plot(
                row["time"], _share(row), mark, color=colour, ms=8, mec="white", label=row["contestant"]
            )
        axes.axhline(BUDGET, color="grey", ls=":", lw=1, label="budget")
        axes.set(title=MODELS[short].name, xlabel="time, of float32", xlim=(0, None))
        axes.set_yscale("symlog", linthresh=1)
        axes.set_ylim(-0.05, 120)
        axes.set_yticks([0, 0.5, 1, 10, 100], ["0", "0.5", "1", "10", "100"])
        axes.grid(alpha=0.3)
        handles |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    panels[0][0].set_ylabel("decisions changed, %")
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, fontsize=8)
    figure.savefig(to, dpi=110)


def _share(counted: Row) -> float:
    return float(100 * counted["changed"] / max(counted["decisions"], 1))
