"""The ladder of capture: where a way hangs, crashes, refuses or writes a wrong file, the next is taken."""

import os
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import onnxproof
from onnxproof.errors import ExportError
from onnxproof.export.capture import Ladder
from onnxproof.export.child import CAN_FORK
from onnxproof.pipeline import Bundle

LIMIT_S = 4
ROW = {"x": "float32[batch, 8] in -1..1"}
DIMS = {"batch": "1..3"}

needs_fork = pytest.mark.skipif(not CAN_FORK, reason="this system cannot fork")


class Exporting(nn.Module):
    """Behaves otherwise while torch.export follows it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear(x)
        return self.otherwise(y) if torch.compiler.is_exporting() else y.relu()

    def otherwise(self, y: Tensor) -> Tensor:
        raise NotImplementedError


class Hangs(Exporting):
    def otherwise(self, y: Tensor) -> Tensor:
        time.sleep(600)
        return y


class Crashes(Exporting):
    def otherwise(self, y: Tensor) -> Tensor:
        os._exit(11)


class Lies(Exporting):
    def otherwise(self, y: Tensor) -> Tensor:
        return y.sigmoid()


class Decides(nn.Module):
    """Goes by a value, and needs an operator that TorchScript does not write."""

    def forward(self, x: Tensor) -> Tensor:
        if x.abs().max() > 100:
            raise ValueError("too large")
        return torch.nn.functional.rms_norm(x, (8,)) if x.shape[1] == 8 else x


def exported(module: nn.Module, out: Path, *overrides: str, validate: bool = True) -> Bundle:
    asked = ["validate.effort=quick", "validate.threads=1", f"export.capture_timeout={LIMIT_S}", *overrides]
    return onnxproof.export_module(
        module.eval(), inputs=ROW, dims=DIMS, out=out / "bundle", set=asked, validate=validate
    )


@needs_fork
@pytest.mark.parametrize(
    ("module", "told"),
    [
        pytest.param(
            Hangs(),
            f"torch.export could not capture the model: it took more than {LIMIT_S} s",
            id="hangs",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            Crashes(), "torch.export could not capture the model: it crashed (exit code 11)", id="crashes"
        ),
        pytest.param(Lies(), "the file of torch.export is wrong (function output: ", id="lies"),
    ],
)
def test_the_next_way_is_taken(module: nn.Module, told: str, tmp_path: Path) -> None:
    bundle = exported(module, tmp_path)
    assert bundle.manifest.exporter == "torchscript"
    assert bundle.verdict is not None
    assert bundle.verdict.passed
    (note,) = (note for note in bundle.verdict.notes if note.startswith("captured by torchscript: "))
    assert told in note


class Branches(nn.Module):
    """Goes by a value: torch.export cannot follow, and a trace keeps one way."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.sum() > 0 else x.relu()


def test_lines_that_stand_in_the_way_are_looked_for_only_if_there_is_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ladder = sys.modules[Ladder.__module__]
    monkeypatch.setattr(ladder, "diagnosis", lambda *_: (tmp_path / "looked").touch())
    bundle = exported(Branches(), tmp_path, "export.capture_timeout=100")
    assert bundle.verdict is not None
    assert not bundle.verdict.passed
    assert not (tmp_path / "looked").exists()


def test_a_way_that_the_job_names_is_the_only_one(tmp_path: Path) -> None:
    bundle = exported(Lies(), tmp_path, "export.exporter=torch.export")
    assert bundle.manifest.exporter == "torch.export"
    assert bundle.verdict is not None
    assert not bundle.verdict.passed
    assert any(
        note.startswith("no way to capture the model makes a right file: ") for note in bundle.verdict.notes
    )


def test_where_no_way_works_every_reason_is_told_and_every_line(tmp_path: Path) -> None:
    with pytest.raises(ExportError) as raised:
        exported(Decides().eval(), tmp_path)
    said = str(raised.value)
    for way in ("torch.export could not", "torch.export, strict, could not", "TorchScript could not"):
        assert f"- {way} capture the model: " in said
    assert "test_ladder.py:" in said
    assert "`if x.abs().max() > 100:` goes by a tensor's values" in said
    assert list(tmp_path.iterdir()) == []


class Bagged(nn.Module):
    """Mean embeddings of words, which torch's exporter writes as a loop over a sequence of tensors.

    Without torch's optimizer, ONNX Runtime 1.31 crashes while it loads that.
    """

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.EmbeddingBag(50, 8, mode="mean")

    def forward(self, words: Tensor) -> Tensor:
        means: Tensor = self.embed(words)
        return means


@pytest.mark.slow
def test_a_file_that_cannot_be_loaded_is_captured_again_with_torchs_optimizer(tmp_path: Path) -> None:
    bundle = onnxproof.export_module(
        Bagged().eval(),
        inputs={"words": "int64[batch, n] in 0..49"},
        dims={"batch": "1..3", "n": "3..9"},
        out=tmp_path / "bundle",
        set=("validate.effort=quick", "validate.threads=1"),
    )
    assert bundle.verdict is not None
    assert bundle.verdict.passed
    assert bundle.manifest.exporter == "torch.export"
    (note,) = (note for note in bundle.verdict.notes if note.startswith("captured by torch.export: "))
    assert "torch.export wrote a file that is refused: " in note
    assert note.endswith("; it is captured again, with torch's optimizer")
