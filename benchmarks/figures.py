"""Draw the figures of docs/how.md: docs/figures/*.svg.

python benchmarks/figures.py

What they draw of real files is read from the pages, where benchmarks/shown.py holds it to what is printed.
"""

import re
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot

mpl.use("svg")

DOCS = Path(__file__).parents[1] / "docs"
FOLDER = DOCS / "figures"
FILES = {
    "the export": ("verdict.md", "dist/digits-yolox"),
    "a layer × 1.000001": ("verdict.md", "dist/digits-yolox --onnx larger.onnx"),
    "a layer × 1.002": ("ci.md", "configs/digits-yolox.toml --onnx damaged.onnx --github --junit junit.xml"),
}
"""Three files of the demo: the page with the verdict on each, and what ``onnxproof validate`` is given."""
LIMIT = 0.001
INK, RIGHT, WRONG, GREY = "#1b1f24", "#1a7f5a", "#b42318", "#8b949e"


def shown(page: str, arguments: str) -> tuple[float, float]:
    """What a page shows of a file, in units of PyTorch's float32 error.

    The error of ONNX Runtime from the file's own graph, and that of this graph from the model. The first is 0
    if the line ``runtime`` does not tell it, as of a file that fails otherwise. Raises ValueError if the page
    does not show the command and its line ``function``.
    """
    text = (DOCS / page).read_text(encoding="utf-8")
    printed = text.partition(f"\n$ onnxproof validate {arguments}\n")[2].partition("```")[0]
    function = re.search(r"^function .* (\S+) of float32's own error", printed, re.MULTILINE)
    runtime = re.search(r"^runtime .* errs (\S+) times", printed, re.MULTILINE)
    if function is None:
        raise ValueError(f"docs/{page} shows no line function of onnxproof validate {arguments}")
    return float(runtime[1]) if runtime else 0.0, float(function[1])


def points() -> dict[str, tuple[float, float]]:
    """Of each of ``FILES``, what its page shows."""
    return {name: shown(*place) for name, place in FILES.items()}


def told(found: dict[str, tuple[float, float]]) -> str:
    """The points of noise.svg in words. The file holds them, so that a test sees if it is an old one."""
    return "; ".join(f"{name}: runtime {one:g}, function {other:g}" for name, (one, other) in found.items())


def draw_noise() -> None:
    files = points()
    figure, axes = pyplot.subplots(figsize=(7.5, 2.6), layout="constrained")
    rows = range(len(files))
    axes.axvspan(1e-12, LIMIT, color=RIGHT, alpha=0.08, lw=0)
    axes.axvspan(0.4, 2.7, color=GREY, alpha=0.2, lw=0)
    for row, (runtime, exact) in zip(rows, files.values(), strict=True):
        colour = RIGHT if exact <= LIMIT else WRONG
        axes.plot([np.hypot(runtime, exact)], [row], "o", mfc="white", mec=INK, ms=9)
        axes.plot([exact], [row], "o", color=colour, ms=9)
    axes.set(xscale="log", xlim=(1e-10, 1e5), yticks=list(rows), yticklabels=list(files))
    axes.set_xlabel("error, in units of PyTorch's own float32 error")
    axes.set_ylim(2.5, -0.5)
    axes.text(3e-10, -0.6, "limit of function: 0.001", color=RIGHT, fontsize=8)
    axes.text(1.05, -0.6, "float32's noise", color=INK, fontsize=8, ha="center")
    save(figure, "noise", told(files))


def draw_links() -> None:
    figure, axes = pyplot.subplots(figsize=(7.5, 2.5), layout="constrained")
    axes.set(xlim=(0, 10), ylim=(0, 3.4))
    axes.axis("off")
    boxes = {1.1: "checkpoint", 3.9: "ONNX file", 6.6: "numbers", 9.0: "decisions"}
    for at, name in boxes.items():
        axes.text(
            at,
            1.9,
            name,
            ha="center",
            va="center",
            bbox={"boxstyle": "round,pad=0.5", "fc": "white", "ec": INK},
        )
    arrow = {"arrowstyle": "->", "color": INK, "lw": 1.4}
    told = (
        (2.05, 3.05, "function", "does the file state\nthe same function?"),
        (4.8, 5.85, "runtime", "does the runtime\ncompute it as well?"),
        (7.35, 8.2, "decisions", "is it decided\nalike?"),
    )
    for left, right, link, asks in told:
        axes.annotate("", (right, 1.9), (left, 1.9), arrowprops=arrow)
        middle = (left + right) / 2
        axes.text(middle, 2.55, link, ha="center", weight="bold", color=RIGHT)
        axes.text(middle, 1.35, asks, ha="center", va="top", fontsize=8)
    axes.annotate(
        "", (9.0, 0.62), (0.3, 0.62), arrowprops={**arrow, "color": RIGHT, "connectionstyle": "arc3,rad=0"}
    )
    axes.text(
        4.6,
        0.3,
        "pipeline: does a picture end as in training?",
        ha="center",
        va="top",
        color=RIGHT,
        weight="bold",
    )
    save(figure, "links", "the four links")


def draw_tie() -> None:
    figure, axes = pyplot.subplots(figsize=(7.5, 2.0), layout="constrained")
    axes.axvline(0, color=INK, lw=1.4)
    axes.text(0.05, 2.5, "threshold", fontsize=8)
    told = (
        (0.35, -0.3, 1.0, "tie: the margin is within the error", RIGHT),
        (3.2, -1.4, 1.0, "defect: nothing explains it", WRONG),
    )
    for row, (before, after, error, name, colour) in zip((1.6, 0.6), told, strict=True):
        axes.plot(
            [before - error, before + error], [row, row], color=GREY, lw=7, alpha=0.5, solid_capstyle="butt"
        )
        axes.plot([before], [row], "o", color=INK, ms=8)
        axes.plot([after], [row - 0.3], "o", mfc="white", mec=colour, mew=2, ms=8)
        axes.text(4.6, row - 0.1, name, color=colour, va="center")
    axes.set(xlim=(-3, 9), ylim=(-0.1, 3), yticks=[], xticks=[])
    axes.set_xlabel("score; full: PyTorch, with the error bound in grey; open: the file", fontsize=8)
    for side in ("left", "top", "right"):
        axes.spines[side].set_visible(False)
    save(figure, "tie", "a tie and a defect")


def save(figure: Any, name: str, description: str) -> None:
    FOLDER.mkdir(exist_ok=True)
    metadata = {"Date": None, "Description": description}
    figure.savefig(FOLDER / f"{name}.svg", metadata=metadata, facecolor="white")
    pyplot.close(figure)


if __name__ == "__main__":
    mpl.rcParams.update({"svg.hashsalt": "onnxproof", "svg.fonttype": "none", "font.size": 10})
    draw_links()
    draw_noise()
    draw_tie()
