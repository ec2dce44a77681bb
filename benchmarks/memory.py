"""Measure the peak memory of an export with its verdict, for models of 0.5, 1.5 and 4 GB of weights.

Each model is exported in a process of its own; ``_peak.py`` says what its memory is.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from _peak import watched
from torch import Tensor, nn

import onnxproof

GB = 10**9
SIZES_GB = (0.5, 1.5, 4.0)
KINDS = ("transformer", "convolutions")
FACTOR, BASE_GB = 2.5, 1.0
"""The limit: so many times the weights, and so much more."""

FLOAT_BYTES = 4


class Block(nn.Module):
    """An encoder layer of a transformer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, t, width = x.shape
        parts = self.qkv(self.before(x)).reshape(n, t, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        x = x + self.out(mixed.transpose(1, 2).reshape(n, t, width))
        y: Tensor = x + self.down(nn.functional.gelu(self.up(self.between(x))))
        return y


class Transformer(nn.Module):
    """Tokens in, scores of the next tokens out."""

    def __init__(self, size: int, width: int = 1536, words: int = 16_000) -> None:
        super().__init__()
        tables = 2 * width * words
        blocks = max(1, round((size / FLOAT_BYTES - tables) / (12 * width**2)))
        self.table = nn.Embedding(words, width)
        self.blocks = nn.ModuleList(Block(width, 16) for _ in range(blocks))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, words, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.table(tokens)
        for block in self.blocks:
            x = block(x)
        scores: Tensor = self.head(self.norm(x))
        return scores


class Residual(nn.Module):
    """Two convolutions with batch norms, and a way around them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.relu(x + self.body(x))


class Convolutions(nn.Module):
    """Pictures in, scores of classes out."""

    def __init__(self, size: int, width: int = 1024) -> None:
        super().__init__()
        blocks = max(1, round(size / FLOAT_BYTES / (18 * width**2)))
        self.stem = nn.Conv2d(3, width, 8, stride=8)
        self.blocks = nn.Sequential(*(Residual(width) for _ in range(blocks)))
        self.head = nn.Linear(width, 100)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.blocks(self.stem(x)).mean((2, 3)))
        return scores


def model_of(kind: str, size: int) -> nn.Module:
    """The seeded model of that many bytes of weights, with norms that do something."""
    torch.manual_seed(0)
    model = Transformer(size) if kind == "transformer" else Convolutions(size)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.get_buffer("running_mean"), 0, 0.1)
            nn.init.uniform_(layer.get_buffer("running_var"), 0.5, 2)
            nn.init.uniform_(layer.weight, 0.2, 0.5)
    return model.eval()


def export(kind: str, size: int, out: Path) -> dict[str, Any]:
    """Export the model into a folder. Returns what is told of it."""
    model = model_of(kind, size)
    weights = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
    tokens = kind == "transformer"
    started = time.perf_counter()
    bundle = onnxproof.export_module(
        model,
        inputs={"x": "int64[n, time] in 0..15999" if tokens else "float32[n, 3, height, width] in -1..1"},
        dims={"n": "1..2"} | ({"time": "4..16"} if tokens else {"height": "32", "width": "32"}),
        out=out / kind,
        set=("validate.effort=quick", "validate.threads=1"),
    )
    verdict = bundle.verdict
    assert verdict is not None
    return {
        "weights": weights,
        "verdict": verdict.status,
        "failed": [f"{check.name}: {check.reason}" for check in verdict.checks if check.status != "pass"],
        "notes": [*bundle.notes, *verdict.notes],
        "exporter": bundle.manifest.exporter,
        "seconds": time.perf_counter() - started,
        "largest": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def main() -> None:
    """Print a row for each model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=float, nargs="*", default=SIZES_GB, help="GB of weights")
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=KINDS)
    parser.add_argument("--out", type=Path, help="where the bundles are written, and removed")
    parser.add_argument("--alone", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.alone:
        kind, size, out = given.alone
        print(json.dumps(export(kind, int(size), Path(out))))
        return
    print(f"limit: {FACTOR} x weights + {BASE_GB:g} GB")
    print(f"{'model':14}{'weights':>10}{'peak':>10}{'ratio':>8}{'seconds':>9}  verdict")
    for size in given.sizes:
        for kind in given.kinds:
            with tempfile.TemporaryDirectory(dir=given.out) as folder:
                command = [sys.executable, __file__, "--alone", kind, str(int(size * GB)), folder]
                found = watched(command, f"the export of {kind}, {size:g} GB,")
            weights, peak = found["weights"] / GB, found["peak"] / GB
            within = "within" if peak <= FACTOR * weights + BASE_GB else "ABOVE"
            print(
                f"{kind:14}{weights:>7.2f} GB{peak:>7.2f} GB{(peak - BASE_GB) / weights:>8.2f}"
                f"{found['seconds']:>9.0f}  {found['verdict']}, {within} the limit",
                *(f"\n  {line}" for line in (*found["failed"], *found["notes"])),
                flush=True,
            )


if __name__ == "__main__":
    main()
