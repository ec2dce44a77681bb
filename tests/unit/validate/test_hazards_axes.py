"""Axes that are declared dynamic and that a constant inside holds: each is planted, and the node named."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from contracts import contract
from onnx import TensorProto, helper, numpy_helper

from onnxproof.contract import Contract
from onnxproof.graph import OnnxGraph
from onnxproof.tensors import Dim, TensorSpec
from onnxproof.validate.hazards import Found, Subject
from onnxproof.validate.hazards.axes import FROZEN_AXES

FLOAT = TensorProto.FLOAT
PICTURE = ("batch", 3, "height", "width")
DIMS = (Dim("batch", 1, 8), Dim("height", 64, 640, 32), Dim("width", 64, 640, 32))
STEPS = (Dim("batch", 1, 8), Dim("time", 1, 64))
GRID = np.arange(64 * 64, dtype=np.float32).reshape(1, 1, 64, 64)
Axes = Sequence[int | str]


def ints(*values: int) -> Any:
    return np.array(values, np.int64)


def node(operator: str, inputs: str, output: str = "y", **attributes: Any) -> onnx.NodeProto:
    """``inputs`` are names; "-" is one left out."""
    names = [name.replace("-", "") for name in inputs.split()]
    return helper.make_node(operator, names, [output], name=f"the {operator}", **attributes)


def model_of(
    nodes: Sequence[onnx.NodeProto], given: Axes, made: Axes, held: Mapping[str, Any]
) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "sketch",
        [helper.make_tensor_value_info("x", FLOAT, given)],
        [helper.make_tensor_value_info("y", FLOAT, made)],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in held.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])


def promised(given: Axes, made: Axes, dims: tuple[Dim, ...]) -> Contract:
    inputs, outputs = TensorSpec("x", "float32", tuple(given)), TensorSpec("y", "float32", tuple(made))
    return contract(inputs=(inputs,), outputs=(outputs,), dims=dims)


def look(
    nodes: Sequence[onnx.NodeProto],
    made: Axes,
    held: Mapping[str, Any],
    given: Axes = PICTURE,
    dims: tuple[Dim, ...] = DIMS,
    declared: bool = True,
) -> Found:
    proto = model_of(nodes, given, made, held)
    subject = Subject(
        OnnxGraph(proto), Path("model.onnx"), contract=promised(given, made, dims) if declared else None
    )
    return Found(FROZEN_AXES, FROZEN_AXES.look(subject))


def test_a_reshape_to_captured_cells_is_named() -> None:
    check = look([node("Reshape", "x s")], ("batch", 3, "cells"), {"s": ints(-1, 3, 64 * 96)}).check
    assert check.status == "fail"
    assert 'Reshape "the Reshape"' in check.reason
    assert "the axis batch of output y" in check.reason or "elements do not make" in check.reason


def shape_of(output: str, start: int, end: int) -> onnx.NodeProto:
    return helper.make_node("Shape", ["x"], [output], start=start, end=end)


FROZEN = [
    pytest.param(
        [node("Reshape", "x s")],
        ("batch", 3, "cells"),
        {"s": ints(2, 3, 64 * 96)},
        ('Reshape "the Reshape"', "elements do not make [2, 3, 6144]"),
        id="reshape-to-a-captured-batch",
    ),
    pytest.param(
        [node("Add", "x g")],
        PICTURE,
        {"g": GRID},
        ('Add "the Add" cannot take', "[1, 1, 64, 64]: g has one size only"),
        id="a-grid-of-captured-cells",
    ),
    pytest.param(
        [
            node("Add", "columns rows", "sum"),
            node("Add", "sum offset", "grid"),
            node("Reshape", "grid flat", "cells"),
            shape_of("h", 2, 4),
            node("Concat", "one h", "s", axis=0),
            node("Reshape", "cells s", "back"),
            node("Add", "x back"),
        ],
        PICTURE,
        {
            "columns": np.arange(48, dtype=np.float32).reshape(1, 48, 1),
            "rows": np.arange(32, dtype=np.float32).reshape(32, 1, 1),
            "offset": np.ones(1, np.float32),
            "flat": ints(-1),
            "one": ints(1, 1),
        },
        ("[1536] does not make [1, 1, ", "by the constants columns [1, 48, 1] and rows [32, 1, 1]"),
        id="a-grid-of-captured-rows-and-columns",
    ),
    pytest.param(
        [node("Expand", "g s", "e"), node("Add", "x e")],
        PICTURE,
        {"g": GRID, "s": ints(2, 3, 64, 64)},
        ('Add "the Add"', 'by the constant of Expand "the Expand"'),
        id="a-grid-expanded-to-a-captured-size",
    ),
    pytest.param(
        [node("Slice", "x a b c")],
        PICTURE,
        {"a": ints(0), "b": ints(96), "c": ints(2)},
        ("the axis height of output y comes out as 96", 'by the constant of Slice "the Slice"'),
        id="a-slice-to-a-captured-end",
    ),
    pytest.param(
        [node("Slice", "x a b c", "s"), node("Concat", "s x", axis=1)],
        ("batch", 6, "height", "width"),
        {"a": ints(0), "b": ints(96), "c": ints(3)},
        ('Concat "the Concat" cannot take', 'by the constant of Slice "the Slice"'),
        id="a-slice-that-meets-the-whole",
    ),
    pytest.param(
        [node("Tile", "t s", "e"), node("Concat", "x e", axis=2)],
        ("batch", 3, "rows", "width"),
        {"t": np.ones((1, 3, 1, 96), np.float32), "s": ints(2, 1, 1, 1)},
        ('Concat "the Concat"', 'by the constant of Tile "the Tile"'),
        id="a-token-tiled-to-a-captured-batch",
    ),
    pytest.param(
        [node("Resize", "x - - s", "r"), node("Concat", "r x", axis=1)],
        ("batch", 6, "height", "width"),
        {"s": ints(2, 3, 64, 64)},
        ('Concat "the Concat"', 'by the constant of Resize "the Resize"'),
        id="a-resize-to-a-captured-size",
    ),
    pytest.param(
        [node("Slice", "x a b c", "s"), node("Reshape", "s f")],
        ("batch", "values"),
        {"a": ints(0, 0), "b": ints(64, 64), "c": ints(2, 3), "f": ints(0, -1)},
        ("the axis values of output y comes out as 12288 at every size", 'Slice "the Slice"'),
        id="an-axis-that-no-dim-names",
    ),
]


@pytest.mark.parametrize(("nodes", "made", "held", "says"), FROZEN)
@pytest.mark.parametrize("declared", [True, False], ids=["by-the-model", "by-the-file-alone"])
def test_frozen_axes_are_named(
    nodes: list[onnx.NodeProto], made: Axes, held: dict[str, Any], says: tuple[str, ...], declared: bool
) -> None:
    check = look(nodes, made, held, declared=declared).check
    assert check.status == "fail"
    assert [part for part in says if part not in check.reason] == []


HEALTHY = [
    pytest.param([node("Reshape", "x s")], ("batch", "values"), {"s": ints(0, -1)}, id="flatten"),
    pytest.param([node("Reshape", "x s")], ("batch", 3, "cells"), {"s": ints(0, 3, -1)}, id="cells-in-a-row"),
    pytest.param(
        [node("Slice", "x a b c")],
        ("batch", 2, "height", "width"),
        {"a": ints(0), "b": ints(2), "c": ints(1)},
        id="a-slice-of-channels",
    ),
    pytest.param(
        [node("Slice", "x a b c")],
        ("batch", 3, "rows", "width"),
        {"a": ints(1), "b": ints(2**63 - 1), "c": ints(2)},
        id="a-slice-with-an-open-end",
    ),
    pytest.param(
        [node("Slice", "x a b c")],
        ("batch", 3, "rows", "width"),
        {"a": ints(0), "b": ints(-1), "c": ints(2)},
        id="a-slice-up-to-the-last",
    ),
    pytest.param(
        [
            shape_of("h", 2, 4),
            node("Concat", "n h", "s", axis=0),
            node("Expand", "g s", "e"),
            node("Add", "x e"),
        ],
        PICTURE,
        {"g": np.ones((1, 1, 1, 1), np.float32), "n": ints(1, 1)},
        id="a-grid-of-the-inputs-size",
    ),
    pytest.param(
        [node("Add", "x g")], PICTURE, {"g": np.ones((1, 3, 1, 1), np.float32)}, id="a-number-a-channel"
    ),
    pytest.param(
        [node("ReduceMean", "x a", "m", keepdims=0), node("MatMul", "m w")],
        ("batch", 10),
        {"a": ints(2, 3), "w": np.ones((3, 10), np.float32)},
        id="pooled-to-one-number-a-channel",
    ),
    pytest.param(
        [node("Resize", "x - f")],
        ("batch", 3, "rows", "columns"),
        {"f": np.array([1, 1, 2, 2], np.float32)},
        id="a-resize-by-a-factor",
    ),
]


@pytest.mark.parametrize(("nodes", "made", "held"), HEALTHY)
@pytest.mark.parametrize("declared", [True, False], ids=["by-the-model", "by-the-file-alone"])
def test_healthy_graphs_are_left_alone(
    nodes: list[onnx.NodeProto], made: Axes, held: dict[str, Any], declared: bool
) -> None:
    found = look(nodes, made, held, declared=declared)
    assert (found.check.status, found.advice) == ("pass", None), found.check.reason


def test_shapes_that_are_not_known_are_counted_and_no_pass() -> None:
    nodes = [node("NonZero", "x", "n"), node("Slice", "n a b c", "s"), node("Cast", "s", to=FLOAT)]
    found = look(nodes, (4, "found"), {"a": ints(0), "b": ints(100), "c": ints(1)})
    assert found.check.status == "skipped"
    assert "the 0 of 3 nodes whose shapes onnx infers" in found.check.reason
    assert "3 are not known" in found.check.reason


def recurrence(batch: int) -> tuple[list[onnx.NodeProto], dict[str, Any]]:
    held = {"w": np.ones((1, 16, 3)), "r": np.ones((1, 16, 4)), "h": np.zeros((1, batch, 4))}
    return [node("LSTM", "x w r - - h h", hidden_size=4)], {n: v.astype(np.float32) for n, v in held.items()}


def test_a_recurrences_first_state_for_a_captured_batch() -> None:
    nodes, held = recurrence(2)
    check = look(nodes, ("time", 1, "batch", 4), held, ("time", "batch", 3), STEPS).check
    assert check.status == "fail"
    assert "its first state is for a batch of 2" in check.reason


def test_a_slice_that_no_output_shows_is_advice_unless_it_takes_the_first() -> None:
    pooled = [node("Slice", "x a b c", "s"), node("ReduceMean", "s m", keepdims=0)]
    held = {"a": ints(0), "b": ints(7), "c": ints(1), "m": ints(1)}
    found = look(pooled, ("batch", 5), held, ("batch", "time", 5), STEPS)
    assert (found.check.status, found.check.limit) == ("pass", None)
    assert found.advice is not None
    assert 'Slice "the Slice" cuts what varies: axis 1 to 7' in found.advice
    first = look(pooled, ("batch", 5), {**held, "b": ints(1)}, ("batch", "time", 5), STEPS)
    assert first.advice is None


def test_an_axis_that_the_file_writes_as_a_number() -> None:
    proto = model_of([node("Relu", "x")], (1, 3, "height", "width"), (1, 3, "height", "width"), {})
    subject = Subject(OnnxGraph(proto), Path("model.onnx"), contract=promised(PICTURE, PICTURE, DIMS))
    check = FROZEN_AXES.look(subject)
    assert (check.status, check.value) == ("fail", 2)
    assert "the axis batch of input x is written as 1" in check.reason


def test_fixed_dims_may_be_written_as_numbers() -> None:
    fixed = (Dim("batch", 2, 2), *DIMS[1:])
    proto = model_of([node("Relu", "x")], (2, *PICTURE[1:]), (2, *PICTURE[1:]), {})
    subject = Subject(OnnxGraph(proto), Path("model.onnx"), contract=promised(PICTURE, PICTURE, fixed))
    assert FROZEN_AXES.look(subject).status == "pass"


def test_nothing_is_frozen_where_nothing_is_dynamic() -> None:
    check = look([node("Relu", "x")], (1, 3), {}, given=(1, 3), declared=False).check
    assert (check.status, check.reason) == ("pass", "no axis is declared dynamic")


def test_functions_are_looked_into() -> None:
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("mine", 1)]
    function = helper.make_function("mine", "Shift", ["x", "g"], ["y"], [node("Add", "x g")], opsets)
    proto = model_of(
        [helper.make_node("Shift", ["x", "g"], ["y"], domain="mine")], PICTURE, PICTURE, {"g": GRID}
    )
    proto.functions.append(function)
    proto.opset_import.append(opsets[1])
    check = FROZEN_AXES.look(Subject(OnnxGraph(proto), Path("model.onnx")))
    assert (check.status, "[1, 1, 64, 64]" in check.reason) == ("fail", True)


@pytest.mark.parametrize(
    "dims",
    [
        pytest.param(
            (Dim("batch", 1, 2), Dim("height", 64, 96, 32), Dim("width", 64, 96, 32)), id="two-sizes-each"
        ),
        pytest.param(
            (Dim("batch", 2, 2), Dim("height", 64, 96, 32), Dim("width", 64, 64, 32)), id="one-varies"
        ),
    ],
)
@pytest.mark.parametrize("side", [64, 96])
def test_the_fewest_sizes_are_enough(dims: tuple[Dim, ...], side: int) -> None:
    frozen = look([node("Slice", "x a b c")], PICTURE, {"a": ints(0), "b": ints(64), "c": ints(2)}, dims=dims)
    grid = look([node("Add", "x g")], PICTURE, {"g": np.ones((1, 1, side, 1), np.float32)}, dims=dims)
    assert (frozen.check.status, grid.check.status) == ("fail", "fail")
