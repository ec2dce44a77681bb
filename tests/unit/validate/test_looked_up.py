"""Which rows of looked-up tables are not the checkpoint's, and the cases that read them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from onnxproof.graph import OnnxGraph
from onnxproof.tensors import TensorSpec
from onnxproof.validate.cases import Case, materialise
from onnxproof.validate.exact.checkpoint import Weights
from onnxproof.validate.exact.constants import prove_constants
from onnxproof.validate.exact.known import Known
from onnxproof.validate.looked_up import MOST_PARTS, ChangedRows, changed_rows, with_cases

TABLE = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
IDS = TensorSpec("ids", "int64", ("batch", "time"), (0, 39))
MASK = TensorSpec("mask", "int64", ("batch", "time"), mask=True)
CASES = tuple(
    Case(f"{batch}x{time}", {"batch": batch, "time": time}, "noise", 0)
    for batch, time in ((1, 1), (2, 6), (1, 3), (3, 8))
)

Way = Sequence[NodeProto]


def node(operator: str, reads: str, writes: str, **attributes: Any) -> NodeProto:
    return helper.make_node(operator, reads.split(), [writes], **attributes)


DIRECT: Way = [node("Gather", "words ids", "y")]


def found(rows: Sequence[int], way: Way = DIRECT, spec: TensorSpec = IDS) -> tuple[ChangedRows, ...]:
    """What is found of a file in which these rows of the table are larger by 1."""
    table = TABLE.copy()
    table[list(rows)] += 1
    constants = {
        "words": table,
        "low": np.array(0),
        "high": np.array(39),
        "flat": np.array([-1]),
        "axis": np.array([2]),
    }
    graph = helper.make_graph(
        way,
        "g",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "time"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = OnnxGraph(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]))
    known = Known(Weights({"words": TABLE}, {}))
    return changed_rows(model, prove_constants(model, known), known, [spec, MASK], Path("model.onnx"))


@pytest.mark.parametrize(
    "way",
    [
        pytest.param(DIRECT, id="the-input-itself"),
        pytest.param(
            [node("Cast", "ids", "a", to=TensorProto.INT32), node("Gather", "words a", "y")], id="cast"
        ),
        pytest.param([node("Clip", "ids low high", "a"), node("Gather", "words a", "y")], id="clipped"),
        pytest.param(
            [node("Max", "low ids", "a"), node("Min", "a high", "b"), node("Gather", "words b", "y")],
            id="clipped-in-two-steps",
        ),
        pytest.param(
            [node("Reshape", "ids flat", "a"), node("Identity", "words", "w"), node("Gather", "w a", "y")],
            id="laid-flat-and-the-table-handed-on",
        ),
        pytest.param([node("Unsqueeze", "ids axis", "a"), node("Gather", "words a", "y")], id="unsqueezed"),
    ],
)
def test_rows_that_an_input_reads(way: Way) -> None:
    (one,) = found([7, 45], way)
    assert (one.constant, set(one.rows), one.inputs, one.read) == ("words", {7, 45}, ("ids",), (7,))


@pytest.mark.parametrize(
    "way",
    [
        pytest.param([node("CumSum", "ids high", "a"), node("Gather", "words a", "y")], id="cumulated"),
        pytest.param([node("Max", "ids ids", "a"), node("Gather", "words a", "y")], id="of-two-inputs"),
    ],
)
def test_rows_whose_indices_are_computed(way: Way) -> None:
    (one,) = found([7], way)
    assert (one.rows, one.inputs, one.read) == ((7,), (), ())
    assert str(one) == "row 7, by indices that the graph computes"
    assert with_cases([one], [IDS, MASK], CASES) == ((one,), ())


@pytest.mark.parametrize(
    ("rows", "way"),
    [
        pytest.param([], DIRECT, id="a-table-that-is-the-checkpoints"),
        pytest.param([3], [node("Gemm", "words words", "y", transB=1)], id="a-table-that-is-multiplied"),
    ],
)
def test_nothing_is_looked_up_or_changed(rows: Sequence[int], way: Way) -> None:
    assert found(rows, way) == ()


def test_extra_cases_read_every_changed_row_that_an_id_reads() -> None:
    changed, more = with_cases(found([7, 9, 45]), [IDS, MASK], CASES)
    assert str(changed[0]) == "rows 7, 9, which extra cases read; row 45, which no declared id reads"
    assert [case.name for case in more] == ["2x6-ids-7-to-9", "2x6-ids-7-to-9-and-others"]
    alone, among = (materialise(case, [IDS, MASK], None) for case in more)
    assert set(alone["ids"].flat) == {7, 9}
    assert {7, 9} < set(among["ids"].flat)
    assert among["ids"].max() <= 39
    for arrays in (alone, among):
        assert arrays["ids"].shape == (2, 6)
        assert arrays["mask"].all()


def test_no_row_is_read_and_none_is_tried() -> None:
    changed, more = with_cases(found([45, 46]), [IDS, MASK], CASES)
    assert (str(changed[0]), more) == ("rows 45, 46, which no declared id reads", ())


def test_of_many_rows_the_largest_changes_are_tried() -> None:
    small = (Case("1x2", {"batch": 1, "time": 2}, "noise", 0),)
    one = ChangedRows("words", tuple(range(30, 10, -1)), ("ids",), tuple(range(30, 10, -1)))
    (told,), more = with_cases([one], [IDS], small)
    assert told.tried == (30, 29, 28, 27)
    assert str(told) == "rows 11, 12, 13, 14, 15 and 15 more, of which extra cases read 4"
    assert len(more) == 2 * MOST_PARTS
    assert len({case.name for case in more}) == len(more)


def test_a_second_look_keeps_the_ids_and_a_case_is_read_back() -> None:
    _, (case, *_) = with_cases(found([7, 9]), [IDS, MASK], CASES)
    again = materialise(
        Case(case.name, case.sizes, case.content, case.seed, replica=1, ids=case.ids), [IDS], None
    )
    assert set(again["ids"].flat) == {7, 9}
    assert Case.from_json(case.to_json()) == case
