"""Rows of tables that are not the checkpoint's fail where no case reads them and an index may."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from onnxproof.graph import OnnxGraph
from onnxproof.tensors import TensorSpec
from onnxproof.validate.checks import Check
from onnxproof.validate.exact.checkpoint import Weights
from onnxproof.validate.exact.constants import prove_constants
from onnxproof.validate.exact.known import Known
from onnxproof.validate.looked_up import changed_rows
from onnxproof.validate.unread_rows import unread_checks

TABLE = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
DECLARED = TensorSpec("ids", "int64", ("batch", "time"), (0, 30))
OPEN = TensorSpec("ids", "int64", ("batch", "time"))
SCORES = TensorSpec("scores", "float32", ("batch", "time"), (0, 1))


def node(operator: str, reads: str, writes: str, **attributes: Any) -> NodeProto:
    return helper.make_node(operator, reads.split(), [writes], **attributes)


HASHED = [node("Mul", "ids three", "a"), node("Mod", "a forty", "b"), node("Gather", "words b", "y")]
BUCKETS = [
    node("Mul", "scores many", "a"),
    node("Floor", "a", "b"),
    node("Cast", "b", "c", to=TensorProto.INT64),
    node("Clip", "c zero ten", "d"),
    node("Gather", "words d", "y"),
]
PLACES = [
    node("Shape", "ids", "a"),
    node("Gather", "a one", "b"),
    node("Range", "zero b one", "c"),
    node("Gather", "words c", "y"),
]
DIRECT = [node("Gather", "words ids", "y")]


def checks_of(
    way: Sequence[NodeProto],
    rows: tuple[int, int],
    ids: TensorSpec = DECLARED,
    *,
    reads: Sequence[int] = (),
    guessed: frozenset[str] = frozenset(),
    rounded: bool = False,
) -> tuple[Check, ...]:
    """The checks on a file in which two rows of the table are exchanged, or all are rounded to halves. The
    cases read the rows ``reads``."""
    table = TABLE.copy()
    table[list(rows)] = table[list(reversed(rows))]
    constants = {
        "words": TABLE.astype(np.float16).astype(np.float32) if rounded else table,
        "zero": np.array(0),
        "one": np.array(1),
        "three": np.array(3),
        "ten": np.array(10),
        "forty": np.array(40),
        "many": np.array(20, np.float32),
    }
    graph = helper.make_graph(
        way,
        "g",
        [
            helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "time"]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", "time"]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = OnnxGraph(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]))
    known = Known(Weights({"words": TABLE}, {}))
    changed = changed_rows(model, prove_constants(model, known), known, [ids, SCORES], Path("model.onnx"))
    assert [one.constant for one in changed] == ["words"]

    def evaluate(watch: Callable[..., None]) -> Iterator[None]:
        attributes = {one.name: one.i for one in way[-1].attribute}
        step = SimpleNamespace(writes=("y",), attributes=attributes)
        watch(step, (table, np.array(reads, np.int64)), ())
        yield

    return unread_checks(
        changed,
        model,
        Path("model.onnx"),
        [ids, SCORES],
        evaluate,
        leg="onnx-float64",
        guessed=guessed,
    )


@pytest.mark.parametrize(
    ("way", "rows", "ids", "guessed"),
    [
        pytest.param(HASHED, (7, 9), DECLARED, frozenset(), id="computed-of-ids"),
        pytest.param(BUCKETS, (7, 9), DECLARED, frozenset(), id="computed-of-floats"),
        pytest.param(DIRECT, (7, 9), OPEN, frozenset(), id="ids-without-a-range"),
        pytest.param(DIRECT, (44, 49), DECLARED, frozenset(["ids"]), id="ids-in-a-guessed-range"),
        pytest.param(PLACES, (7, 9), DECLARED, frozenset(["time"]), id="places-of-guessed-sizes"),
    ],
)
def test_exchanged_rows_that_no_case_reads_fail(
    way: Sequence[NodeProto], rows: tuple[int, int], ids: TensorSpec, guessed: frozenset[str]
) -> None:
    (check,) = checks_of(way, rows, ids, guessed=guessed)
    assert (check.name, check.status, check.link, check.value) == ("tables", "fail", "function", 2)
    assert check.reason.startswith(f"rows {rows[0]}, {rows[1]} of words are not the checkpoint's")


@pytest.mark.parametrize(
    ("way", "rows", "reads"),
    [
        pytest.param(HASHED, (7, 9), (9, 7), id="cases-read-them"),
        pytest.param(HASHED, (7, 9), (-43, -41), id="cases-read-them-from-the-end"),
        pytest.param(HASHED, (41, 49), (), id="beyond-the-divisor"),
        pytest.param(BUCKETS, (11, 12), (), id="beyond-the-bound"),
        pytest.param(PLACES, (7, 9), (), id="places-of-declared-sizes"),
        pytest.param(DIRECT, (44, 49), (), id="beyond-the-declared-range"),
    ],
)
def test_exchanged_rows_that_are_read_or_never_read_do_not(
    way: Sequence[NodeProto], rows: tuple[int, int], reads: Sequence[int]
) -> None:
    assert checks_of(way, rows, reads=reads) == ()


def test_one_of_two_rows_that_is_read_leaves_the_other() -> None:
    (check,) = checks_of(HASHED, (7, 9), reads=(7,))
    assert check.reason.startswith("row 9 of words is not the checkpoint's")


def test_a_table_that_is_rounded_does_not() -> None:
    assert checks_of(HASHED, (7, 9), rounded=True) == ()
