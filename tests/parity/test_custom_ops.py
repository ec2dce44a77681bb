"""``export.custom_ops``: the user's own translations of operators."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import onnxproof
from onnxproof.errors import ExportError, JobError, UserCodeError

TABLE = """
import torch
from onnxscript import opset18 as op

def kept(x, dim):
    return op.Identity(x)

def hypotenuse(x, y):
    return op.Sqrt(op.Add(op.Mul(x, x), op.Mul(y, y)))

def raising(x, dim):
    raise KeyError("no such axis")

ROOT = {torch.ops.aten.hypot.default: hypotenuse}
WRONG = {torch.ops.aten.cumprod.default: kept}
RAISES = {torch.ops.aten.cumprod.default: raising}
PACKET = {torch.ops.aten.cumprod: kept}
TEXT = {"aten::cumprod": kept}
NUMBER = {torch.ops.aten.cumprod.default: 1}
"""
ROWS = {"x": "float32[batch, 6] in 0.5..1"}


class Product(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cumprod(x, 1)


class Hypotenuse(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.hypot(x, x.flip(1))


def exported(module: nn.Module, folder: Path, table: str, *overrides: str) -> onnxproof.Bundle:
    (folder / "mine.py").write_text(TABLE, encoding="utf-8")
    named = f"export.custom_ops={folder / 'mine.py'}:{table}"
    return onnxproof.export_module(
        module.eval(),
        inputs=ROWS,
        dims={"batch": "1..3"},
        out=folder / "out" / "bundle",
        set=["validate.effort=quick", "validate.threads=1", named, *overrides],
    )


def test_the_users_translation_is_taken_and_its_place_is_recorded(tmp_path: Path) -> None:
    bundle = exported(Hypotenuse(), tmp_path, "ROOT")
    assert bundle.verdict is not None
    assert bundle.verdict.passed
    assert bundle.manifest.exporter == "torch.export"
    document = json.loads((bundle.path / "manifest.json").read_text(encoding="utf-8"))
    assert document["job"]["export"]["custom_ops"] == "../../mine.py:ROOT"


def test_a_wrong_translation_fails_the_function_link(tmp_path: Path) -> None:
    bundle = exported(Product(), tmp_path, "WRONG", "export.exporter=torch.export")
    assert bundle.verdict is not None
    assert {check.name for check in bundle.verdict.checks if check.status == "fail"} >= {"function"}


def test_a_translation_that_raises_is_told_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"no such axis"):
        exported(Product(), tmp_path, "RAISES", "export.exporter=torch.export")


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (
            "PACKET",
            r"aten\.cumprod is several operators; name one of them: torch\.ops\.aten\.cumprod\.default",
        ),
        ("TEXT", r"the key 'aten::cumprod' is a str; expected an operator, such as torch\.ops"),
        ("NUMBER", r"the value of aten\.cumprod\.default is a int; expected a function"),
        ("kept", r"is a function; expected a dict of torch.s operators"),
        ("MISSING", r"mine\.py has no MISSING"),
    ],
)
def test_what_is_no_table_is_refused(table: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(JobError, match=told):
        exported(Product(), tmp_path, table)


def test_a_table_that_cannot_be_read_is_the_users_to_mend(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise RuntimeError('half done')", encoding="utf-8")
    with pytest.raises(UserCodeError, match=r"broken\.py:1"):
        exported(Product(), tmp_path, "ROOT", f"export.custom_ops={tmp_path / 'broken.py'}:ROOT")


def test_torchscript_takes_no_table(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"only torch\.export takes such a table"):
        exported(Product(), tmp_path, "ROOT", "export.exporter=torchscript")
