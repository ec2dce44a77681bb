"""Integer inputs of no declared range are drawn from the tables that they look up, and divisors from 1."""

import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

import onnxproof
from onnxproof.errors import JobError
from onnxproof.validate.contents import OF_IDS

ROWS = 300
DIMS = {"batch": "1..2", "time": "1..8"}


class Reader(nn.Module):
    """Scores of the mean of a text's words."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.head = nn.Embedding(ROWS, 8), nn.Linear(8, 3)

    def forward(self, ids: Tensor) -> Tensor:
        """[batch, 3] of ids [batch, time]."""
        scores: Tensor = self.head(self.words(ids).mean(1))
        return scores


class Divider(nn.Module):
    """What is left of one integer when it is divided by another."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """[batch, 4] of a and b."""
        return torch.remainder(a, b)


class Squares(nn.Module):
    """What is left of one integer when it is divided by the square of another."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """[batch, 4] of a and b."""
        return torch.remainder(a, b * b)


def exported(module: nn.Module, file: Path, axes: dict[str, dict[int, str]], *inputs: Tensor) -> Path:
    """The file that torch's exporter writes."""
    torch.onnx.export(
        module.eval(),
        inputs,
        str(file),
        dynamo=False,
        input_names=list(axes),
        output_names=["output"],
        dynamic_axes={**axes, "output": {0: "batch"}},
    )
    return file


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    axes = {"ids": {0: "batch", 1: "time"}}
    ids = torch.zeros(2, 5, dtype=torch.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return exported(Reader(), tmp_path_factory.mktemp("reader") / "a.onnx", axes, ids)


def with_table(file: Path, target: Path, *, rolled: int = 0, rows: int = ROWS) -> Path:
    """The file with the rows behind the first two rolled, or with fewer rows."""
    proto = onnx.load(file)
    (table,) = (one for one in proto.graph.initializer if list(one.dims) == [ROWS, 8])
    values = numpy_helper.to_array(table).copy()
    values[2:] = np.roll(values[2:], rolled, 0)
    table.CopyFrom(numpy_helper.from_array(values[:rows], table.name))
    onnx.save(proto, target)
    return target


def failed(verdict: onnxproof.Verdict) -> dict[str, str]:
    """The reasons of the failed checks of the link ``function``, by the check's name."""
    return {one.name: one.reason for one in verdict.checks if (one.status, one.link) == ("fail", "function")}


def test_rows_behind_the_first_two_are_drawn(reader: Path, tmp_path: Path) -> None:
    wrong = with_table(reader, tmp_path / "b.onnx", rolled=1)
    right = onnxproof.compare(reader, reader, effort="quick")
    assert right.passed
    assert any("ids in 0..299 (the 300 rows of words.weight)" in note for note in right.notes)
    found = onnxproof.compare(reader, wrong, effort="quick")
    assert "function" in failed(found)
    assert any(case.ids and case.kind not in OF_IDS for case in found.cases)
    assert any("tables of B with other rows than A's: words.weight" in note for note in found.notes)
    assert onnxproof.check_module(Reader(), reader, dims=DIMS).passed
    judged = onnxproof.check_module(Reader(), wrong, dims=DIMS)
    assert "function" in failed(judged)
    assert any("ids in 0..299 (the 300 rows of words.weight)" in note for note in judged.notes)


def test_a_table_that_was_cut_fails_unless_the_range_is_declared(reader: Path, tmp_path: Path) -> None:
    cut = with_table(reader, tmp_path / "b.onnx", rows=250)
    found = onnxproof.compare(reader, cut, effort="quick")
    assert failed(found) == {
        "tables": "B looks ids up in the 250 rows of words.weight, A in the 300 of words.weight; if no id "
        "is above 249, declare the range of ids"
    }
    judged = onnxproof.check_module(Reader(), cut, dims=DIMS)
    assert failed(judged) == {
        "tables": "words.weight has 250 of the 300 rows of module.words.weight; if no id is above 249, "
        "declare the range of ids"
    }
    declared = {"ids": "int64[batch, time] in 0..249"}
    assert onnxproof.compare(reader, cut, inputs=declared, effort="quick").passed
    assert onnxproof.check_module(Reader(), cut, inputs=declared, dims=DIMS).passed


def test_a_row_beyond_the_declared_ids_is_told_and_passes(reader: Path, tmp_path: Path) -> None:
    wrong = with_table(reader, tmp_path / "b.onnx", rolled=1)
    found = onnxproof.compare(reader, wrong, inputs={"ids": "int64[batch, time] in 0..1"}, effort="quick")
    assert found.passed
    assert any("which no declared id reads" in note for note in found.notes)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_divisor_is_not_zero(tmp_path: Path) -> None:
    ones = torch.ones(2, 4, dtype=torch.int64)
    axes = {"a": {0: "batch"}, "b": {0: "batch"}}
    file = exported(Divider(), tmp_path / "a.onnx", axes, ones, ones)
    verdict = onnxproof.check_module(Divider(), file, dims={"batch": "1..2"})
    assert verdict.passed
    assert any("a in 0..1, b in 1..64 (it divides)" in note for note in verdict.notes)
    assert onnxproof.compare(file, file, effort="quick").passed


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_error_of_undeclared_numbers_says_how_to_declare_them(tmp_path: Path) -> None:
    ones = torch.ones(2, 4, dtype=torch.int64)
    axes = {"a": {0: "batch"}, "b": {0: "batch"}}
    file = exported(Squares(), tmp_path / "a.onnx", axes, ones, ones)
    with pytest.raises(JobError, match=r"nobody declared the range of a and b, so 0 and 1 were drawn"):
        onnxproof.check_module(Squares(), file, dims={"batch": "1..2"})
    inputs = {"a": "int64[batch, 4] in 0..9", "b": "int64[batch, 4] in 1..9"}
    assert onnxproof.check_module(Squares(), file, inputs=inputs, dims={"batch": "1..2"}).passed
