"""A graph of so many nodes that its constants are folded before onnxsim works on it."""

import numpy as np
import onnx
import onnxsim
import pytest
from onnx import helper, numpy_helper

from onnxproof.export import simplify

COUNT = 12


def slices_of_one_table() -> onnx.ModelProto:
    """``x`` times each row of one table and its tanh, in turn; a Slice and a Squeeze cut a row out."""
    table = np.random.default_rng(0).random((COUNT, 8)).astype(np.float32)
    nodes, last = (
        [helper.make_node("Constant", [], ["zero"], value=numpy_helper.from_array(np.array([0])))],
        "x",
    )
    for row in range(COUNT):
        for name, value in (("start", row), ("end", row + 1)):
            tensor = numpy_helper.from_array(np.array([value]))
            nodes.append(helper.make_node("Constant", [], [f"{name}{row}"], value=tensor))
        nodes.append(helper.make_node("Slice", ["table", f"start{row}", f"end{row}", "zero"], [f"cut{row}"]))
        nodes.append(helper.make_node("Squeeze", [f"cut{row}", "zero"], [f"row{row}"]))
        nodes.append(helper.make_node("Mul", [last, f"row{row}"], [f"product{row}"]))
        last = "y" if row == COUNT - 1 else f"tanh{row}"
        nodes.append(helper.make_node("Tanh", [f"product{row}"], [last]))
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 8])
    y = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 8])
    graph = helper.make_graph(nodes, "rows", [x], [y], [numpy_helper.from_array(table, "table")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def kinds(proto: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in proto.graph.node]


def constants(proto: onnx.ModelProto) -> list[bytes]:
    """The bytes of what each product is multiplied by, in the order of the products."""
    tensors = {tensor.name: tensor for tensor in proto.graph.initializer}
    factors = (node.input[1] for node in proto.graph.node if node.op_type == "Mul")
    return [numpy_helper.to_array(tensors[name]).tobytes() for name in factors]


def test_constants_folded_first_are_those_that_onnxsim_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    given = slices_of_one_table()
    usual = simplify.simplify(given, "onnxsim", 60)
    monkeypatch.setattr(simplify, "MANY_NODES", len(given.graph.node) - 1)
    first = simplify.simplify(given, "onnxsim", 60)
    monkeypatch.setattr(onnxsim, "simplify", lambda proto, **_: (proto, True))
    alone = simplify.simplify(given, "onnxsim", 60)

    assert kinds(alone) == kinds(first) == kinds(usual) == ["Mul", "Tanh"] * COUNT
    assert constants(alone) == constants(first) == constants(usual)
