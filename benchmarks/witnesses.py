"""Weak witnesses: how much ONNX Runtime errs where seeded weights or pictures show float error badly.

Exports recurrences and networks that take means or normalise, and prints a row for each: the largest ratios
of errors to PyTorch's, by rms, and on pictures of one value.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

import onnxproof

WAVES = {"x": "float32[batch, time, 8] in 0..1"}, {"batch": "1..4", "time": "1..64"}
PICTURES = (
    {"x": "float32[batch, 3, height, width] in 0..255"},
    {"batch": "1..2", "height": "64..320 step 64", "width": "64..320 step 64"},
)
WIDTHS = (16, 32, 64)


class Recurrence(nn.Module):
    """The states of a recurrence at each step."""

    def __init__(self, kind: type[nn.LSTM | nn.GRU], width: int) -> None:
        super().__init__()
        self.cells = kind(8, width, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        states: Tensor = self.cells(x)[0]
        return states


class Normalised(nn.Module):
    """Convolutions with a norm, and the mean of the map behind them."""

    def __init__(self, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(3, 16, 3, 2), norm(16), nn.ReLU()),
            *(nn.Conv2d(16, 16, 3, 2), norm(16), nn.ReLU()),
        )

    def forward(self, x: Tensor) -> Tensor:
        mean: Tensor = self.body(x / 255).mean((2, 3))
        return mean


NORMS: Mapping[str, Callable[[int], nn.Module]] = {
    "a mean": lambda _: nn.Identity(),
    "GroupNorm": lambda width: nn.GroupNorm(4, width),
    "InstanceNorm": lambda width: nn.InstanceNorm2d(width, affine=True),
    "BatchNorm": nn.BatchNorm2d,
}


def networks() -> Iterator[tuple[str, str, nn.Module, tuple[dict[str, str], dict[str, str]]]]:
    """Kind, name, network, and the form of the export."""
    for kind in (nn.LSTM, nn.GRU):
        for width in WIDTHS:
            torch.manual_seed(0)
            yield kind.__name__, f"width {width}", Recurrence(kind, width), WAVES
    for name, norm in NORMS.items():
        torch.manual_seed(0)
        yield "network", name, Normalised(norm), PICTURES


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="LSTM, GRU or network, or a whole row's name")
    only = parser.parse_args().only
    found: dict[str, list[float]] = {}
    notes: list[str] = []
    print("| kind | network | rms ratio | ratio on pictures of one value | verdict |")
    print("| --- | --- | ---: | ---: | --- |")
    for kind, name, network, (inputs, dims) in networks():
        if not f"{kind}: {name}".startswith(only):
            continue
        with tempfile.TemporaryDirectory() as folder:
            settings = ("validate.effort=quick", "validate.threads=1")
            out = Path(folder, "bundle")
            bundle = onnxproof.export_module(
                network.eval(),
                inputs=inputs,
                dims=dims,
                picture="x" if inputs is PICTURES[0] else None,
                out=out,
                set=settings,
            )
        verdict = bundle.verdict
        assert verdict is not None
        (facts,) = verdict.facts
        rms = max(field.ratio_rms for field in facts.fields)
        flat = [check.value for check in verdict.checks if check.name == "ratio_constant" and check.value]
        found.setdefault(kind, []).append(rms)
        told = f"{max(flat):.3g}" if flat else "-"
        print(f"| {kind} | {name} | {rms:.3g} | {told} | {verdict.status} |", flush=True)
        notes += [f"{kind}: {name}: {note}" for note in verdict.notes if "the file is right" in note]
    for kind, ratios in found.items():
        print(f"{kind}: {len(ratios)} networks, rms ratios {min(ratios):.2f} to {max(ratios):.2f}")
    print(*notes, sep="\n")


if __name__ == "__main__":
    main()
