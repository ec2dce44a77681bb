"""A row of a table that was changed is read by a case: of words, although no planned case draws its id; of
places, although only a text without padding has so many."""

from pathlib import Path

import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

import onnxproof
from onnxproof.validate.contents import OF_IDS

WORDS = 2000
ROWS = (77, 1234)
DIMS = {"batch": "1..2", "time": "1..6"}
EXPORTERS = (
    pytest.param(True, id="torch.export", marks=pytest.mark.slow),
    pytest.param(False, id="torchscript"),
)


class Reader(nn.Module):
    """Scores of words in their places."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.places, self.head = nn.Embedding(WORDS, 8), nn.Embedding(6, 8), nn.Linear(8, 3)

    def forward(self, ids: Tensor) -> Tensor:
        """[batch, time, 3] of ids [batch, time]."""
        places = torch.arange(ids.shape[1], device=ids.device)
        scores: Tensor = self.head(torch.tanh(self.words(ids.clamp(0, WORDS - 1)) + self.places(places)))
        return scores


class Padded(nn.Module):
    """Scores of texts with padding, of which each word knows how many are before it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.places, self.head = nn.Embedding(20, 8), nn.Embedding(13, 8), nn.Linear(8, 3)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """[batch, time, 3] of ids and mask, [batch, time] each."""
        places = torch.cumsum(mask, 1) * mask
        scores: Tensor = self.head(torch.tanh(self.words(ids) + self.places(places)))
        return scores


class Hashed(nn.Module):
    """Vectors of pairs of words, in places that a hash gives."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(997, 4)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """[batch, 2, 4] of first and second, [batch, 2] each."""
        vectors: Tensor = self.words((first * 31 + second * 17) % 997)
        return vectors


def written(folder: Path, *, dynamo: bool) -> Path:
    """The file that one of torch's exporters writes."""
    target, ids = folder / "model.onnx", torch.zeros(2, 5, dtype=torch.int64)
    if dynamo:
        dims = {"ids": {0: torch.export.Dim("batch"), 1: torch.export.Dim("time", max=6)}}
        torch.onnx.export(
            Reader().eval(),
            (ids,),
            str(target),
            dynamo=True,
            input_names=["ids"],
            output_names=["output"],
            dynamic_shapes=dims,
            external_data=False,
            verbose=False,
        )
    else:
        torch.onnx.export(
            Reader().eval(),
            (ids,),
            str(target),
            dynamo=False,
            input_names=["ids"],
            output_names=["output"],
            dynamic_axes={"ids": {0: "batch", 1: "time"}},
        )
    return target


def changed(file: Path, rows: tuple[int, ...]) -> Path:
    """The file with these rows of the words' table moved."""
    proto = onnx.load(file)
    (table,) = (one for one in proto.graph.initializer if list(one.dims) == [WORDS, 8])
    values = numpy_helper.to_array(table).copy()
    values[list(rows)] += 0.5
    table.CopyFrom(numpy_helper.from_array(values, table.name))
    target = file.with_name("changed.onnx")
    onnx.save(proto, target)
    return target


def judged(file: Path, last: int) -> onnxproof.Verdict:
    return onnxproof.check_module(
        Reader(), file, inputs={"ids": f"int64[batch, time] in 0..{last}"}, dims=DIMS
    )


def told(verdict: onnxproof.Verdict) -> str:
    return next(note for note in verdict.notes if note.startswith("weights: "))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("dynamo", EXPORTERS)
def test_a_changed_row_fails_where_an_id_reads_it(dynamo: bool, tmp_path: Path) -> None:
    file = written(tmp_path, dynamo=dynamo)
    right = judged(file, WORDS - 1)
    assert right.passed
    assert not [case for case in right.cases if case.ids and case.kind not in OF_IDS]
    wrong = judged(changed(file, ROWS), WORDS - 1)
    assert {link.link for link in wrong.links if link.status == "fail"} == {"function"}
    assert "rows 77, 1234, which extra cases read" in told(wrong)
    extra = [case for case in wrong.cases if case.ids and case.kind not in OF_IDS]
    assert [set(case.ids["ids"]) >= set(ROWS) for case in extra] == [True, True]
    (check,) = (check for check in wrong.checks if check.name == "function" and check.status == "fail")
    assert any(case.name in check.reason for case in extra)
    assert onnxproof.Verdict.from_json(wrong.to_json()).cases == wrong.cases


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_changed_row_that_no_declared_id_reads_is_a_note(tmp_path: Path) -> None:
    verdict = judged(changed(written(tmp_path, dynamo=False), (1234,)), 999)
    assert verdict.passed
    assert "row 1234, which no declared id reads" in told(verdict)
    assert not [case for case in verdict.cases if case.ids and case.kind not in OF_IDS]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_validate_compare_and_bisect_try_the_changed_row_too(tmp_path: Path) -> None:
    inputs = {"ids": f"int64[batch, time] in 0..{WORDS - 1}"}
    bundle = tmp_path / "bundle"
    more = ("validate.effort=quick", "export.exporter=torchscript", "validate.threads=1")
    made = onnxproof.export_module(Reader(), inputs=inputs, dims=DIMS, out=bundle, set=more)
    assert made.verdict is not None
    assert made.verdict.passed
    wrong = changed(bundle / "model.onnx", (1234,))
    wrong = wrong.rename(tmp_path / "changed.onnx")
    assert not onnxproof.validate(bundle, model=Reader(), onnx=wrong).passed
    assert not onnxproof.compare(bundle / "model.onnx", wrong, job=bundle, model=Reader()).passed
    found = onnxproof.bisect(bundle, model=Reader(), onnx=wrong, out=tmp_path / "bisect")
    assert found.status == "node"
    assert found.nodes[0].operator == "Gather"
    assert "ids" in found.case


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("effort", ["quick", pytest.param("normal", marks=pytest.mark.slow)])
def test_the_last_place_of_the_longest_text_is_read(effort: str, tmp_path: Path) -> None:
    file, ids = tmp_path / "model.onnx", torch.zeros(2, 5, dtype=torch.int64)
    torch.onnx.export(
        Padded().eval(),
        (ids, torch.ones_like(ids)),
        str(file),
        dynamo=False,
        input_names=["ids", "mask"],
        output_names=["output"],
        dynamic_axes={name: {0: "batch", 1: "time"} for name in ("ids", "mask")},
    )
    proto = onnx.load(file)
    (table,) = (one for one in proto.graph.initializer if list(one.dims) == [13, 8])
    values = numpy_helper.to_array(table).copy()
    values[12] += 0.5
    table.CopyFrom(numpy_helper.from_array(values, table.name))
    wrong = tmp_path / "wrong.onnx"
    onnx.save(proto, wrong)
    inputs = {"ids": "int64[batch, time] in 0..19", "mask": "int64[batch, time] as mask"}
    for dims in ({"batch": "1..2", "time": "1..12"}, {"batch": "1", "time": "1..12"}):
        right, found = (
            onnxproof.check_module(Padded(), one, inputs=inputs, dims=dims, set=[f"validate.effort={effort}"])
            for one in (file, wrong)
        )
        assert right.passed
        assert {link.link for link in found.links if link.status == "fail"} == {"function"}
        assert "row 12, by indices that the graph computes" in told(found)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_rows_that_are_exchanged_under_computed_ids_fail(tmp_path: Path) -> None:
    file, ids = tmp_path / "model.onnx", torch.ones(2, 2, dtype=torch.int64)
    torch.onnx.export(
        Hashed().eval(),
        (ids, ids),
        str(file),
        dynamo=False,
        input_names=["first", "second"],
        output_names=["output"],
        dynamic_axes={name: {0: "batch"} for name in ("first", "second", "output")},
    )
    proto = onnx.load(file)
    (table,) = (one for one in proto.graph.initializer if list(one.dims) == [997, 4])
    values = numpy_helper.to_array(table).copy()
    values[[100, 101]] = values[[101, 100]]
    table.CopyFrom(numpy_helper.from_array(values, table.name))
    wrong = tmp_path / "wrong.onnx"
    onnx.save(proto, wrong)
    inputs = dict.fromkeys(("first", "second"), "int64[batch, 2] in 0..500")
    right, found = (
        onnxproof.check_module(Hashed(), one, inputs=inputs, dims={"batch": "1..2"}) for one in (file, wrong)
    )
    assert right.passed
    (check,) = (check for check in found.checks if check.status == "fail")
    assert (check.name, check.link) == ("tables", "function")
    assert check.reason.startswith("rows 100, 101 of words.weight are not the checkpoint's")
