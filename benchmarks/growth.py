"""How the time and the memory of an export with its verdict grow.

Along each axis a seeded model is exported at several sizes, each in a process of its own: bytes of weights,
nodes, cases, pixels of a picture, classes. Prints a table and, for each axis, two exponents of a power of the
size: fitted to all points by least squares, and of the last step alone, where constant costs weigh least. An
exponent of 1 is linear. With --write, the table and the plot go into ``growth/README.md``.
"""

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _peak import watched
from memory import model_of
from torch import Tensor, nn

import onnxproof

GB = 10**9
PAGE = Path(__file__).parent / "growth" / "README.md"
PLOT = "growth.png"


class Chain(nn.Module):
    """So many operations, one after the other: a product with a seeded vector, and a hyperbolic tangent."""

    def __init__(self, nodes: int) -> None:
        super().__init__()
        self.scales = nn.Parameter(torch.rand(nodes // 2, 8) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        for scale in self.scales.unbind():
            x = torch.tanh(x * scale)
        return x


class Classes(nn.Module):
    """Scores of so many classes for each of some vectors."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.head = nn.Linear(32, count)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(x)
        return scores


class Steps(nn.Module):
    """A small encoder layer over steps in time."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.layer(x)
        return answer


class Pictures(nn.Module):
    """A small network of convolutions over a picture."""

    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Conv2d(3 if not at else 16, 16, 3, padding=1) for at in range(4)]
        self.body = nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU())))

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.body(x)
        return answer


@dataclass(frozen=True, slots=True)
class Asked:
    """A model with its inputs and dims, and more keys of the job."""

    module: Callable[[], nn.Module]
    input: str
    dims: Mapping[str, str]
    overrides: tuple[str, ...] = ()
    task: str = "raw"


AXES: dict[str, tuple[str, Sequence[int], Callable[[int], Asked]]] = {
    "weights": (
        "bytes of weights",
        (50_000_000, 200_000_000, 500_000_000, 1_500_000_000, 4_000_000_000),
        lambda size: Asked(
            lambda: model_of("transformer", size),
            "int64[n, time] in 0..15999",
            {"n": "1..2", "time": "4..16"},
        ),
    ),
    "nodes": (
        "nodes",
        (500, 2_000, 8_000, 20_000, 50_000),
        lambda size: Asked(lambda: Chain(size), "float32[n, 8] in -1..1", {"n": "1..2"}),
    ),
    "cases": (
        "declared sizes",
        (8, 16, 32, 64, 128, 256),
        lambda size: Asked(
            Steps,
            "float32[n, time, 32] in -1..1",
            {"n": "1..2", "time": f"2..{size + 1}"},
            ("validate.effort=thorough",),
        ),
    ),
    "pixels": (
        "pixels",
        tuple(side**2 for side in (64, 128, 256, 512, 1024)),
        lambda size: Asked(
            Pictures,
            "float32[n, 3, height, width] in 0..1",
            {"n": "1..2", "height": str(math.isqrt(size)), "width": str(math.isqrt(size))},
        ),
    ),
    "classes": (
        "classes",
        (10, 100, 1_000, 10_000, 100_000),
        lambda size: Asked(
            lambda: Classes(size), "float32[n, 32] in -1..1", {"n": "1..4"}, task="classification"
        ),
    ),
}
"""What grows: its unit, the sizes, and what is exported at each."""


def export(axis: str, size: int, out: Path) -> dict[str, Any]:
    """Export the model of a size. Returns what is told of it."""
    asked = AXES[axis][2](size)
    torch.manual_seed(0)
    module = asked.module().eval()
    started = time.perf_counter()
    bundle = onnxproof.export_module(
        module,
        inputs={"x": asked.input},
        dims=asked.dims,
        out=out / "bundle",
        task=asked.task,
        set=(
            "validate.effort=quick",
            "validate.threads=1",
            "export.capture_timeout=3600",
            *asked.overrides,
        ),
    )
    assert bundle.verdict is not None
    return {
        "seconds": time.perf_counter() - started,
        "cases": len(bundle.verdict.cases),
        "verdict": bundle.verdict.status,
        "exporter": bundle.manifest.exporter,
    }


def exponents(sizes: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """The power of the size that fits all values best, and that of the last step."""
    x, y = np.log(sizes), np.log(values)
    return float(np.polyfit(x, y, 1)[0]), float((y[-1] - y[-2]) / (x[-1] - x[-2]))


def table(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """The rows of each axis, and its exponents."""
    lines = ["| axis | size | seconds | peak | verdict |", "| --- | ---: | ---: | ---: | --- |"]
    for axis, found in rows.items():
        for row in found:
            peak = f"{row['peak'] / GB:.2f} GB"
            lines.append(
                f"| {AXES[axis][0]} | {row['size']:,} | {row['seconds']:.1f} | {peak} | {row['verdict']} |"
            )
    lines += ["", "| axis | time, all | time, last step | memory, all | memory, last step |"]
    lines.append("| --- | ---: | ---: | ---: | ---: |")
    for axis, found in rows.items():
        if len(found) > 1:
            sizes = [row["size"] for row in found]
            fits = [exponents(sizes, [row[what] for row in found]) for what in ("seconds", "peak")]
            lines.append(
                f"| {AXES[axis][0]} | " + " | ".join(f"{one:.2f}" for fit in fits for one in fit) + " |"
            )
    return lines


def plot(rows: Mapping[str, Sequence[Mapping[str, Any]]], file: Path) -> None:
    """Time and memory over the size, a panel for each axis."""
    import matplotlib  # noqa: PLC0415 - for the plot alone

    matplotlib.use("agg")
    from matplotlib import pyplot  # noqa: PLC0415

    figure, panels = pyplot.subplots(
        2, len(rows), figsize=(3 * len(rows), 5.5), squeeze=False, sharey="row", layout="constrained"
    )
    for column, (axis, found) in enumerate(rows.items()):
        sizes = [row["size"] for row in found]
        for panel, values, unit in (
            (panels[0][column], [row["seconds"] for row in found], "seconds"),
            (panels[1][column], [row["peak"] / GB for row in found], "GB at the peak"),
        ):
            panel.loglog(sizes, values, "o-", color="#1f6f8b")
            panel.grid(visible=True, which="major", alpha=0.3)
            panel.set_xlabel(AXES[axis][0])
            if column == 0:
                panel.set_ylabel(unit)
    figure.savefig(file, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--axes", nargs="*", choices=AXES, default=list(AXES))
    parser.add_argument("--most", type=int, default=10**12, help="leave out larger sizes")
    parser.add_argument("--resume", type=Path, help="a JSON file that keeps the rows; go on where it ends")
    parser.add_argument("--write", action="store_true", help="write the page and the plot")
    parser.add_argument("--alone", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.alone:
        axis, size, out = given.alone
        print(json.dumps(export(axis, int(size), Path(out))))
        return
    kept = given.resume is not None and given.resume.is_file()
    known: dict[str, Any] = json.loads(given.resume.read_text()) if kept else {}
    rows: dict[str, list[dict[str, Any]]] = {}
    for axis in given.axes:
        for size in (size for size in AXES[axis][1] if size <= given.most):
            name = f"{axis} {size}"
            if name not in known:
                with tempfile.TemporaryDirectory() as folder:
                    command = [sys.executable, __file__, "--alone", axis, str(size), folder]
                    known[name] = {**watched(command, name), "size": size}
                if given.resume is not None:
                    given.resume.write_text(json.dumps(known))
            rows.setdefault(axis, []).append(known[name])
            print(name, known[name], flush=True)
    lines = table(rows)
    print("\n".join(lines))
    if given.write:
        PAGE.parent.mkdir(exist_ok=True)
        plot(rows, PAGE.with_name(PLOT))
        head = f"# How an export with its verdict grows\n\n{__doc__.partition(chr(10) * 2)[2].strip()}\n"
        PAGE.write_text(f"{head}\n![Time and memory over the size]({PLOT})\n\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
