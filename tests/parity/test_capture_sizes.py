"""torch.export fixes a size without a word in some operations: the capture must not be taken."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import onnxproof


class Grid(nn.Module):
    """As optical flow makes its grid: linspace with as many steps as the picture is high."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        rows, columns = torch.linspace(-1, 1, y.shape[2]), torch.linspace(-1, 1, y.shape[3])
        at = torch.stack(torch.meshgrid(rows, columns, indexing="ij")[::-1], -1)[None]
        return functional.grid_sample(y, at.expand(y.shape[0], -1, -1, -1), align_corners=True)


@pytest.mark.slow
def test_a_size_that_torch_export_fixes_sends_the_capture_on(tmp_path: Path) -> None:
    bundle = onnxproof.export_module(
        Grid().eval(),
        inputs={"x": "float32[batch, 3, height, width] in 0..1"},
        dims={"batch": "1..3", "height": "16..48 step 4", "width": "16..48 step 4"},
        out=tmp_path / "bundle",
        set=["validate.effort=quick", "validate.threads=1"],
    )
    assert bundle.verdict is not None
    assert bundle.verdict.passed
    # Whether torch.export fixes it depends on its version. Both axes are fixed; the first one is told.
    told = any("for granted, which is wrong for height = 16" in note for note in bundle.notes)
    assert told or bundle.manifest.exporter == "torch.export", bundle.notes


class Cached(nn.Module):
    """Keeps its table for the size that it saw last."""

    def __init__(self) -> None:
        super().__init__()
        self.size: int | None = None
        self.table = torch.zeros(0)

    def forward(self, x: Tensor) -> Tensor:
        if self.size != x.shape[1]:
            self.size = x.shape[1]
            self.table = torch.arange(x.shape[1]) * 0.5
        return x * self.table


@pytest.mark.first_case
@pytest.mark.parametrize("seen", [12, 13, 17])
def test_a_table_for_the_size_that_was_seen_last_freezes_none(seen: int, tmp_path: Path) -> None:
    module = Cached().eval()
    module(torch.zeros(1, seen))
    bundle = onnxproof.export_module(
        module,
        inputs={"x": "float32[batch, n] in -1..1"},
        dims={"n": "12..24", "batch": "1..3"},
        out=tmp_path / "bundle",
        set=("validate.effort=quick", "export.exporter=torch.export"),
    )
    assert bundle.verdict is not None
    assert bundle.verdict.passed
