"""An ONNX file taken apart, and put together in part."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxproof.errors import ModelFileError
from onnxproof.runtime.session import SessionSettings, open_bytes
from onnxproof.validate.bisect.nodes import Graph, Node, dtypes_of, read_inlined

X = np.array([[1.0, -2.0], [3.0, 4.0]], np.float32)
WEIGHT = np.array([[2.0, 0.5], [1.0, 1.0]], np.float32)


def branch(name: str, operator: str) -> onnx.GraphProto:
    """A branch that reads ``h`` and ``w`` from outside."""
    made = helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, None)
    return helper.make_graph([helper.make_node(operator, ["h", "w"], [made.name])], name, [], [made])


def graph(tmp_path: Path) -> Graph:
    """y = h + 1 or h * w, h = x @ w, by the sign of a sum; with a constant of each kind."""
    nodes = [
        helper.make_node("Constant", [], ["one"], value=numpy_helper.from_array(np.array(1.0, np.float32))),
        helper.make_node("Constant", [], ["axes"], value_ints=[0, 1]),
        helper.make_node("MatMul", ["x", "w"], ["h"], name="product"),
        helper.make_node("ReduceSum", ["h", "axes"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "one"], ["positive"]),
        helper.make_node(
            "If", ["positive"], ["y"], then_branch=branch("then", "Add"), else_branch=branch("else", "Mul")
        ),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 2]) for name in "xy")
    made = helper.make_graph(nodes, "g", [x], [y], [numpy_helper.from_array(WEIGHT, "w")])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "model.onnx")
    return Graph(read_inlined(tmp_path / "model.onnx"))


def test_constants_are_no_nodes(tmp_path: Path) -> None:
    found = graph(tmp_path)
    assert [node.operator for node in found.nodes] == ["MatMul", "ReduceSum", "Greater", "If"]
    assert set(found.constants) == {"w", "one", "axes"}
    assert found.constants["axes"].tolist() == [0, 1]


def test_what_a_branch_reads_from_outside_is_read_by_the_node(tmp_path: Path) -> None:
    found = graph(tmp_path)
    assert found.given(found.nodes[3]) == ("positive", "h")
    assert found.nodes[3].inputs == ("positive", "h", "w")


def test_a_node_without_a_name_is_called_by_what_it_writes(tmp_path: Path) -> None:
    assert [node.label for node in graph(tmp_path).nodes[:2]] == ["product", "ReduceSum of sum"]


def run(found: Graph, node: Node, values: dict[str, Any]) -> dict[str, Any]:
    """What a node gives as a model of its own."""
    feeds = {name: values[name] for name in found.given(node)}
    model = found.model([node], feeds, node.outputs)
    session = open_bytes(model.SerializeToString(), "node", SessionSettings(threads=1))
    return dict(zip(node.outputs, session.run(list(node.outputs), feeds), strict=True))


def test_nodes_one_by_one_give_what_the_file_gives(tmp_path: Path) -> None:
    found = graph(tmp_path)
    values: dict[str, Any] = {"x": X}
    for node in found.nodes:
        values |= run(found, node, values)
    session = ort.InferenceSession(str(tmp_path / "model.onnx"))
    assert np.array_equal(values["y"], session.run(None, {"x": X})[0])
    assert np.array_equal(values["h"], X @ WEIGHT)


def test_inputs_of_another_rank_are_declared_so(tmp_path: Path) -> None:
    found = graph(tmp_path)
    for shape in [(2, 2), (3, 2, 2)]:
        (product,) = run(found, found.nodes[0], {"x": np.ones(shape, np.float32)}).values()
        assert product.shape == shape


def test_some_nodes_make_a_model(tmp_path: Path) -> None:
    found = graph(tmp_path)
    model = found.model(found.nodes[:2], {"x": X}, ("sum", "h"))
    session = open_bytes(model.SerializeToString(), "nodes", SessionSettings(threads=1))
    total, product = session.run(["sum", "h"], {"x": X})
    assert np.array_equal(product, X @ WEIGHT)
    assert total == product.sum()


def test_the_types_of_values_are_inferred(tmp_path: Path) -> None:
    graph(tmp_path)
    found = dtypes_of(read_inlined(tmp_path / "model.onnx"))
    assert [found[name].name for name in ("h", "positive", "y")] == ["float32", "bool", "float32"]


def test_functions_are_inlined(tmp_path: Path) -> None:
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    twice = helper.make_function(
        "own", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], imports[:1]
    )
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xy")
    made = helper.make_graph([helper.make_node("Twice", ["x"], ["y"], domain="own")], "g", [x], [y])
    onnx.save(
        helper.make_model(made, opset_imports=imports, functions=[twice], ir_version=8),
        tmp_path / "model.onnx",
    )
    assert [node.operator for node in Graph(read_inlined(tmp_path / "model.onnx")).nodes] == ["Add"]


def test_an_operator_of_another_domain_is_named_with_it(tmp_path: Path) -> None:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xy")
    node = helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    made = helper.make_model(helper.make_graph([node], "g", [x], [y]), opset_imports=imports, ir_version=8)
    onnx.save(made, tmp_path / "model.onnx")
    assert Graph(read_inlined(tmp_path / "model.onnx")).nodes[0].operator == "com.microsoft.Gelu"


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"\xff no model")
    with pytest.raises(ModelFileError, match="is no ONNX file"):
        Graph(read_inlined(tmp_path / "model.onnx"))
