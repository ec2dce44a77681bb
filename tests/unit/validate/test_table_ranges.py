"""Ranges of integer inputs that nobody declared, from the tables that they look up and what they divide."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from onnxproof.graph import OnnxGraph
from onnxproof.validate.table_ranges import Guess, guesses, in_both

FILE = Path("model.onnx")


def node(operator: str, reads: str, writes: str, **attributes: Any) -> NodeProto:
    return helper.make_node(operator, reads.split(), [writes], **attributes)


def found(*way: NodeProto, dtype: int = TensorProto.INT64) -> dict[str, Guess]:
    """What is guessed of a graph with the inputs ``ids`` and ``other``."""
    constants = {
        "words": np.zeros((300, 8), np.float32),
        "few": np.zeros((20, 8), np.float32),
        "wide": np.zeros((8, 300), np.float32),
        "two": np.array(2),
        "offsets": np.array([0, 10, 30]),
        "flat": np.array([-1]),
        "shape": np.array([2, 3]),
        "last": np.array([1]),
    }
    graph = helper.make_graph(
        way,
        "g",
        [helper.make_tensor_value_info(name, dtype, ["batch", 3]) for name in ("ids", "other")],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opset = helper.make_opsetid("", 18)
    return guesses(OnnxGraph(helper.make_model(graph, opset_imports=[opset])), FILE, ["ids", "other"])


WORDS = Guess(0, 299, "words", 300)


@pytest.mark.parametrize(
    ("way", "guess"),
    [
        pytest.param([node("Gather", "words ids", "y")], WORDS, id="the-input-itself"),
        pytest.param([node("Gather", "wide ids", "y", axis=-1)], Guess(0, 299, "wide", 300), id="columns"),
        pytest.param(
            [
                node("Cast", "ids", "a", to=TensorProto.INT32),
                node("Reshape", "a flat", "b"),
                node("Identity", "words", "w"),
                node("Gather", "w b", "y"),
            ],
            WORDS,
            id="cast-laid-flat-and-the-table-handed-on",
        ),
        pytest.param(
            [node("Add", "two ids", "a"), node("Gather", "words a", "y")],
            Guess(0, 297, "words", 300),
            id="two-added",
        ),
        pytest.param(
            [node("Sub", "ids two", "a"), node("Gather", "words a", "y")],
            Guess(2, 301, "words", 300),
            id="two-subtracted",
        ),
        pytest.param(
            [node("Add", "ids offsets", "a"), node("Gather", "words a", "y")],
            Guess(0, 269, "words", 300),
            id="an-offset-for-each-column",
        ),
        pytest.param(
            [node("Gather", "words ids", "a"), node("Gather", "few ids", "y")],
            Guess(0, 19, "few", 20),
            id="the-smaller-of-two-tables",
        ),
        pytest.param(
            [node("Unsqueeze", "ids last", "a"), node("Identity", "a", "b"), node("GatherND", "few b", "y")],
            None,
            id="of-no-known-shape",
        ),
        pytest.param([node("GatherND", "wide ids", "y")], None, id="more-indices-than-axes"),
        pytest.param([node("Div", "other ids", "y")], Guess(1, 64), id="a-divisor"),
        pytest.param(
            [node("Mod", "other ids", "a"), node("Gather", "words ids", "y")],
            Guess(1, 64),
            id="a-divisor-and-an-id",
        ),
        pytest.param(
            [node("Cast", "ids", "a", to=TensorProto.FLOAT), node("Div", "two a", "y")],
            None,
            id="a-divisor-of-floats",
        ),
        pytest.param([node("Gather", "ids two", "y")], None, id="what-is-looked-up"),
        pytest.param([node("Reshape", "words ids", "y")], None, id="a-shape"),
        pytest.param([node("Mul", "ids ids", "a"), node("Gather", "words a", "y")], None, id="computed"),
    ],
)
def test_a_range(way: Sequence[NodeProto], guess: Guess | None) -> None:
    assert found(*way).get("ids") == guess


def test_no_range_exceeds_the_dtype() -> None:
    way = node("Cast", "ids", "a", to=TensorProto.INT64), node("Gather", "words a", "y")
    assert found(*way, dtype=TensorProto.INT8)["ids"].high == 127


def test_of_two_files_the_smaller_range_counts() -> None:
    ours, theirs = {"ids": WORDS, "kinds": Guess(0, 1, "k", 2)}, {"ids": Guess(0, 249, "b", 250)}
    assert in_both(ours, theirs) == {**ours, **theirs}
    assert in_both(theirs, ours) == {**ours, **theirs}


def test_a_guess_says_why() -> None:
    assert str(WORDS) == "0..299 (the 300 rows of words)"
    assert str(Guess(1, 64)) == "1..64 (it divides)"
