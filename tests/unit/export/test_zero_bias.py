"""Biases of zeros that the graph computes are left out, and nothing else is."""

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper

from onnxproof.export.zero_bias import drop_zero_biases

RANKS = {"y": 4, "cast": 0}


def computed(value: float, *, of: str = "zero") -> list[NodeProto]:
    constant = numpy_helper.from_array(np.array(value, np.float32))
    return [
        helper.make_node("Constant", [], [of], value=constant),
        helper.make_node("CastLike", [of, "x"], ["cast"]),
        helper.make_node("Expand", ["cast", "sizes"], ["bias"]),
    ]


def convolution(nodes: list[NodeProto], bias: str = "bias", outputs: tuple[str, ...] = ("y",)) -> ModelProto:
    graph = helper.make_graph(
        [*nodes, helper.make_node("Conv", ["x", "w", bias], ["y"])],
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 5, 5])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["a", "b", "c", "d"][: RANKS[name]])
            for name in outputs
        ],
        [
            numpy_helper.from_array(np.ones((4, 2, 3, 3), np.float32), "w"),
            numpy_helper.from_array(np.zeros(4, np.float32), "stored"),
            numpy_helper.from_array(np.array([4]), "sizes"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])


def test_a_bias_that_is_computed_from_zeros_goes_with_its_nodes() -> None:
    proto = convolution(computed(0))
    drop_zero_biases(proto)
    (node,) = proto.graph.node
    assert list(node.input) == ["x", "w"]
    checker.check_model(proto, full_check=True)


def test_what_else_is_read_stays() -> None:
    proto = convolution(computed(0), outputs=("y", "cast"))
    drop_zero_biases(proto)
    assert [node.op_type for node in proto.graph.node] == ["Constant", "CastLike", "Conv"]
    checker.check_model(proto, full_check=True)


@pytest.mark.parametrize(
    "proto",
    [
        pytest.param(convolution(computed(0.5)), id="not-zero"),
        pytest.param(convolution([], "stored"), id="a-parameter-of-zeros"),
        pytest.param(
            convolution([helper.make_node("ReduceMean", ["x"], ["bias"], keepdims=0)]), id="of-an-input"
        ),
    ],
)
def test_other_biases_stay(proto: ModelProto) -> None:
    before = proto.SerializeToString()
    drop_zero_biases(proto)
    assert proto.SerializeToString() == before
