"""An export whose tensors are left on the disk on the way, by each exporter, folded and simplified."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import onnxproof
from onnxproof import on_disk
from onnxproof.export import capture
from onnxproof.graph import OnnxGraph
from onnxproof.validate.exact import later
from onnxproof.wrappers.double import weights


class Net(nn.Module):
    """A convolution with a batch norm, and linear layers whose weights are transposed in the graph."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution, self.norm = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.up, self.out = nn.Linear(16, 32), nn.Linear(32, 5)
        nn.init.normal_(self.norm.get_buffer("running_mean"))
        nn.init.uniform_(self.norm.get_buffer("running_var"), 0.5, 2)

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.norm(self.convolution(x)).relu().mean((2, 3)).unsqueeze(1)
        scores: Tensor = self.out(nn.functional.gelu(self.up(pooled)))
        return scores


def exported(out: Path, exporter: str) -> onnxproof.Bundle:
    return onnxproof.export_module(
        Net(),
        inputs={"x": "float32[n, 3, height, width] in -1..1"},
        dims={"n": "1..3", "height": "8..12", "width": "8..12"},
        out=out,
        set=("validate.effort=quick", f"export.exporter={exporter}", "export.simplify=onnxsim"),
    )


def judged(bundle: onnxproof.Bundle) -> dict[str, Any]:
    assert bundle.verdict is not None
    document = bundle.verdict.to_json()
    checks = [check for check in document["checks"] if check["name"] != "external_data"]
    notes = [note for note in document["notes"] if "external_data" not in note]
    return {**document, "model_sha256": "", "checks": checks, "notes": notes}


@pytest.mark.slow
@pytest.mark.parametrize("exporter", ["torch.export", "torchscript"])
def test_the_verdict_is_that_of_an_export_in_memory(
    exporter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_memory = exported(tmp_path / "memory" / "net", exporter)
    monkeypatch.setattr(on_disk, "LARGEST_WHOLE", 0)
    monkeypatch.setattr(on_disk, "LEAST_LEFT", 64)
    monkeypatch.setattr(on_disk, "LARGEST_FILE", 256)
    monkeypatch.setattr(capture, "LARGEST_HELD", 0)
    for module in (later, weights):
        monkeypatch.setattr(module, "MOST_WIDENED", 0)
    monkeypatch.setattr(weights, "FEWEST_LENT", 1)
    monkeypatch.setattr(later, "FEWEST_LATER", 1)
    on_the_disk = exported(tmp_path / "disk" / "net", exporter)
    assert on_the_disk.manifest.simplify == in_memory.manifest.simplify == "onnxsim"
    assert on_the_disk.manifest.exporter == exporter
    assert on_the_disk.manifest.data_sha256 is not None
    assert sorted(path.name for path in on_the_disk.path.iterdir()) == [
        *("README.md", "golden.npz", "manifest.json", "model.onnx", "model.onnx.data", "parity.json")
    ]
    graph = OnnxGraph.read(on_the_disk.path / "model.onnx")
    assert not any(node.op_type == "BatchNormalization" for node in graph.nodes)
    assert {stored.place.location for stored in graph.stored if stored.place is not None} == {
        "model.onnx.data"
    }
    assert judged(on_the_disk) == judged(in_memory)
